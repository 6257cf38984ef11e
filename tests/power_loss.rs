//! A run that is killed again and again comes to the same weights as one that is not.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

const CONFIG: &str = "[learn]\nsteps = 150\nmax_views = 16\nmemory_per_kind = 300\n\
                      [split]\ntasks_per_kind = 40\n[promote]\ncheck_every = 40\n\
                      [checkpoint]\nevery_s = 0.2\ndisk_floor_bytes = 0\n";

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spatial-ssrl"));
    command.args(args).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_killed_and_resumed_run_gives_the_same_weights_as_an_uninterrupted_one() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("small.toml");
    std::fs::write(&config, CONFIG).unwrap();
    let (whole, broken) = (folder.path().join("whole"), folder.path().join("broken"));
    let start = |out: &Path| {
        ["adapt", "room:seed=3,frames=30", "--config", path(&config), "--out", path(out)]
            .map(str::to_owned)
    };
    let done = command(&start(&whole).each_ref().map(String::as_str)).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));

    let mut kills = 0;
    let mut resumed = 0;
    for attempt in 0_u64.. {
        assert!(attempt < 200, "it never comes to its end");
        let has_checkpoint = std::fs::read_dir(broken.join("checkpoints"))
            .is_ok_and(|dir| dir.flatten().any(|entry| entry.file_name() != ".partial"));
        let mut child = if has_checkpoint {
            resumed += 1;
            command(&["adapt", "--resume", path(&broken)]).spawn().unwrap()
        } else {
            let _ = std::fs::remove_dir_all(&broken);
            command(&start(&broken).each_ref().map(String::as_str)).spawn().unwrap()
        };
        // Later and later, so that it comes on even on a slow machine; never at the same point.
        std::thread::sleep(Duration::from_millis(900 + 610 * attempt));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
            continue;
        }
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        break;
    }
    assert!(kills >= 2 && resumed >= 1, "{kills} kills, {resumed} resumed");
    for file in ["policy/weights.safetensors", "policy/factory.tasks", "policy/rehearsal.tasks"] {
        let read = |run: &Path| std::fs::read(run.join(file)).unwrap();
        assert!(read(&whole) == read(&broken), "{file} differs after {kills} kills");
    }
    let steps = |run: &Path| -> Vec<u64> {
        let lines = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        let step = |line: &str| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64().unwrap()
        };
        lines.lines().map(step).collect()
    };
    assert_eq!(steps(&whole), steps(&broken), "each step is logged once");
    assert!(!broken.join("checkpoints").exists(), "a run that ended needs none");
}

#[test]
fn resuming_what_cannot_be_resumed_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let out = command(&["adapt", "--resume", path(folder.path())]).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    let told = String::from_utf8_lossy(&out.stderr);
    assert!(told.contains("no whole checkpoint"), "{told}");
}
