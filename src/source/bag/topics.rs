//! Which topics of a bag are colour, depth and camera info.
//!
//! Rules, in this order (a user's own choice comes before all of them):
//! 1. Types `sensor_msgs/Image` and `sensor_msgs/CompressedImage`, serialised as CDR, not
//!    known to be empty. Topics with less than a tenth of the messages of the fullest topic
//!    of their role are left out: a raw topic that somebody recorded for a moment.
//! 2. Depth: encodings `16UC1`, `32FC1`, `compressedDepth`; `mono16` if "depth" is in the
//!    name. Without a message to look at: if "depth" is in the name. 8-bit pictures named
//!    "depth" are coloured views of depth and are neither.
//! 3. Registered depth (see [`named_registered`]) before raw depth; colour named "color" or
//!    "rgb" before other colour before grey before infrared; the pair that shares more of
//!    its name; raw before compressed; then the alphabet.
//! 4. Camera info: the one in the picture's optical frame, then the one whose name shares
//!    most with the picture's.

use std::cmp::Reverse;

use super::{message::CameraInfoMsg, storage::StoredTopic};

/// How a topic's messages are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `sensor_msgs/msg/Image`.
    Image,
    /// `sensor_msgs/msg/CompressedImage`.
    Compressed,
    /// `sensor_msgs/msg/CameraInfo`.
    Info,
}

impl Kind {
    /// The kind of a topic, `None` for what is not read here.
    pub fn of(topic: &StoredTopic) -> Option<Kind> {
        if topic.serialization != "cdr" {
            return None;
        }
        match topic.ros_type.as_str() {
            "sensor_msgs/msg/Image" | "sensor_msgs/Image" => Some(Kind::Image),
            "sensor_msgs/msg/CompressedImage" | "sensor_msgs/CompressedImage" => {
                Some(Kind::Compressed)
            }
            "sensor_msgs/msg/CameraInfo" | "sensor_msgs/CameraInfo" => Some(Kind::Info),
            _ => None,
        }
    }
}

/// What a topic's first readable message told.
#[derive(Clone, Debug, Default)]
pub struct First {
    /// Encoding of an image, format of a compressed one; empty for camera info.
    pub format: String,
    /// Width and height, where they could be read.
    pub size: Option<(u32, u32)>,
    /// Optical frame.
    pub frame_id: String,
    /// The camera info itself.
    pub info: Option<CameraInfoMsg>,
}

/// A topic with what is known about it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// As recorded.
    pub topic: StoredTopic,
    /// How it is decoded.
    pub kind: Option<Kind>,
    /// Its first message, if one could be read.
    pub first: Option<First>,
}

/// The topics that frames are made of, as indices into the list given to [`choose`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Colour.
    pub color: usize,
    /// Depth, if there is one.
    pub depth: Option<usize>,
    /// Camera info of the colour camera.
    pub info: Option<usize>,
    /// Camera info of the depth camera.
    pub depth_info: Option<usize>,
}

/// What a user chose by name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes<'a> {
    /// Colour topic.
    pub color: Option<&'a str>,
    /// Depth topic, `none` for no depth.
    pub depth: Option<&'a str>,
    /// Camera info topic of the colour camera.
    pub info: Option<&'a str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Color,
    Depth,
}

/// Whether a depth topic's name says that it is aligned with colour, as RealSense, OpenNI,
/// ZED, Azure Kinect and Orbbec drivers name it.
pub fn named_registered(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["aligned_depth", "registered", "depth_to_rgb", "depth_to_color", "depth2color", "depth2rgb"]
        .iter()
        .any(|sign| name.contains(sign))
        && !name.contains("unregistered")
}

