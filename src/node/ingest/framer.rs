//! A pair of messages and the camera infos in, an [`RgbdFrame`] out, as a recorded bag with the
//! same messages gives it.

use crate::{
    frame::{DepthMap, FrameId, Intrinsics, Registration, RgbdFrame},
    node::msg::CameraInfo,
    source::bag::{
        align::{self, Evidence},
        decode,
        topics::First,
    },
    tally::Tally,
};

use super::camera::Paired;

/// What decides whether depth is aligned with colour.
type Grounds = (First, First, Option<Intrinsics>, Option<Intrinsics>);

/// Makes frames of one camera's pairs.
#[derive(Debug, Default)]
pub struct Framer {
    depth_topic: String,
    told: Option<bool>,
    told_intrinsics: Option<[f64; 4]>,
    /// What the last decision rested on, the decision, and why.
    decided: Option<(Grounds, Registration, String)>,
    /// Pairs whose colour could not be decoded, by reason.
    pub undecoded: Tally,
    /// Depth pictures that could not be decoded, by reason: their pairs make colour tasks.
    pub depth_undecoded: Tally,
}

impl Framer {
    /// For a camera whose depth comes on this topic; `told` is the user's word on whether it is
    /// aligned with colour, `told_intrinsics` on `fx, fy, cx, cy` in pixels.
    pub fn new(
        depth_topic: Option<&str>,
        told: Option<bool>,
        told_intrinsics: Option<[f64; 4]>,
    ) -> Self {
        let depth_topic = depth_topic.unwrap_or_default().to_owned();
        Framer { depth_topic, told, told_intrinsics, ..Framer::default() }
    }

    /// Why depth is taken as aligned with colour or not, in words for a person.
    pub fn registration(&self) -> Option<(Registration, &str)> {
        self.decided.as_ref().map(|(_, registration, why)| (*registration, why.as_str()))
    }

    /// Decodes, and counts what cannot be; none when there is no colour picture to be seen. A
    /// frame whose depth is damaged is still a colour picture.
    pub fn frame(&mut self, pair: &Paired, infos: [Option<&CameraInfo>; 2]) -> Option<RgbdFrame> {
        match self.look(pair, infos) {
            Ok((frame, depth_undecoded)) => {
                depth_undecoded.into_iter().for_each(|why| self.depth_undecoded.add(why));
                Some(frame)
            }
            Err(why) => {
                self.undecoded.add(why);
                None
            }
        }
    }

    /// As [`Framer::frame`] without counting, for a second look at a pair: the frame, and why it
    /// has no depth if that cannot be decoded.
    ///
    /// # Errors
    /// Why the colour picture cannot be decoded.
    pub fn look(
        &mut self,
        pair: &Paired,
        [info, depth_info]: [Option<&CameraInfo>; 2],
    ) -> Result<(RgbdFrame, Option<&'static str>), &'static str> {
        let color = pair.color.picture.color()?;
        let camera = |info: Option<&CameraInfo>, size| decode::intrinsics(&info?.into(), size).ok();
        let (width, height) = color.dimensions();
        let intrinsics = match self.told_intrinsics {
            Some([fx, fy, cx, cy]) => Intrinsics::new(width, height, fx, fy, cx, cy).ok(),
            None => camera(info, (width, height)),
        };
        let (mut depth_stamp_ns, mut depth_m, mut undecoded) = (None, None, None);
        let mut registration = Registration::Unregistered;
        if let Some((stamp_ns, depth)) = &pair.depth {
            match depth.picture.depth() {
                Ok(decoded) => {
                    let first = depth.picture.first();
                    let depth_camera = first.size.and_then(|size| camera(depth_info, size));
                    let colour_first =
                        First { size: Some((width, height)), ..pair.color.picture.first() };
                    registration =
                        self.decide((colour_first, first, intrinsics, depth_camera), &decoded);
                    (depth_stamp_ns, depth_m) = (Some(*stamp_ns), Some(decoded));
                }
                // The frame goes on without depth.
                Err(why) => undecoded = Some(why),
            }
        }
        let frame = RgbdFrame {
            id: FrameId::from_stamp(pair.stamp_ns),
            stamp_ns: pair.stamp_ns,
            depth_stamp_ns,
            color,
            depth_m,
            intrinsics,
            registration,
        };
        Ok((frame, undecoded))
    }

    fn decide(&mut self, grounds: Grounds, depth_m: &DepthMap) -> Registration {
        let size = grounds.0.size.unwrap_or_default();
        if depth_m.dim() != (size.1 as usize, size.0 as usize) {
            return Registration::Unregistered;
        }
        let same = |known: &Grounds| {
            let first = |a: &First, b: &First| {
                (&a.format, a.size, &a.frame_id) == (&b.format, b.size, &b.frame_id)
            };
            first(&known.0, &grounds.0)
                && first(&known.1, &grounds.1)
                && (known.2, known.3) == (grounds.2, grounds.3)
        };
        if let Some((known, registration, _)) = &self.decided
            && same(known)
        {
            return *registration;
        }
        let (registration, why) = align::decide(&Evidence {
            told: self.told,
            depth_topic: &self.depth_topic,
            color: Some(&grounds.0),
            depth: Some(&grounds.1),
            color_camera: grounds.2,
            depth_camera: grounds.3,
        });
        tracing::info!("depth on {}: {why}", self.depth_topic);
        self.decided = Some((grounds, registration, why));
        registration
    }
}
