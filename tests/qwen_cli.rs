//! Qwen2.5-VL through the real binary, with the golden model as its checkpoint: adapt, then eval and
//! ask with what was learnt, then go on from it; a run that is stopped keeps what it has learnt.
#![cfg(feature = "vlm")]

mod common;

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use common::checkpoint;
use serde_json::Value;
use spatial_ssrl::source::room::{RoomSource, RoomSpec};

/// Little of everything. The adapter may reach the head, since random layers hold little that
/// other layers could use.
const SMALL: &str = r#"
save_every_s = 0.0
[tasks]
kinds = ["flip", "position"]
[split]
tasks_per_kind = 4
[cold_start]
steps = 40
batch = 4
learning_rate = 1e-2
[learn]
steps = 6
views = 1
max_views = 30
learning_rate = 1e-3
[learn.tasks_per_step]
flip = 1
position = 2
[grpo]
group_size = 4
[policy.processor]
min_pixels = 3136
max_pixels = 9408
[policy.sampler]
max_tokens = 40
[policy.lora]
rank = 8
alpha = 16.0
targets = ["q_proj", "v_proj", "down_proj", "lm_head"]
"#;

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spatial-ssrl"));
    command.args(args);
    command
}

fn run(args: &[&str]) -> (i32, String, String) {
    let out = command(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code().unwrap_or(-1), text(&out.stdout), text(&out.stderr))
}

/// What it prints when it must not fail.
fn done(args: &[&str]) -> (String, String) {
    let (code, stdout, stderr) = run(args);
    assert_eq!(code, 0, "{args:?}\n{stdout}\n{stderr}");
    (stdout, stderr)
}