fn role(seen: &Seen) -> Option<Role> {
    let name = seen.topic.name.to_ascii_lowercase();
    let named_depth = name.contains("depth");
    let format = seen.first.as_ref().map(|first| first.format.as_str());
    let encoding = format.map(|format| format.split(';').next().unwrap_or("").trim());
    match seen.kind? {
        Kind::Info => None,
        _ if name.contains("disparity") || name.contains("confidence") => None,
        Kind::Compressed if name.ends_with("compresseddepth") => Some(Role::Depth),
        kind => match encoding {
            Some("16UC1" | "32FC1") => Some(Role::Depth),
            Some("mono16") if named_depth => Some(Role::Depth),
            Some(_) if kind == Kind::Compressed && format?.contains("compressedDepth") => {
                Some(Role::Depth)
            }
            // A message that could not be read says nothing.
            None | Some("") if named_depth => Some(Role::Depth),
            Some(_) if named_depth => None,
            _ => Some(Role::Color),
        },
    }
}

fn color_rank(seen: &Seen) -> u32 {
    let name = seen.topic.name.to_ascii_lowercase();
    let infrared = name.contains("infra") || name.contains("thermal") || name.contains("/ir");
    let named = name.contains("color") || name.contains("rgb");
    let grey = seen.first.as_ref().is_some_and(|first| first.format.starts_with("mono"));
    4 * u32::from(infrared) + 2 * u32::from(grey) + u32::from(!named)
}

/// How many leading parts two topic names share.
fn shared(a: &str, b: &str) -> usize {
    let parts =
        |name: &str| name.trim_matches('/').split('/').map(str::to_owned).collect::<Vec<_>>();
    parts(a).iter().zip(parts(b)).take_while(|(a, b)| **a == *b).count()
}

fn candidates(topics: &[Seen], wanted: Role) -> Vec<usize> {
    let has_role = |seen: &&Seen| role(seen) == Some(wanted);
    let most = topics.iter().filter(has_role).filter_map(|seen| seen.topic.messages).max();
    let full = |seen: &Seen| match (seen.topic.messages, most) {
        (Some(n), Some(most)) => n > 0 && n >= most / 10,
        _ => true,
    };
    (0..topics.len())
        .filter(|i| topics.get(*i).is_some_and(|seen| has_role(&seen) && full(seen)))
        .collect()
}

fn by_name(topics: &[Seen], wish: &str, kinds: &[Kind]) -> Result<usize, String> {
    let same = |seen: &Seen| seen.topic.name.trim_matches('/') == wish.trim_matches('/');
    let Some(i) = topics.iter().position(same) else {
        return Err(format!("there is no topic {wish:?}; {}", listed(topics)));
    };
    match topics.get(i).and_then(|seen| seen.kind) {
        Some(kind) if kinds.contains(&kind) => Ok(i),
        _ => Err(format!(
            "topic {wish:?} has type {:?}, which is not what is needed; {}",
            topics.get(i).map_or("", |seen| seen.topic.ros_type.as_str()),
            listed(topics)
        )),
    }
}

/// The topics that could be chosen, for an error message.
pub fn listed(topics: &[Seen]) -> String {
    let readable: Vec<String> = topics
        .iter()
        .filter(|seen| seen.kind.is_some())
        .take(20)
        .map(|seen| format!("{} ({})", seen.topic.name, seen.topic.ros_type))
        .collect();
    if readable.is_empty() {
        let others: Vec<&str> =
            topics.iter().take(20).map(|seen| seen.topic.ros_type.as_str()).collect();
        return format!(
            "it has no topic of type sensor_msgs/Image or CompressedImage in CDR, only {} \
             topics of types {others:?}",
            topics.len()
        );
    }
    format!("topics that can be read: {}", readable.join(", "))
}

