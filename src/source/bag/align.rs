//! Whether depth belongs to the colour picture pixel by pixel, and why.

use super::topics::{First, named_registered};
use crate::frame::{Intrinsics, Registration};

/// Everything that tells whether depth is registered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence<'a> {
    /// The user's word.
    pub told: Option<bool>,
    /// Name of the depth topic.
    pub depth_topic: &'a str,
    /// First messages of both pictures.
    pub color: Option<&'a First>,
    /// First message of depth.
    pub depth: Option<&'a First>,
    /// Intrinsics of both cameras, as their camera infos say.
    pub color_camera: Option<Intrinsics>,
    /// Intrinsics of the depth camera.
    pub depth_camera: Option<Intrinsics>,
}

/// Decides, and says why in words for a person.
///
/// The user's word holds. Pictures of different sizes or cameras of different focal lengths
/// cannot be registered, whatever a topic is called. Else the topic's name, then a common
/// optical frame. Doubt means unregistered: tasks that need depth would have wrong answers.
pub fn decide(evidence: &Evidence<'_>) -> (Registration, String) {
    use Registration::{Registered, Unregistered};
    let topic = evidence.depth_topic;
    match evidence.told {
        Some(true) => return (Registered, "registered: the user says so".to_owned()),
        Some(false) => return (Unregistered, "not registered: the user says so".to_owned()),
        None => {}
    }
    let size = |first: Option<&First>| first.and_then(|first| first.size);
    if let (Some(color), Some(depth)) = (size(evidence.color), size(evidence.depth))
        && color != depth
    {
        let why = format!(
            "not registered: colour is {}x{}, depth {}x{}",
            color.0, color.1, depth.0, depth.1
        );
        return (Unregistered, why);
    }
    if let (Some(color), Some(depth)) = (evidence.color_camera, evidence.depth_camera) {
        let apart = |a: f64, b: f64| (a - b).abs() > 0.01 * a.abs().max(1.0);
        if apart(color.fx, depth.fx) || apart(color.fy, depth.fy) {
            let why = format!(
                "not registered: the cameras differ (colour fx {:.1} fy {:.1}, depth fx {:.1} fy \
                 {:.1})",
                color.fx, color.fy, depth.fx, depth.fy
            );
            return (Unregistered, why);
        }
    }
    if named_registered(topic) {
        return (Registered, format!("registered: the depth topic {topic} is named so"));
    }
    let frame = |first: Option<&First>| {
        first.map(|first| first.frame_id.clone()).filter(|frame| !frame.is_empty())
    };
    match (frame(evidence.color), frame(evidence.depth)) {
        // librealsense's recorder writes a mere "0" for every stream.
        (Some(color), Some(depth)) if color == depth && color.len() > 1 => {
            (Registered, format!("registered: both pictures are in the optical frame {color:?}"))
        }
        (Some(color), Some(depth)) if color != depth => (
            Unregistered,
            format!("not registered: colour is in the frame {color:?}, depth in {depth:?}"),
        ),
        _ => (
            Unregistered,
            format!("not registered as far as the topic {topic} and its messages tell"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(frame_id: &str, size: (u32, u32)) -> First {
        First { frame_id: frame_id.to_owned(), size: Some(size), ..First::default() }
    }

    #[test]
    fn doubt_and_contradiction_mean_unregistered() {
        let c = first("rgb", (640, 480));
        let same = first("rgb", (640, 480));
        let other = first("ir", (640, 480));
        let small = first("rgb", (320, 240));
        let nameless = first("", (640, 480));
        let k = |fx: f64| Intrinsics::new(640, 480, fx, fx, 320.0, 240.0).ok();
        let decide = |topic, depth: &First, told, cameras: [Option<Intrinsics>; 2]| {
            let (registration, why) = decide(&Evidence {
                told,
                depth_topic: topic,
                color: Some(&c),
                depth: Some(depth),
                color_camera: cameras[0],
                depth_camera: cameras[1],
            });
            assert_eq!(why.starts_with("registered"), registration == Registration::Registered);
            registration == Registration::Registered
        };
        let none = [None, None];
        assert!(decide("/depth/image", &same, None, none));
        assert!(decide("/depth/image", &same, None, [k(525.0), k(525.0)]));
        assert!(!decide("/depth/image", &same, None, [k(615.0), k(385.0)]));
        assert!(!decide("/depth/image", &other, None, none));
        assert!(decide("/aligned_depth_to_color/image_raw", &other, None, none));
        assert!(!decide("/aligned_depth_to_color/image_raw", &small, None, none));
        assert!(!decide("/depth/image", &nameless, None, none));
        assert!(decide("/depth/image", &other, Some(true), none));
        assert!(!decide("/aligned_depth_to_color/image_raw", &same, Some(false), none));
    }
}
