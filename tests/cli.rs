//! Promises of the command line, through the real binary.

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spatial-ssrl"));
    command.args(args).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every file below a folder, by its relative path.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(folder: &Path, root: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else {
                let name = path.strip_prefix(root).unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}

const SUBCOMMANDS: [&str; 8] =
    ["inspect", "tasks", "adapt", "eval", "export", "health", "pretrain", "ask"];
/// Those that read a source.
const READERS: [&str; 5] = ["inspect", "tasks", "adapt", "eval", "health"];

#[test]
fn every_help_text_teaches_by_examples_on_stdout() {
    for args in std::iter::once(vec!["--help"])
        .chain(SUBCOMMANDS.iter().map(|subcommand| vec![*subcommand, "--help"]))
        .chain([vec!["ask", "--help"]])
    {
        let output = run(&args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(output.stderr.is_empty());
        let help = text(&output.stdout);
        assert!(help.contains("Examples:\n  spatial-ssrl "), "{args:?}: {help}");
        assert!(help.lines().all(|line| !line.trim_end().ends_with(':') || line.len() < 60));
    }
    let help = text(&run(&["--help"]).stdout);
    assert!(SUBCOMMANDS.iter().all(|subcommand| help.contains(subcommand)));
    assert!(help.contains("Exit codes: 0 fine, 1 failure, 2 wrong usage, 3 finished"));
}

#[test]
fn sources_are_described_alike_by_every_subcommand() {
    for subcommand in READERS {
        let help = text(&run(&[subcommand, "--help"]).stdout);
        for option in [
            "--color",
            "--depth ",
            "--info",
            "--depth-scale",
            "--intrinsics <FX,FY,CX,CY>",
            "--tolerance-ms",
            "--registered",
        ] {
            assert!(help.contains(option), "{subcommand} lacks {option}");
        }
    }
}

#[test]
fn wrong_usage_is_code_2_and_says_what_would_be_right() {
    for (args, reason) in [
        (vec!["--nonsense"], "--nonsense"),
        (vec!["taks"], "tasks"),
        (vec!["tasks", "room"], "--out"),
        (vec!["tasks", "room", "--out", "x", "--kinds", "flip,depht"], "reorder, flip, inpaint"),
        (vec!["tasks", "room", "--out", "x", "--per-frame", "0"], "1..=10000"),
        (vec!["tasks", "room", "--out", "x", "--format", "csv"], "jsonl, parquet"),
        (vec!["tasks", "room", "--out", "x", "--intrinsics", "1,2"], "fx,fy,cx,cy"),
        (vec!["adapt", "--held-out", "1.5"], "between 0 and 1"),
        (vec!["adapt", "--device", "abacus"], "cpu"),
        (vec!["eval", "room"], "--policy"),
        (vec!["export", "builtin"], "--onnx"),
        (vec!["ask", "a.png"], "order"),
        (vec!["ask", "a.png", "order", "1,2"], "2 values"),
        (vec!["ask", "a.png", "order", "1,2", "3;4"], "320,240"),
        (vec!["ask", "a.png", "position", "--observer", "1,2", "--target", "3,4"], "--facing"),
        (vec!["ask", "a.png", "distance", "--at", "1,2"], "--known"),
    ] {
        let output = run(&args);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(reason), "{args:?}: {stderr}");
        assert!(output.stdout.is_empty(), "diagnostics are no results");
    }
}

#[test]
fn a_source_that_is_not_there_is_code_1_and_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let output = run(&["tasks", "/no/such/bag", "--out", out.to_str().unwrap()]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("/no/such/bag") && stderr.contains("SOURCE is a"), "{stderr}");
    assert_eq!(stderr.lines().filter(|line| line.starts_with("error: ")).count(), 1);
    assert!(output.stdout.is_empty());
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn a_folder_in_use_is_never_written_to() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("mine"), "mine").unwrap();
    let output = run(&["tasks", "room:frames=1", "--out", home.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is not empty: choose another folder"));
    assert_eq!(files(home.path()).len(), 1);
}

#[test]
fn a_reader_that_leaves_early_is_no_panic() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let tasks = ["tasks", "room:frames=1", "--kinds", "flip", "--out", out.to_str().unwrap()];
    for args in [&["--help"][..], &["tasks", "--help"], &tasks] {
        let mut child =
            command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let stderr = text(&output.stderr);
        assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
        assert_eq!(output.status.code(), Some(0), "{args:?}: {stderr}");
    }
    assert!(out.join("summary.json").exists(), "the work is done all the same");
}

#[test]
fn logs_go_to_stderr_at_the_level_that_is_asked_for() {
    let args = ["tasks", "/no/such/bag", "--out", "x"];
    let quiet = run(&[&["--log-level", "off"], &args[..]].concat());
    assert_eq!(text(&quiet.stderr).lines().count(), 1, "the error alone");
    let loud = command(&args).env("RUST_LOG", "trace").output().unwrap();
    assert!(loud.stdout.is_empty());
}