/// Chooses the topics of one camera.
///
/// # Errors
/// In words, when there is no colour topic or a user's choice cannot be had.
pub fn choose(topics: &[Seen], wishes: Wishes<'_>) -> Result<Chosen, String> {
    let pictures = [Kind::Image, Kind::Compressed];
    let colors = match wishes.color {
        Some(name) => vec![by_name(topics, name, &pictures)?],
        None => candidates(topics, Role::Color),
    };
    let depths = match wishes.depth {
        Some("none") => Vec::new(),
        Some(name) => vec![by_name(topics, name, &pictures)?],
        None => candidates(topics, Role::Depth),
    };
    let get = |i: usize| topics.get(i).map(|seen| (seen, seen.topic.name.as_str()));
    let compressed = |seen: &Seen| seen.kind == Some(Kind::Compressed);
    let best = colors
        .iter()
        .flat_map(|color| {
            let depths = depths.iter().filter(move |depth| *depth != color).map(|d| Some(*d));
            depths.chain([None]).map(move |depth| (*color, depth))
        })
        .filter_map(|(c, d)| {
            let (color, color_name) = get(c)?;
            let depth = d.and_then(get);
            let key = (
                depth.is_none(),
                depth.is_some_and(|(_, name)| !named_registered(name)),
                color_rank(color),
                Reverse(depth.map_or(0, |(_, name)| shared(color_name, name))),
                compressed(color),
                depth.is_some_and(|(depth, _)| compressed(depth)),
                color_name.to_owned(),
                depth.map(|(_, name)| name.to_owned()),
            );
            Some((key, c, d))
        })
        .min_by(|a, b| a.0.cmp(&b.0));
    let Some((_, color, depth)) = best else {
        return Err(match depths.is_empty() {
            true => format!("no colour topic: {}", listed(topics)),
            false => format!("only depth, no colour topic: {}", listed(topics)),
        });
    };
    let info = match wishes.info {
        Some("none") => None,
        Some(name) => Some(by_name(topics, name, &[Kind::Info])?),
        None => info_of(topics, color),
    };
    let depth_info = depth.and_then(|depth| info_of(topics, depth));
    Ok(Chosen { color, depth, info, depth_info })
}

