//! The Python that holds real ROS 2 packages and readers of bags.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The interpreter, if it has all of `modules`; else `None` and a line that says so. Where `CI`
/// is set the peers must be there.
pub fn python(modules: &str) -> Option<PathBuf> {
    let python = std::env::var_os("SPATIAL_SSRL_PYTHON").map_or("python3".into(), PathBuf::from);
    let ready = Command::new(&python).args(["-c", &format!("import {modules}")]).output();
    if ready.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert!(std::env::var_os("CI").is_none(), "{} must have {modules}", python.display());
    eprintln!("skipped: {} with {modules} is not there (see .ci/run)", python.display());
    None
}

/// Where the packages of ROS lie, such as `sensor_msgs/msg/Image.msg`.
pub fn share(python: &Path) -> PathBuf {
    let prefix = Command::new(python).args(["-c", "import sys; print(sys.prefix)"]).output();
    let prefix = String::from_utf8(prefix.expect("python runs").stdout).expect("a path");
    Path::new(prefix.trim()).join("share")
}

/// Runs a script of `tests/peers` with this input; its output, or what it says went wrong.
pub fn run(python: &Path, script: &str, arguments: &[&str], input: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(script);
    let mut child = Command::new(python)
        .arg(&script)
        .args(arguments)
        .env("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("python ends");
    let _ = writer.join();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {told}", script.display());
    String::from_utf8(output.stdout).expect("text")
}