/// What it says when it must fail.
fn refused(args: &[&str]) -> String {
    let (code, stdout, stderr) = run(args);
    assert_eq!(code, 1, "{args:?}\n{stdout}\n{stderr}");
    stderr
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn metrics(run: &Path) -> Vec<Value> {
    let lines = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn qwen_what_adapt_learns_is_evaluated_asked_and_gone_on_from() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (base, config, first) = (at("checkpoint"), at("small.toml"), at("first"));
    std::fs::create_dir(&base).unwrap();
    if !checkpoint::write(base.as_ref()) {
        return;
    }
    std::fs::write(&config, SMALL).unwrap();
    let room = "room:seed=7,frames=12";
    let (of_base, of_first) = (format!("qwen:{base}"), format!("qwen:{first}"));

    let begin = ["adapt", room, "--policy", &of_base, "--config", &config, "--out", &first];
    let (stdout, _) = done(&begin);
    for told in ["before", "blind", "taught    40 steps, loss", "updates ", "first/policy"] {
        assert!(stdout.contains(told), "{told}: {stdout}");
    }
    let first = Path::new(&first);
    let summary = json(&first.join("summary.json"));
    let loss = |key: &str| summary["cold_start"][key].as_f64().unwrap();
    assert!(loss("last_loss") < loss("first_loss") / 4.0, "{summary}");
    // After it some answers are right and others are not, from which GRPO learns.
    assert!(summary["updates"]["applied"].as_u64().unwrap() > 0, "{summary}");
    assert!(summary["first_reward"].as_f64().unwrap() > 0.1, "{summary}");
    for kind in ["flip", "position"] {
        assert_eq!(summary["before"][kind]["n"], summary["after"][kind]["n"], "{summary}");
        assert!(summary["after"][kind]["n"].as_u64().unwrap() > 0, "{summary}");
    }
    // The run says whether what it learnt is better, and by the same word in both places.
    let promoted = summary["promoted"].is_number();
    assert_eq!(promoted, summary["rejected"].is_null(), "{summary}");
    assert!(stdout.contains(if promoted { "promoted  " } else { "rejected  " }), "{stdout}");
    let lines = metrics(first);
    assert_eq!(lines.len(), 40 + 6);
    for (step, line) in lines.iter().enumerate() {
        assert_eq!(line["step"], step, "{line}");
        // A supervised step has no reward, and one by reward has one.
        let cold = step < 40;
        assert_eq!(line["phase"] == "cold_start", cold, "{line}");
        assert_eq!(line["reward"].is_null(), cold, "{line}");
    }
    let adapter = json(&first.join("policy/adapter_config.json"));
    assert_eq!(adapter["peft_type"], "LORA");
    let written = adapter["base_model_name_or_path"].as_str().unwrap();
    assert_eq!(Path::new(written), std::fs::canonicalize(&base).unwrap());

    // The exact settings came with the run.
    let (stdout, _) = done(&["eval", room, "--policy", &of_first, "--json"]);
    let evaluated: Value = serde_json::from_str(&stdout).unwrap();
    assert!(evaluated["scores"]["position"]["n"].as_u64().unwrap() > 0, "{evaluated}");
    assert!(evaluated["scores"]["reorder"].is_null(), "{evaluated}");

    // The adapter changes what is said, wherever it is named.
    let picture = at("picture.png");
    image::RgbImage::from_fn(80, 60, |x, y| image::Rgb([3 * x as u8, 4 * y as u8, 9]))
        .save(&picture)
        .unwrap();
    let say = |policy: &str, more: &[&str]| {
        let mut args = vec!["ask", &picture, "--policy", policy, "say", "Where is it?"];
        args.extend_from_slice(more);
        done(&args).0
    };
    let taught = say(&of_first, &[]);
    let adapter = first.join("policy");
    assert_ne!(taught, say(&of_base, &[]));
    assert_eq!(taught, say(&of_base, &["--adapter", adapter.to_str().unwrap()]));

    // Going on from a run needs no second cold start.
    let second = at("second");
    let go_on = ["adapt", room, "--policy", &of_first, "--steps", "1", "--out", &second];
    let (_, stderr) = done(&go_on);
    assert!(stderr.contains("cold start: 0 steps left"), "{stderr}");
    let lines = metrics(second.as_ref());
    assert_eq!((lines.len(), &lines[0]["step"]), (1, &Value::from(0)));

    let stderr = refused(&["adapt", "--resume", first.to_str().unwrap()]);
    assert!(stderr.contains("go on from it with --policy qwen:"), "{stderr}");
    let stderr = refused(&["eval", room, "--policy", "builtin", "--adapter", "x"]);
    assert!(stderr.contains("goes with --policy qwen:CHECKPOINT"), "{stderr}");
    let stderr = refused(&["eval", room, "--policy", &of_base, "--adapter", &base]);
    assert!(stderr.contains("no adapter_config.json"), "{stderr}");
    let small = format!("{SMALL}[budget]\nmax_memory_bytes = 100000\n");
    std::fs::write(&config, small).unwrap();
    let args = ["eval", room, "--policy", &of_base, "--config", &config];
    let stderr = refused(&args);
    assert!(
        stderr.contains("answering needs") && stderr.contains("0.10 MB are available"),
        "{stderr}"
    );
    let hub = std::fs::read_to_string(adapter.join("adapter_config.json")).unwrap();
    let hub = hub.replace(written, "Qwen/Qwen2.5-VL-3B-Instruct");
    std::fs::write(adapter.join("adapter_config.json"), hub).unwrap();
    let stderr = refused(&["eval", room, "--policy", &of_first]);
    assert!(stderr.contains("no folder here") && stderr.contains("--adapter"), "{stderr}");
}

#[test]
fn qwen_a_run_that_is_stopped_keeps_what_it_has_learnt() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (base, config, out) = (at("checkpoint"), at("small.toml"), at("run"));
    std::fs::create_dir(&base).unwrap();
    if !checkpoint::write(base.as_ref()) {
        return;
    }
    std::fs::write(&config, SMALL.replace("steps = 40", "steps = 100000")).unwrap();
    let policy = format!("qwen:{base}");
    let room = "room:seed=7,frames=12";
    let mut command =
        command(&["adapt", room, "--policy", &policy, "--config", &config, "--out", &out]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let adapter = Path::new(&out).join("policy/adapter_config.json");
    let child = wait_for(&adapter, child);
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ended = child.wait_with_output().unwrap();
    let (stdout, stderr) =
        (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert_eq!(ended.status.code(), Some(0), "{stdout}\n{stderr}");
    assert!(stdout.contains("what was learnt is kept"), "{stdout}");
    let summary = json(&Path::new(&out).join("summary.json"));
    assert!(summary["before"].is_object() && summary["after"].is_null(), "{summary}");
    let taught = summary["cold_start"]["applied"].as_u64().unwrap();
    assert!(taught > 0);
    assert_eq!(metrics(out.as_ref()).len() as u64, taught);

    // The rest of the cold start is still to come.
    let (of_run, next) = (format!("qwen:{out}"), at("next"));
    let (_, stderr) =
        done(&["adapt", room, "--policy", &of_run, "--max-seconds", "0", "--out", &next]);
    let left = format!("cold start: {} steps left", 100_000 - taught);
    assert!(stderr.contains(&left), "{left}: {stderr}");
}

#[test]
fn qwen_a_run_that_is_killed_and_resumed_equals_the_uninterrupted_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (base, config) = (at("checkpoint"), at("small.toml"));
    std::fs::create_dir(&base).unwrap();
    if !checkpoint::write(base.as_ref()) {
        return;
    }
    std::fs::write(&config, SMALL).unwrap();
    let policy = format!("qwen:{base}");
    let (room, whole, cut) = (at("room"), at("whole"), at("cut"));
    room_as_folder(room.as_ref());
    let begin = |out: &str| {
        command(&["adapt", &room, "--policy", &policy, "--config", &config, "--out", out])
    };
    assert!(begin(&whole).output().unwrap().status.success());

    // Killed in the cold start, and again while it learns by reward.
    let go_on = || command(&["adapt", "--resume", &cut]);
    for (mut command, step) in [(begin(&cut), 17), (go_on(), 42)] {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let manifest = format!("{cut}/checkpoints/{step:08}/manifest.json");
        let mut child = wait_for(manifest.as_ref(), child);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(!Path::new(&cut).join("summary.json").exists(), "it was not killed in time");
    let other = at("other");
    std::fs::rename(&base, &other).unwrap();
    let stderr = refused(&["adapt", "--resume", &cut]);
    assert!(stderr.contains(&base), "{stderr}");
    std::fs::rename(&other, &base).unwrap();
    // As many tasks, but of other pictures.
    let first = Path::new(&room).join("rgb/1.000000.png");
    let picture = image::open(&first).unwrap().to_rgb8();
    image::imageops::huerotate(&picture, 90).save(&first).unwrap();
    let stderr = refused(&["adapt", "--resume", &cut]);
    assert!(stderr.contains("gives other tasks than when the run was interrupted"), "{stderr}");
    picture.save(&first).unwrap();
    let (_, stderr) = done(&["adapt", "--resume", &cut]);
    assert!(stderr.contains("going on from checkpoint"), "{stderr}");

    let file = |run: &str, name: &str| std::fs::read(Path::new(run).join(name)).unwrap();
    let adapter = "policy/adapter_model.safetensors";
    assert!(file(&whole, adapter) == file(&cut, adapter), "the adapters differ");
    let told = |run: &str| {
        let mut lines = metrics(run.as_ref());
        for line in lines.iter_mut().filter_map(Value::as_object_mut) {
            line.retain(|name, _| !name.starts_with("time/"));
        }
        lines
    };
    assert_eq!(told(&whole), told(&cut));
    let (whole, cut) = (json(&Path::new(&whole).join("summary.json")), Path::new(&cut));
    let resumed = json(&cut.join("summary.json"));
    let same = ["before", "after", "cold_start", "updates", "first_reward", "last_reward"];
    for key in same.into_iter().chain(["promoted", "rejected"]) {
        assert_eq!(whole[key], resumed[key], "{key}");
    }
    assert!(!cut.join("checkpoints").exists(), "nothing is left to resume");
}

/// Twelve frames of a rendered room as a folder of pictures, depth in 0.2 mm.
fn room_as_folder(folder: &Path) {
    let source = RoomSource::new(RoomSpec { seed: 7, frames: 12, ..RoomSpec::default() });
    for part in ["rgb", "depth"] {
        std::fs::create_dir_all(folder.join(part)).unwrap();
    }
    let mut list = String::new();
    for number in 0..12 {
        let frame = source.frame(number);
        let stamp = format!("{}.000000", number + 1);
        let (rgb, depth) = (format!("rgb/{stamp}.png"), format!("depth/{stamp}.png"));
        frame.color.save(folder.join(&rgb)).unwrap();
        let depth_m = frame.depth_m.as_ref().unwrap();
        let values: Vec<u16> =
            depth_m.iter().map(|z| if z.is_nan() { 0 } else { (z * 5000.0) as u16 }).collect();
        image::ImageBuffer::<image::Luma<u16>, _>::from_raw(frame.width(), frame.height(), values)
            .unwrap()
            .save(folder.join(&depth))
            .unwrap();
        list += &format!("{stamp} {rgb} {stamp} {depth}\n");
    }
    std::fs::write(folder.join("associations.txt"), list).unwrap();
}

/// Waits until a run has written this file, and ends it if that takes too long.
fn wait_for(file: &Path, mut child: Child) -> Child {
    let begun = Instant::now();
    while !file.is_file() {
        let over = child.try_wait().unwrap().is_some();
        if over || begun.elapsed() > Duration::from_secs(300) {
            let _ = child.kill();
            let ended = child.wait_with_output().unwrap();
            panic!("no {}: {}", file.display(), String::from_utf8_lossy(&ended.stderr));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child
}
