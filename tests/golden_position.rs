//! The meaning of position answers, as read off the published generator.

use std::path::PathBuf;

use serde::Deserialize;
use spatial_ssrl::task::{
    Facing,
    position::{Lateral, Range, direction},
};

#[derive(Deserialize)]
struct Row {
    observer_faces: String,
    target_in_image: String,
    target_depth: String,
    answer: String,
}

#[test]
fn golden_position_truth_holds_in_all_rows() {
    let shared = std::env::var_os("SPATIAL_SSRL_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let path = shared.join("golden/tasks/position_truth.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: {} is not there", path.display());
        return;
    };
    let rows: Vec<Row> = serde_json::from_str(&text).unwrap();
    assert_eq!(rows.len(), 32);
    for row in rows {
        let facing = match row.observer_faces.as_str() {
            "left" => Facing::Left,
            "right" => Facing::Right,
            "toward_viewer" => Facing::TowardViewer,
            "away_from_viewer" => Facing::AwayFromViewer,
            other => panic!("facing {other}"),
        };
        let lateral = match row.target_in_image.as_str() {
            "left" => Lateral::Left,
            "same" => Lateral::Same,
            "right" => Lateral::Right,
            other => panic!("lateral {other}"),
        };
        let range = match row.target_depth.as_str() {
            "nearer" => Range::Nearer,
            "same" => Range::Same,
            "farther" => Range::Farther,
            other => panic!("range {other}"),
        };
        let named = direction(facing, lateral, range).map(|d| d.name());
        assert_eq!(named, Some(row.answer.as_str()), "{facing:?} {lateral:?} {range:?}");
    }
}