/// The tasks of a small rendered recording.
fn tasks(out: &Path, more: &[&str]) -> Output {
    let args = [
        "tasks",
        "room:seed=3,frames=4",
        "--no-gate",
        "--seed",
        "5",
        "--out",
        out.to_str().unwrap(),
    ];
    let output = run(&[&args[..], more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    output
}

#[test]
fn the_same_tasks_byte_by_byte_on_any_number_of_threads() {
    for format in ["jsonl", "parquet"] {
        let home = tempfile::tempdir().unwrap();
        let made = |threads: &str| {
            let out = home.path().join(threads);
            tasks(&out, &["--threads", threads, "--format", format]);
            files(&out)
        };
        let (one, four) = (made("1"), made("4"));
        assert!(one.keys().eq(four.keys()), "the same files");
        for (name, bytes) in &one {
            assert!(four[name] == *bytes, "{} differs", name.display());
        }
    }
}

#[test]
fn another_seed_makes_other_tasks() {
    let home = tempfile::tempdir().unwrap();
    let (a, b) = (home.path().join("a"), home.path().join("b"));
    tasks(&a, &["--kinds", "flip"]);
    let args = ["tasks", "room:seed=3,frames=4", "--no-gate", "--kinds", "flip", "--seed", "6"];
    assert!(run(&[&args[..], &["--out", b.to_str().unwrap()]].concat()).status.success());
    let rows = |folder: &Path| fs::read_to_string(folder.join("data/train.jsonl")).unwrap();
    assert_ne!(rows(&a), rows(&b));
}

#[test]
fn counts_in_the_table_the_summary_and_the_data_agree() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let output = tasks(&out, &["--per-frame", "3"]);
    let summary: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("summary.json")).unwrap()).unwrap();
    assert_eq!(summary["frames"]["read"], 4);
    let table = text(&output.stdout);
    let rows: Vec<serde_json::Value> = fs::read_to_string(out.join("data/train.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for kind in ["reorder", "flip", "inpaint", "depth", "position"] {
        let made = summary["tasks"][kind].as_u64().unwrap_or(0);
        let not_made: u64 = summary["not_made"][kind]
            .as_object()
            .map_or(0, |reasons| reasons.values().filter_map(serde_json::Value::as_u64).sum());
        assert_eq!(made + not_made, 4 * 3, "every try of {kind} is accounted for");
        assert_eq!(rows.iter().filter(|row| row["kind"] == kind).count() as u64, made);
        let line = table.lines().find(|line| line.starts_with(kind)).unwrap();
        assert_eq!(line.split_whitespace().nth(1).unwrap(), made.to_string());
        assert!(made > 0, "{kind}: {table}");
        let sheet = image::open(out.join(format!("sheets/{kind}.png"))).unwrap();
        assert!(sheet.width() > 400 && sheet.height() > 300);
    }
    for row in &rows {
        let images = row["images"].as_array().unwrap();
        assert_eq!(row["problem"].as_str().unwrap().matches("<image>").count(), images.len());
        assert!(images.iter().all(|name| out.join(name.as_str().unwrap()).exists()));
    }
}

#[test]
fn a_bag_that_is_cut_off_is_code_3_with_what_is_readable_and_the_loss_counted() {
    let Some(bag) = common::shared("data/tum-fr1-rpy-10hz/tum-fr1-rpy-10hz.mcap") else { return };
    let home = tempfile::tempdir().unwrap();
    let cut = home.path().join("cut.mcap");
    let whole = fs::read(bag).unwrap();
    fs::write(&cut, &whole[..whole.len() / 12]).unwrap();
    let (cut, out) = (cut.to_str().unwrap(), home.path().join("out"));
    let output = run(&["tasks", cut, "--kinds", "flip", "--out", out.to_str().unwrap()]);
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(stdout.contains("LOST: "), "{stdout}");
    assert!(fs::read_to_string(out.join("data/train.jsonl")).unwrap().lines().count() > 0);

    let inspected = run(&["inspect", cut, "--json"]);
    assert_eq!(inspected.status.code(), Some(3));
    let report: serde_json::Value = serde_json::from_slice(&inspected.stdout).unwrap();
    assert!(!report["lost"].as_object().unwrap().is_empty());
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_what_was_made() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let args = ["tasks", "room:frames=100000", "--kinds", "flip", "--no-gate"];
    let child = command(&[&args[..], &["--out", out.to_str().unwrap()]].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The first rows are on disk when pictures appear in the folder that is being made.
    let begun = Instant::now();
    let appeared = || {
        fs::read_dir(home.path())
            .unwrap()
            .filter_map(|entry| fs::read_dir(entry.unwrap().path().join("images")).ok())
            .any(|mut images| images.next().is_some())
    };
    while !appeared() {
        assert!(begun.elapsed() < Duration::from_secs(120), "no task within two minutes");
        std::thread::sleep(Duration::from_millis(50));
    }
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("stopped early; what was made is kept"));
    let summary: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("summary.json")).unwrap()).unwrap();
    assert_eq!(summary["stopped"], true);
    let rows = fs::read_to_string(out.join("data/train.jsonl")).unwrap().lines().count();
    assert_eq!(summary["tasks"]["flip"], rows);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "no partial folder is left");
}

#[test]
fn a_policy_is_exported_whole_and_alike_each_time() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("policy.onnx");
    let args = ["export", "builtin", "--onnx", file.to_str().unwrap()];
    let output = run(&args);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for line in ["picture [pictures, 3, height, width]", "farness [points]", "opset    13"] {
        assert!(told.contains(line), "{told}");
    }
    let first = fs::read(&file).unwrap();
    fs::write(&file, "an older one").unwrap();
    let again = run(&[&args[..], &["--json"]].concat());
    let json: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert!(fs::read(&file).unwrap() == first, "the same policy, the same bytes");
    assert_eq!(json["bytes"], first.len());
    assert_eq!(json["sha256"], spatial_ssrl::digest::hex(&first));
    assert!(told.contains(json["weights_sha256"].as_str().unwrap()));
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn a_policy_that_is_not_there_or_a_file_that_cannot_be_written_is_code_1() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("policy.onnx");
    let none = run(&["export", "/no/such/run", "--onnx", file.to_str().unwrap()]);
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none.stderr).contains("/no/such/run"), "{}", text(&none.stderr));
    assert!(!file.exists());
    let nowhere = run(&["export", "builtin", "--onnx", "/no/such/folder/policy.onnx"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(text(&nowhere.stderr).contains("/no/such/folder"), "{}", text(&nowhere.stderr));
}
