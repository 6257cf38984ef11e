//! An exported policy gives the same answers in onnxruntime, tract and burn.
//!
//! Runs where Python with onnxruntime is installed (`SPATIAL_SSRL_PYTHON` names another
//! interpreter than `python3`), and must run where `CI` is set. The peer is given the file and
//! what is seen of each task, and puts the answers together itself, in numpy.

mod common;
#[path = "common/tasks.rs"]
mod made;

use std::{fs, io::Write, path::Path, process::Command};

use burn::tensor::Device;
use common::shared;
use half::f16;
use made::{frames, tasks};
use serde_json::{Value, json};
use spatial_ssrl::{
    export::onnx,
    frame::RgbdFrame,
    policy::{
        Policy,
        compact::{
            CompactPolicy,
            encoder::Encoder,
            observe::{Evidence, Observation, PatchFeatures},
            served::Served,
        },
    },
    task::{Piece, Task, piece::Scratch},
};

/// The largest difference of log-probabilities that counts as the same answer.
const SAME: f64 = 1e-4;

/// So many tasks of each kind are also answered from their pixels on.
const FROM_PIXELS: usize = 20;

fn python() -> Option<String> {
    let python = std::env::var("SPATIAL_SSRL_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let probe = Command::new(&python).args(["-c", "import numpy, onnxruntime"]).output();
    if probe.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert!(std::env::var_os("CI").is_none(), "{python} with onnxruntime is needed here");
    println!("skipped: {python} with onnxruntime is not installed");
    None
}

/// What the peer is given.
#[derive(Default)]
struct Dump {
    lines: Vec<u8>,
    features: Vec<f16>,
    pictures: Vec<u8>,
    maps: Vec<f32>,
}

impl Dump {
    fn line(&mut self, line: &Value) {
        writeln!(self.lines, "{line}").unwrap();
    }

    /// Features, by where they begin.
    fn features(&mut self, parts: &[&[f16]]) -> usize {
        let at = self.features.len();
        parts.iter().for_each(|part| self.features.extend_from_slice(part));
        at
    }

    fn patch(&mut self, patch: &PatchFeatures) -> Value {
        json!(self.features(&[&patch.borders, &patch.context]))
    }

    fn picture(&mut self, picture: &image::RgbImage) -> Value {
        let at = self.pictures.len();
        self.pictures.extend_from_slice(picture.as_raw());
        json!([picture.width(), picture.height(), at])
    }

    /// The pieces of a task at the sizes at which they are encoded.
    fn pictures(&mut self, encoder: &Encoder, frame: &RgbdFrame, task: &Task) -> Vec<Value> {
        let config = encoder.config();
        let mut scratch = Scratch::default();
        let mut shown = Vec::new();
        for piece in &task.pieces() {
            let (w, h) = piece.native_size((frame.width(), frame.height()));
            let [width, height] = match piece {
                Piece::White => {
                    shown.push(Value::Null);
                    continue;
                }
                Piece::Patch { .. } if w > 2 * h => config.wide_size,
                Piece::Patch { .. } if h > 2 * w => config.tall_size,
                Piece::Patch { .. } => config.square_size,
                Piece::Holed { turn, .. } if turn.swaps_sides() => {
                    [config.whole_size[1], config.whole_size[0]]
                }
                _ => config.whole_size,
            };
            let picture = piece.render(frame, width, height, &mut scratch).unwrap();
            let place = self.picture(&picture);
            shown.push(place);
        }
        shown
    }

    fn task(&mut self, observation: &Observation, pictures: Vec<Value>) {
        let mut line = json!({
            "question": observation.question,
            "picture_size": observation.picture_size,
            "patches": [], "ring": null, "open": [], "points": [],
            "pictures": pictures,
        });
        match &observation.evidence {
            Evidence::Patches(patches) => {
                let patches = patches.iter();
                line["patches"] = patches
                    .map(|patch| patch.as_ref().map_or(Value::Null, |patch| self.patch(patch)))
                    .collect();
            }
            Evidence::Hole { ring, options } => {
                line["ring"] = json!(self.features(&[&ring.borders]));
                line["open"] = json!(ring.open);
                line["patches"] = options.iter().map(|patch| self.patch(patch)).collect();
            }
            Evidence::Points(points) => {
                line["points"] =
                    points.iter().map(|point| json!(self.features(&[point]))).collect();
            }
        }
        self.line(&line);
    }

    /// A picture with what tract makes of it: whole or a patch, or one with a hole.
    fn maps(&mut self, encoder: &Encoder, frame: &RgbdFrame, size: [u32; 2], holed: bool) {
        let [width, height] = size;
        let picture = Piece::Whole.render(frame, width, height, &mut Scratch::default()).unwrap();
        let maps = if holed { encoder.encode_holed(&picture) } else { encoder.encode(&picture) };
        let maps = maps.unwrap();
        let place = self.picture(&picture);
        let mut places = serde_json::Map::new();
        for (name, map) in encoder.outputs().iter().zip(&maps.0) {
            places.insert(name.clone(), json!(self.maps.len()));
            self.maps.extend(map.iter());
        }
        self.line(&json!({ "picture": place, "maps": places }));
    }

    fn write(&self, folder: &Path) {
        let features = self.features.iter().flat_map(|value| value.to_le_bytes());
        let maps = self.maps.iter().flat_map(|value| value.to_le_bytes());
        for (name, bytes) in [
            ("tasks.jsonl", self.lines.clone()),
            ("pictures.u8", self.pictures.clone()),
            ("features.f16", features.collect()),
            ("maps.f32", maps.collect()),
        ] {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
}

fn largest(a: &[f64], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - f64::from(*b)).abs()).fold(0.0, f64::max)
}

/// The best candidate, and whether a second is as good as it.
fn best(scores: impl Iterator<Item = f64>) -> (usize, bool) {
    let mut ranked: Vec<(usize, f64)> = scores.enumerate().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    (ranked[0].0, ranked[0].1 - ranked[1].1 < SAME)
}

fn agree(name: &str, frames: &[RgbdFrame], per_kind: u64) {
    let Some(python) = python() else { return };
    let policy = CompactPolicy::builtin(Device::flex()).unwrap();
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("policy.onnx");
    onnx::save(&policy, &path).unwrap();
    let served = Served::from_onnx(&fs::read(&path).unwrap()).unwrap();

    let mut dump = Dump::default();
    let mut observations = Vec::new();
    let mut from_pixels = std::collections::BTreeMap::<String, usize>::new();
    for (frame, tasks) in tasks(frames, per_kind) {
        for (task, observation) in tasks.iter().zip(policy.observe(frame, &tasks).unwrap()) {
            let count = from_pixels.entry(task.kind.name().to_owned()).or_default();
            *count += 1;
            let pictures = if *count <= FROM_PIXELS {
                dump.pictures(policy.encoder(), frame, task)
            } else {
                Vec::new()
            };
            dump.task(&observation, pictures);
            observations.push(observation);
        }
    }
    let config = policy.encoder().config();
    let [width, height] = config.whole_size;
    for size in [config.whole_size, config.square_size, config.tall_size, config.wide_size] {
        dump.maps(policy.encoder(), &frames[0], size, false);
    }
    for size in [[width, height], [height, width]] {
        dump.maps(policy.encoder(), &frames[0], size, true);
    }
    dump.write(home.path());

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/onnx_answers.py");
    let output = Command::new(python).arg(script).arg(home.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();

    let observations: Vec<&Observation> = observations.iter().collect();
    let burn = policy.log_probabilities(&observations).unwrap();
    let tract = served.log_probabilities(&observations).unwrap();
    let answers = fs::read_to_string(home.path().join("answers.jsonl")).unwrap();
    let (mut burn_apart, mut tract_apart) = (0.0_f64, 0.0_f64);
    let (mut pixels_apart, mut pixels, mut other_best) = (0.0_f64, 0, 0);
    let mut count = 0;
    for ((line, burn), tract) in answers.lines().zip(&burn).zip(&tract) {
        let answer: Value = serde_json::from_str(line).unwrap();
        let scores = |key: &str| -> Vec<f64> {
            serde_json::from_value(answer[key].clone()).unwrap_or_default()
        };
        let given = scores("given");
        burn_apart = burn_apart.max(largest(&given, burn));
        tract_apart = tract_apart.max(largest(&given, tract));
        let (ours, tie) = best(burn.iter().map(|&score| score.into()));
        assert!(tie || best(given.into_iter()).0 == ours, "task {count}");
        let again = scores("from_pixels");
        if !again.is_empty() {
            pixels += 1;
            pixels_apart = pixels_apart.max(largest(&again, burn));
            other_best += usize::from(!tie && best(again.into_iter()).0 != ours);
        }
        count += 1;
    }
    println!(
        "{name}: {count} tasks; onnxruntime differs from burn by at most {burn_apart:.1e}, from \
         tract by {tract_apart:.1e}; {pixels} from their pixels on: by {pixels_apart:.1e}, another \
         best answer to {other_best}; {report}"
    );
    assert_eq!(count as u64, 5 * per_kind);
    assert_eq!(pixels, 5 * FROM_PIXELS);
    assert!(burn_apart <= SAME, "burn: {burn_apart}");
    assert!(tract_apart <= SAME, "tract: {tract_apart}");
    assert!(report["maps"].as_f64().unwrap() <= SAME, "{report}");
    // Features are kept in half precision: where two runtimes differ in the last bit, one may
    // round up and the other down.
    assert!(report["features"].as_f64().unwrap() < 1e-3, "{report}");
    assert!(report["features_apart"].as_f64().unwrap() < 0.03, "{report}");
    assert!(pixels_apart < 0.02, "{pixels_apart}");
    assert_eq!(other_best, 0);
}

#[test]
fn onnxruntime_gives_the_same_answers_to_a_thousand_tasks_of_a_room() {
    agree("room", &frames("room:seed=11,frames=60", 10, 6), 200);
}

#[test]
fn onnxruntime_gives_the_same_answers_to_recorded_tasks() {
    let Some(bag) = shared("data/tum-fr1-rpy-10hz") else { return };
    agree("recording", &frames(bag.to_str().unwrap(), 10, 20), 40);
}
