//! The colcon packages: what they ship is declared, valid and what their README says.
#![cfg(feature = "ros2")]

#[allow(dead_code)]
#[path = "common/ros_peer.rs"]
mod ros_peer;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use spatial_ssrl::node::{
    args::RosArgs, declared::DECLARED, params::Parameters, settings::NodeSettings,
};

fn ros() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ros")
}

fn read(relative: &str) -> String {
    std::fs::read_to_string(ros().join(relative)).expect(relative)
}

fn parameter_files() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(ros().join("spatial_ssrl/config")).unwrap();
    let files: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 4, "{files:?}");
    files
}

#[test]
fn ros_parameter_files_hold_only_declared_parameters_with_valid_values() {
    for file in parameter_files() {
        let line = ["--ros-args", "--params-file", file.to_str().unwrap()].map(str::to_owned);
        let (args, _) = RosArgs::parse(line).unwrap();
        // Whatever the node is called and wherever it stands.
        for namespace in ["/", "/robot/left"] {
            let node = args.identity("eye", namespace).unwrap();
            let given = args.parameters(&node);
            assert!(given.len() >= 5, "{}: {given:?}", file.display());
            let (parameters, ignored) = Parameters::new(given).unwrap();
            assert!(ignored.is_empty(), "{}: {ignored:?}", file.display());
            assert!(!parameters.bool("autostart"), "learning is off until activated");
            let home = "/home/robot/.ros".as_ref();
            let settings = NodeSettings::new(&parameters, &args.remaps, &node, home).unwrap();
            for camera in settings.cameras {
                // Where the drivers publish, whatever the node's namespace.
                let topics = [Some(camera.color), camera.depth, camera.info];
                for topic in topics {
                    let topic = topic.expect("colour, depth and info");
                    assert!(!topic.starts_with("/robot"), "{topic}");
                }
            }
        }
    }
}

/// The rows of the first table under a heading: their first two cells.
fn table(readme: &str, heading: &str) -> BTreeSet<(String, String)> {
    let section = readme.split(heading).nth(1).expect(heading);
    let rows = section.lines().skip_while(|line| !line.starts_with("|-"));
    rows.skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let mut cells = line.split('|').skip(1).map(|cell| cell.trim().trim_matches('`'));
            (cells.next().unwrap().to_owned(), cells.next().unwrap().to_owned())
        })
        .collect()
}

#[test]
fn ros_launch_file_compiles_and_takes_what_the_readme_says() {
    let launch = ros().join("spatial_ssrl/launch/spatial_ssrl.launch.py");
    let script = "import ast, json, sys\n\
        tree = ast.parse(open(sys.argv[1]).read())\n\
        compile(tree, sys.argv[1], 'exec')\n\
        found = [n.value for n in tree.body if isinstance(n, ast.Assign)\n\
        \x20        and n.targets[0].id == 'ARGUMENTS'][0]\n\
        print(json.dumps([a[:2] for a in ast.literal_eval(found)]))";
    let output = Command::new("python3").args(["-c", script]).arg(&launch).output();
    let output = output.expect("python3 is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let arguments: BTreeSet<(String, String)> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(arguments, table(&read("spatial_ssrl/README.md"), "## Launch arguments"));
    // What it sets over a file is declared.
    let text = std::fs::read_to_string(&launch).unwrap();
    for name in ["cameras", "out_directory", "autostart", "use_sim_time"] {
        assert!(text.contains(&format!("'{name}'")), "{name}");
        assert!(DECLARED.iter().any(|declared| declared.name == name), "{name}");
    }
}

#[test]
fn ros_readme_names_parameters_that_there_are() {
    let readme = read("spatial_ssrl/README.md");
    let declared = |name: &str| DECLARED.iter().any(|declared| declared.name == name);
    let quoted: Vec<&str> = readme.split('`').skip(1).step_by(2).collect();
    let mut named = 0;
    for quoted in quoted {
        // `name: value`
        let Some((name, value)) = quoted.split_once(": ") else { continue };
        if !name.contains(' ') && !value.is_empty() {
            assert!(declared(name), "{quoted}");
            named += 1;
        }
    }
    assert!(named >= 5, "{named}");
}

#[test]
fn ros_packages_and_layout_are_what_colcon_and_foxglove_read() {
    let python = "import json, sys, xml.etree.ElementTree as tree\n\
        told = []\n\
        for path in sys.argv[1:3]:\n\
        \x20   package = tree.parse(path).getroot()\n\
        \x20   told.append([package.get('format'), package.findtext('name'),\n\
        \x20               package.findtext('version'), package.findtext('export/build_type')])\n\
        layout = json.load(open(sys.argv[3]))\n\
        def leaves(node):\n\
        \x20   if isinstance(node, str): return [node]\n\
        \x20   return leaves(node['first']) + leaves(node['second'])\n\
        told.append([sorted(leaves(layout['layout'])) == sorted(layout['configById'])])\n\
        print(json.dumps(told))";
    let output = Command::new("python3")
        .args(["-c", python])
        .args([
            ros().join("spatial_ssrl/package.xml"),
            ros().join("spatial_ssrl_msgs/package.xml"),
            ros().join("spatial_ssrl/foxglove/spatial_ssrl.json"),
        ])
        .output()
        .expect("python3 is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let version = env!("CARGO_PKG_VERSION");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = serde_json::json!([
        ["3", "spatial_ssrl", version, "ament_cargo"],
        ["3", "spatial_ssrl_msgs", version, "ament_cmake"],
        [true],
    ]);
    assert_eq!(told, expected);
    // The crate that colcon builds has the package's name, and installs its folders.
    let cargo: toml::Table = read("spatial_ssrl/Cargo.toml").parse().unwrap();
    assert_eq!(cargo["package"]["name"].as_str(), Some("spatial_ssrl"));
    assert_eq!(cargo["package"]["version"].as_str(), Some(version));
    for folder in cargo["package"]["metadata"]["ros"]["install_to_share"].as_array().unwrap() {
        assert!(ros().join("spatial_ssrl").join(folder.as_str().unwrap()).is_dir(), "{folder}");
    }
}
