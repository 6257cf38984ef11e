//! The text scorer against the published one, string by string.

use std::path::PathBuf;

use serde::Deserialize;
use spatial_ssrl::reward::{RewardWeights, score_text};

#[derive(Deserialize)]
struct Row {
    response: String,
    answer: String,
    overall: f64,
    format: f64,
    accuracy: f64,
}

fn golden(name: &str) -> Option<String> {
    let shared = std::env::var_os("SPATIAL_SSRL_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let path = shared.join("golden").join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) => {
            println!("skipped: {} is not there ({error})", path.display());
            None
        }
    }
}

#[test]
fn golden_rewards_equal_the_published_scorer() {
    let Some(text) = golden("grpo/reward.json") else { return };
    let rows: Vec<Row> = serde_json::from_str(&text).unwrap();
    assert_eq!(rows.len(), 29);
    for row in rows {
        let score = score_text(&row.response, &row.answer, RewardWeights::default());
        let context = format!("{:?} against {:?}", row.response, row.answer);
        assert_eq!(score.accuracy, row.accuracy, "accuracy of {context}");
        assert_eq!(score.format, row.format, "format of {context}");
        assert_eq!(score.overall, row.overall, "overall of {context}");
    }
}
