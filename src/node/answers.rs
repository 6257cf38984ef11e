//! Answers about the latest picture, by the policy that serves.

use image::{RgbImage, codecs::jpeg::JpegEncoder, imageops::FilterType};

use super::{
    core::Listening,
    ingest::Paired,
    msg::{
        Finding as FindingMsg, HealthResponse, OrderPointsRequest, OrderPointsResponse,
        RelativeDirectionRequest, RelativeDirectionResponse, Time,
    },
};
use crate::{
    adapt::health::{Checker, Likely},
    frame::Intrinsics,
    report::contact_sheet::ContactSheet,
    sense::SpatialSense,
    source::bag::decode,
    tally::Tally,
    task::{Direction, Facing, Pixel, PreparedFrame},
};

/// The most pixels in one question over ROS.
pub const MAX_PIXELS: usize = 256;
/// The largest picture that is published; more in one message stalls readers.
pub const MAX_JPEG_BYTES: usize = 60_000;
/// An answer about an older picture would be about the past.
const STALE_S: f64 = 5.0;

/// A picture that is asked about.
struct Seen {
    stamp_ns: i64,
    picture: RgbImage,
    camera: Option<Intrinsics>,
}

fn seen(listening: &Listening, camera: &str) -> Result<Seen, String> {
    let camera = listening.camera(camera)?;
    let Some(pair) = camera.latest() else {
        return Err(format!("no picture has come yet on {}", camera.topics().color));
    };
    let age_s = pair.age().as_secs_f64();
    if age_s > STALE_S {
        return Err(format!(
            "the last picture on {} is {age_s:.0} s old; at most {STALE_S:.0} s are answered for",
            camera.topics().color
        ));
    }
    let picture = pair.color.picture.color().map_err(|why| format!("the last picture: {why}"))?;
    let info = camera.infos()[0].as_ref().map(Into::into);
    let camera = info.and_then(|info| decode::intrinsics(&info, picture.dimensions()).ok());
    Ok(Seen { stamp_ns: pair.stamp_ns, picture, camera })
}

/// Orders pixels by their distance.
pub fn order_points(
    listening: Result<&Listening, String>,
    request: &OrderPointsRequest,
) -> OrderPointsResponse {
    let answer = || -> Result<OrderPointsResponse, String> {
        let listening = listening?;
        if request.pixels.len() > MAX_PIXELS {
            let got = request.pixels.len();
            return Err(format!("{got} pixels given, 2 to {MAX_PIXELS} are answered for"));
        }
        let Seen { stamp_ns, picture, .. } = seen(listening, &request.camera)?;
        let pixels: Vec<Pixel> =
            request.pixels.iter().map(|pixel| Pixel { x: pixel.x, y: pixel.y }).collect();
        let sense = SpatialSense::new(listening.learning.serving().current());
        let look = sense.look(&picture).map_err(|e| e.to_string())?;
        let order = look.order(&pixels).map_err(|e| e.to_string())?;
        Ok(OrderPointsResponse {
            success: true,
            message: String::new(),
            stamp: Time::from_ns(stamp_ns),
            width: picture.width(),
            height: picture.height(),
            nearest_first: order.nearest_first().iter().map(|at| *at as u32).collect(),
            farness: order.farness().to_vec(),
            probability: order.probability(),
            version: listening.learning.report().version,
        })
    };
    answer().unwrap_or_else(|message| OrderPointsResponse { message, ..Default::default() })
}

/// Where a target lies for an observer.
pub fn relative_direction(
    listening: Result<&Listening, String>,
    request: &RelativeDirectionRequest,
) -> RelativeDirectionResponse {
    let answer = || -> Result<RelativeDirectionResponse, String> {
        let listening = listening?;
        let facing = match request.facing {
            RelativeDirectionRequest::FACING_LEFT => Facing::Left,
            RelativeDirectionRequest::FACING_RIGHT => Facing::Right,
            RelativeDirectionRequest::FACING_TOWARD_CAMERA => Facing::TowardViewer,
            RelativeDirectionRequest::FACING_AWAY_FROM_CAMERA => Facing::AwayFromViewer,
            other => {
                return Err(format!("facing {other} is none of the FACING_ constants, 0 to 3"));
            }
        };
        let Seen { stamp_ns, picture, camera } = seen(listening, &request.camera)?;
        let at = |pixel: super::msg::Pixel| Pixel { x: pixel.x, y: pixel.y };
        let sense = SpatialSense::new(listening.learning.serving().current());
        let look = sense.look(&picture).map_err(|e| e.to_string())?;
        let bearing = look
            .position(at(request.observer), at(request.target), facing, camera)
            .map_err(|e| e.to_string())?;
        let (log_depth_ratio, log_depth_ratio_sigma) = bearing.log_depth_ratio();
        let constant = |direction| match direction {
            Direction::Front => RelativeDirectionResponse::FRONT,
            Direction::RightFront => RelativeDirectionResponse::RIGHT_FRONT,
            Direction::Right => RelativeDirectionResponse::RIGHT,
            Direction::RightBack => RelativeDirectionResponse::RIGHT_BACK,
            Direction::Back => RelativeDirectionResponse::BACK,
            Direction::LeftBack => RelativeDirectionResponse::LEFT_BACK,
            Direction::Left => RelativeDirectionResponse::LEFT,
            Direction::LeftFront => RelativeDirectionResponse::LEFT_FRONT,
        };
        let mut probabilities = [0.0; 8];
        for direction in Direction::ALL {
            let at = usize::from(constant(direction));
            probabilities[at] = bearing.probability(direction);
        }
        Ok(RelativeDirectionResponse {
            success: true,
            message: String::new(),
            stamp: Time::from_ns(stamp_ns),
            width: picture.width(),
            height: picture.height(),
            direction: constant(bearing.best().0),
            probabilities,
            log_depth_ratio,
            log_depth_ratio_sigma,
            metric: camera.is_some(),
            version: listening.learning.report().version,
        })
    };
    answer().unwrap_or_else(|message| RelativeDirectionResponse { message, ..Default::default() })
}

