//! The main job through the real binary: a rendered room in, a better policy out.

use std::{path::Path, process::Command};

use serde_json::Value;

fn run(args: &[&str]) -> (i32, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_spatial-ssrl")).args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code().unwrap_or(-1), text(&out.stdout), text(&out.stderr))
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A run small enough for a test; most of its time goes into encoding.
const SMALL: &str = "[learn]\nsteps = 120\nmax_views = 30\nmemory_per_kind = 400\n\
                     [split]\ntasks_per_kind = 60\n[promote]\ncheck_every = 30\n";

#[test]
fn a_rendered_room_is_learnt_saved_and_evaluated_and_the_same_seed_gives_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("small.toml");
    std::fs::write(&config, SMALL).unwrap();
    let run_in = |name: &str| {
        let out = folder.path().join(name);
        let (code, stdout, stderr) = run(&[
            "adapt",
            "room:seed=3,frames=40",
            "--config",
            config.to_str().unwrap(),
            "--out",
            out.to_str().unwrap(),
            "--seed",
            "5",
            "--policy",
            "none",
        ]);
        assert_eq!(code, 0, "{stderr}");
        assert!(stdout.contains("before") && stdout.contains("blind"), "{stdout}");
        out
    };
    let first = run_in("first");
    let summary = json(&first.join("summary.json"));
    let mean = |key: &str| summary[key].as_f64().unwrap();
    assert!(mean("mean_after") > mean("mean_before") + 0.3, "{summary}");
    for key in ["source", "seed", "frames", "tasks", "before", "after", "updates", "wall_seconds"] {
        assert!(!summary[key].is_null(), "summary.json has {key}");
    }
    assert!(summary["peak_rss_bytes"].as_u64().unwrap() < 1 << 30);
    let flip = &summary["after"]["flip"];
    assert!(flip["ci95"][0].as_f64() <= flip["accuracy"].as_f64());
    assert_eq!(flip["chance"].as_f64(), Some(0.125));

    let metrics = std::fs::read_to_string(first.join("metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 120);
    let line: Value = serde_json::from_str(metrics.lines().next().unwrap()).unwrap();
    for key in ["reward", "reward_std", "frac_reward_zero_std", "entropy", "grad_norm"] {
        assert!(line[key].is_number(), "{key}: {line}");
    }

    // A run with an end tests its last candidate, however many steps lie before it.
    let checks = std::fs::read_to_string(first.join("checks.jsonl")).unwrap();
    let checks: Vec<Value> = checks.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(checks.iter().map(|c| c["step"].as_u64()).collect::<Vec<_>>(), [Some(120)]);

    // The exact settings can be run again, and one seed gives one result.
    let second = run_in("second");
    let weights = |run: &Path| std::fs::read(run.join("policy/weights.safetensors")).unwrap();
    assert_eq!(weights(&first), weights(&second));

    let (code, stdout, stderr) =
        run(&["eval", "room:seed=3,frames=8", "--policy", first.to_str().unwrap(), "--json"]);
    assert_eq!(code, 0, "{stderr}");
    let evaluated: Value = serde_json::from_str(&stdout).unwrap();
    assert!(evaluated["mean"].as_f64().unwrap() > 0.5, "{evaluated}");

    // A damaged policy is refused, not guessed at.
    let weights_file = first.join("policy/weights.safetensors");
    let mut bytes = std::fs::read(&weights_file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&weights_file, bytes).unwrap();
    let (code, _, stderr) =
        run(&["eval", "room:seed=3,frames=8", "--policy", first.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(stderr.contains("not the file that belongs here"), "{stderr}");
}

#[test]
fn wrong_settings_are_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("wrong.toml");
    std::fs::write(&config, "[learn]\nsteps = 10\nlearning_rat = 0.1\n").unwrap();
    let (code, _, stderr) =
        run(&["adapt", "room:frames=4", "--config", config.to_str().unwrap(), "--out", "x"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("did you mean learn.learning_rate?"), "{stderr}");
}

#[test]
fn learning_without_end_goes_round_is_counted_and_goes_on_after_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("small.toml");
    let small = "[learn]\nviews = 1\nsteps_per_frame = 2\nmemory_per_kind = 60\n\
                 memory_per_patch_kind = 10\n[promote]\ncheck_every = 20\n\
                 [gate]\nmin_novelty = 0.0\n[checkpoint]\ndisk_floor_bytes = 0\n";
    std::fs::write(&config, small).unwrap();
    let out = folder.path().join("run");
    let out = out.to_str().unwrap();
    let (code, stdout, stderr) = run(&[
        "adapt",
        "room:seed=3,frames=12",
        "--forever",
        "--steps",
        "40",
        "--config",
        config.to_str().unwrap(),
        "--out",
        out,
    ]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("whole rounds") && stdout.contains("serves"), "{stdout}");
    let summary = json(&Path::new(out).join("summary.json"));
    assert!(summary["rounds"].as_u64().unwrap() >= 1, "{summary}");
    assert_eq!(summary["updates"]["applied"].as_u64(), Some(40), "{summary}");
    // Two kinds of points and three of patches, however many frames come.
    assert!(summary["remembered"].as_u64().unwrap() <= 2 * 60 + 3 * 10, "{summary}");
    let checks = std::fs::read_to_string(Path::new(out).join("checks.jsonl")).unwrap();
    assert_eq!(checks.lines().count(), 2);
    // However short the recording, candidates are tested on a part of it.
    let kept = std::fs::read_dir(Path::new(out).join("checkpoints")).unwrap();
    let newest = kept.map(|entry| entry.unwrap().path()).max().unwrap();
    let local = std::fs::metadata(newest.join("recent.tasks")).unwrap().len();
    assert!(local > 1000, "{local} bytes of local tasks");

    let (code, _, stderr) = run(&["adapt", "--resume", out, "--steps", "60"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("going on from checkpoint"), "{stderr}");
    let summary = json(&Path::new(out).join("summary.json"));
    assert_eq!(summary["updates"]["applied"].as_u64(), Some(60), "{summary}");
    let metrics = std::fs::read_to_string(Path::new(out).join("metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 60);
}
