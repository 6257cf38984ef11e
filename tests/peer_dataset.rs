//! The data sets that we write, read by the libraries that trainers use.
//!
//! Runs where Python with pyarrow is installed (`SPATIAL_SSRL_PYTHON` names another
//! interpreter than `python3`; `datasets` and Pillow are used too where they are), and must
//! run where `CI` is set.

use std::{path::Path, process::Command};

use image::{Rgb, RgbImage};
use spatial_ssrl::{
    export::{DatasetWriter, Format, TaskRow},
    frame::FrameId,
    task::{Answer, FlipDirection, Preset, Question, Recipe, Task, TaskKind},
};

const ROWS: usize = 300;

fn python() -> Option<String> {
    let python = std::env::var("SPATIAL_SSRL_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let probe = Command::new(&python).args(["-c", "import pyarrow"]).output();
    if probe.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert!(std::env::var_os("CI").is_none(), "{python} with pyarrow is needed here");
    println!("skipped: {python} with pyarrow is not installed");
    None
}

fn row(n: usize) -> TaskRow {
    let task = Task {
        kind: TaskKind::Flip,
        frame_id: FrameId(u64::MAX),
        stamp_ns: 1_305_031_229_564_442_000 + n as i64,
        picture_size: (16, 12),
        seed: u64::MAX - 1,
        preset: Preset::Balanced,
        question: Question::FindFlip { rows: 2, cols: 2 },
        answer: Answer::Flipped { patch: 3, direction: FlipDirection::Vertical },
        recipe: Recipe::FlipOne { patch: 3, direction: FlipDirection::Vertical },
    };
    let pictures: Vec<RgbImage> = (0..n % 6)
        .map(|i| RgbImage::from_pixel(16, 12, Rgb([(n % 200) as u8, i as u8, 7])))
        .collect();
    TaskRow::new(&task, "Which patch – 0 to 3 – is flipped?", &pictures).unwrap()
}

fn trainers_read(format: Format) {
    let Some(python) = python() else { return };
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("tasks");
    let mut writer = DatasetWriter::create(&out, format).unwrap();
    for n in 0..ROWS {
        writer.push(row(n)).unwrap();
    }
    writer.finish().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/read_dataset.py");
    let output = Command::new(python)
        .arg(script)
        .arg(&out)
        .arg(ROWS.to_string())
        .arg(home.path().join("cache"))
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap();
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{stdout}{stderr}");
    assert!(output.status.success(), "{stderr}");
    assert!(stdout.contains("pyarrow"), "{stdout}");
}

#[test]
fn trainers_read_every_parquet_row() {
    trainers_read(Format::Parquet);
}

#[test]
fn trainers_read_every_jsonl_row() {
    trainers_read(Format::Jsonl);
}