fn info_of(topics: &[Seen], picture: usize) -> Option<usize> {
    let picture = topics.get(picture)?;
    let frame = picture.first.as_ref().map_or("", |first| first.frame_id.as_str());
    let depth = |name: &str| name.to_ascii_lowercase().contains("depth");
    topics
        .iter()
        .enumerate()
        .filter(|(_, seen)| seen.kind == Some(Kind::Info) && seen.topic.messages != Some(0))
        .filter_map(|(i, seen)| {
            let name = seen.topic.name.as_str();
            let other_frame = seen.first.as_ref().is_none_or(|first| first.frame_id != frame);
            let shared = shared(&picture.topic.name, name);
            // Nothing in common: another camera's.
            (shared > 0 || !other_frame && !frame.is_empty()).then(|| {
                let misnamed = depth(name) != depth(&picture.topic.name);
                (other_frame, Reverse(shared), misnamed, name.to_owned(), i)
            })
        })
        .min()
        .map(|(.., i)| i)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(name: &str, kind: &str, format: &str, frame_id: &str) -> Seen {
        let topic = StoredTopic {
            name: name.to_owned(),
            ros_type: format!("sensor_msgs/msg/{kind}"),
            serialization: "cdr".to_owned(),
            messages: None,
        };
        let first =
            First { format: format.to_owned(), frame_id: frame_id.to_owned(), ..First::default() };
        Seen { kind: Kind::of(&topic), topic, first: Some(first) }
    }

    fn names(topics: &[Seen], chosen: Chosen) -> [Option<&str>; 4] {
        [Some(chosen.color), chosen.depth, chosen.info, chosen.depth_info]
            .map(|i| i.map(|i| topics[i].topic.name.as_str()))
    }

    #[test]
    fn a_realsense_bag_gives_aligned_depth_and_the_colour_cameras_info() {
        let topics = [
            seen("/camera/aligned_depth_to_color/camera_info", "CameraInfo", "", "c"),
            seen("/camera/aligned_depth_to_color/image_raw", "Image", "16UC1", "c"),
            seen("/camera/color/camera_info", "CameraInfo", "", "c"),
            seen("/camera/color/image_raw", "Image", "rgb8", "c"),
            seen("/camera/color/image_raw/compressed", "CompressedImage", "rgb8; jpeg", "c"),
            seen("/camera/depth/camera_info", "CameraInfo", "", "d"),
            seen("/camera/depth/image_rect_raw", "Image", "16UC1", "d"),
            seen("/camera/infra1/image_rect_raw", "Image", "mono8", "i"),
        ];
        assert_eq!(
            names(&topics, choose(&topics, Wishes::default()).unwrap()),
            [
                Some("/camera/color/image_raw"),
                Some("/camera/aligned_depth_to_color/image_raw"),
                Some("/camera/color/camera_info"),
                Some("/camera/aligned_depth_to_color/camera_info"),
            ]
        );
        let wishes = Wishes {
            color: Some("camera/color/image_raw/compressed"),
            depth: Some("/camera/depth/image_rect_raw"),
            info: None,
        };
        assert_eq!(
            names(&topics, choose(&topics, wishes).unwrap()),
            [
                Some("/camera/color/image_raw/compressed"),
                Some("/camera/depth/image_rect_raw"),
                Some("/camera/color/camera_info"),
                Some("/camera/depth/camera_info"),
            ]
        );
        let wrong = Wishes { color: Some("/nope"), ..Wishes::default() };
        assert!(choose(&topics, wrong).unwrap_err().contains("/camera/color/image_raw"));
    }

    #[test]
    fn two_cameras_are_not_mixed() {
        let topics = [
            seen("/front/rgb/image_raw", "Image", "bgr8", "f"),
            seen("/rear/depth_registered/image_raw", "Image", "32FC1", "r"),
            seen("/rear/rgb/image_raw", "Image", "bgr8", "r"),
            seen("/front/rgb/camera_info", "CameraInfo", "", "f"),
            seen("/rear/rgb/camera_info", "CameraInfo", "", "r"),
        ];
        assert_eq!(
            names(&topics, choose(&topics, Wishes::default()).unwrap()),
            [
                Some("/rear/rgb/image_raw"),
                Some("/rear/depth_registered/image_raw"),
                Some("/rear/rgb/camera_info"),
                Some("/rear/rgb/camera_info"),
            ]
        );
    }

    #[test]
    fn mono16_named_depth_is_depth_and_a_coloured_view_of_depth_is_nothing() {
        let topics = [
            seen("/device_0/sensor_0/Depth_0/image/data", "Image", "mono16", "0"),
            seen("/device_0/sensor_1/Color_0/image/data", "Image", "rgb8", "0"),
            seen("/device_0/sensor_0/Depth_0/colorized", "Image", "rgb8", "0"),
        ];
        let chosen = choose(&topics, Wishes::default()).unwrap();
        assert_eq!((chosen.color, chosen.depth), (1, Some(0)));
    }

    #[test]
    fn a_bag_without_depth_gives_colour_alone_and_one_without_colour_says_so() {
        let topics = [seen("/image", "Image", "rgb8", "0")];
        assert_eq!(choose(&topics, Wishes::default()).unwrap().depth, None);
        let topics = [seen("/depth/image", "Image", "16UC1", "0")];
        assert!(choose(&topics, Wishes::default()).unwrap_err().contains("only depth"));
        let topics = [seen("/chatter", "Strings", "", "")];
        assert!(choose(&topics, Wishes::default()).unwrap_err().contains("no topic of type"));
    }

    #[test]
    fn topics_of_other_serialisations_and_nearly_empty_ones_are_left_out() {
        let mut raw = seen("/camera/color/image_raw", "Image", "rgb8", "c");
        raw.topic.messages = Some(3);
        let mut jpeg = seen("/camera/color/image_raw/compressed", "CompressedImage", "jpeg", "c");
        jpeg.topic.messages = Some(900);
        let mut other = seen("/a/color", "Image", "rgb8", "c");
        other.topic.serialization = "ros1".to_owned();
        other.kind = Kind::of(&other.topic);
        let topics = [raw, jpeg, other];
        assert_eq!(choose(&topics, Wishes::default()).unwrap().color, 1);
    }
}