/// Whether a camera is well, told from the frames of the last half minute.
pub fn health(listening: Result<&Listening, String>, camera: &str) -> HealthResponse {
    let answer = || -> Result<HealthResponse, String> {
        let listening = listening?;
        let name = &listening.camera(camera)?.topics().name;
        let frames = listening.learning.health_frames(name);
        if frames.is_empty() {
            return Err("no frame has come yet: one is kept every two seconds".to_owned());
        }
        let policy = listening.learning.policy();
        let mut checker = Checker::new(&policy, listening.sensor);
        for frame in &frames {
            checker.add(frame).map_err(|e| e.to_string())?;
        }
        let report = checker.report(listening.reference.as_ref());
        let findings: Vec<FindingMsg> = report
            .findings
            .iter()
            .map(|finding| FindingMsg {
                fault: finding.fault.name().to_owned(),
                likely: match finding.likely {
                    Likely::No => FindingMsg::NO,
                    Likely::Yes => FindingMsg::YES,
                    Likely::CannotTell => FindingMsg::CANNOT_TELL,
                },
                confidence: finding.confidence,
                evidence: finding.evidence.clone(),
            })
            .collect();
        Ok(HealthResponse {
            success: true,
            message: String::new(),
            healthy: findings.iter().all(|finding| finding.likely != FindingMsg::YES),
            frames: frames.len() as u32,
            frames_with_depth: frames.iter().filter(|f| f.usable_depth_m().is_some()).count()
                as u32,
            findings,
        })
    };
    answer().unwrap_or_else(|message| HealthResponse { message, ..Default::default() })
}

/// How far everything in the latest picture is, near is warm: a JPEG.
///
/// # Errors
/// In words.
pub fn farness(listening: &Listening, pair: &Paired) -> Result<Vec<u8>, String> {
    let picture = pair.color.picture.color().map_err(str::to_owned)?;
    let sense = SpatialSense::new(listening.learning.serving().current());
    let look = sense.look(&picture).map_err(|e| e.to_string())?;
    let map = look.map().map_err(|e| e.to_string())?;
    jpeg(&map.false_colour())
}

/// A task of each kind that the latest frame makes, drawn with its answer: a JPEG.
///
/// # Errors
/// In words; so when the frame makes no task.
pub fn task_preview(listening: &Listening, at: usize, pair: &Paired) -> Result<Vec<u8>, String> {
    let frame = listening.frame(at, pair).ok_or("the picture cannot be decoded")?;
    let prepared = PreparedFrame::new(&frame, listening.sensor);
    let tasks = listening.tasks.make_all(&prepared, 1, 0, &mut Tally::default());
    if tasks.is_empty() {
        return Err("the frame makes no task".to_owned());
    }
    let mut sheet = ContactSheet::new(2);
    for task in &tasks {
        if sheet.is_full() {
            break;
        }
        sheet.push(task, &frame).map_err(|e| e.to_string())?;
    }
    jpeg(&sheet.image())
}

/// A picture as JPEG of at most [`MAX_JPEG_BYTES`]: worse and smaller until it fits.
///
/// # Errors
/// In words.
///
/// ```
/// use image::{Rgb, RgbImage};
/// use spatial_ssrl::node::answers::{MAX_JPEG_BYTES, jpeg};
/// let noise = RgbImage::from_fn(2000, 1500, |x, y| {
///     let n = (x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503).rotate_left(13)).to_le_bytes();
///     Rgb([n[1], n[2], n[3]])
/// });
/// assert!(jpeg(&noise)?.len() <= MAX_JPEG_BYTES);
/// # Ok::<(), String>(())
/// ```
pub fn jpeg(picture: &RgbImage) -> Result<Vec<u8>, String> {
    const WIDEST: u32 = 960;
    let (width, height) = picture.dimensions();
    let mut side = width.clamp(1, WIDEST);
    loop {
        let tall = (u64::from(side) * u64::from(height) / u64::from(width.max(1))).max(1) as u32;
        let small = image::imageops::resize(picture, side, tall, FilterType::Triangle);
        for quality in [85, 70, 50, 30] {
            let mut bytes = Vec::new();
            JpegEncoder::new_with_quality(&mut bytes, quality)
                .encode_image(&small)
                .map_err(|e| e.to_string())?;
            if bytes.len() <= MAX_JPEG_BYTES {
                return Ok(bytes);
            }
        }
        if side < 64 {
            return Err(format!("a picture of {width}x{height} does not fit"));
        }
        side = side * 3 / 4;
    }
}
