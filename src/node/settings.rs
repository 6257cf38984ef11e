//! From parameters to what the node does: topics, folders, and the [`RunConfig`] of the learner.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    names::{Identity, NameKind, Remaps},
    params::{ParameterError, Parameters},
};
use crate::{
    adapt::{
        budget::{BudgetConfig, Governor},
        settings::{RunConfig, task_set},
    },
    config::read_toml,
    task::Preset,
};

/// How pictures come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// `sensor_msgs/Image`.
    Raw,
    /// `sensor_msgs/CompressedImage`.
    Compressed,
    /// Compressed where somebody publishes that, else raw.
    Auto,
}

/// The topics of one camera: full names, remapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraTopics {
    /// The camera's namespace as given; empty: the node's own.
    pub camera: String,
    /// Colour, raw.
    pub color: String,
    /// Depth, raw.
    pub depth: Option<String>,
    /// Camera info of colour.
    pub info: Option<String>,
}

impl CameraTopics {
    /// Colour as JPEG or PNG, by the rule of `image_transport`.
    pub fn color_compressed(&self) -> String {
        format!("{}/compressed", self.color)
    }

    /// Depth as `compressedDepth`.
    pub fn depth_compressed(&self) -> Option<String> {
        self.depth.as_ref().map(|depth| format!("{depth}/compressedDepth"))
    }
}

/// When frames that taught something are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordWhen {
    /// While learning has an alarm or the scene is unlike what was learnt.
    Drift,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Where and how much is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSettings {
    /// When.
    pub when: RecordWhen,
    /// The folder of the recording; nothing is written outside it.
    pub directory: PathBuf,
    /// The most that all of its files take, bytes.
    pub max_bytes: u64,
    /// A file is closed at this size, bytes.
    pub file_bytes: u64,
    /// Free space that is left on the disk, bytes.
    pub disk_floor_bytes: u64,
    /// How long drift is recorded after its last sign.
    pub hold: Duration,
}

/// What the node does from one configure to the next.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeSettings {
    /// Cameras, at least one.
    pub cameras: Vec<CameraTopics>,
    /// How their pictures come.
    pub transport: Transport,
    /// The most that header stamps of a pair differ, nanoseconds.
    pub tolerance_ns: i64,
    /// Whether depth is aligned with colour; none: decided from topics and intrinsics.
    pub registered: Option<bool>,
    /// `fx, fy, cx, cy` in pixels, where there is no camera info.
    pub intrinsics: Option<[f64; 4]>,
    /// Pictures of a stream that wait to be paired.
    pub queue_depth: usize,
    /// `builtin`, `none` or a folder.
    pub policy: String,
    /// Go on from the last checkpoint in `out`.
    pub resume: bool,
    /// Where policy and checkpoints are kept.
    pub out: PathBuf,
    /// The learner's settings.
    pub run: RunConfig,
    /// The recording.
    pub record: RecordSettings,
}

fn unfit(name: &str, why: impl std::fmt::Display) -> ParameterError {
    ParameterError::Unfit { name: name.to_owned(), why: why.to_string() }
}

/// Bytes of a number of MiB that is declared as not negative.
fn mib(parameters: &Parameters, name: &str) -> u64 {
    u64::try_from(parameters.int(name)).unwrap_or(0) << 20
}

fn count(parameters: &Parameters, name: &str) -> u64 {
    u64::try_from(parameters.int(name)).unwrap_or(0)
}

impl NodeSettings {
    /// What the parameters ask for. `ros_home` is where relative folders begin: see
    /// [`ros_home`].
    ///
    /// # Errors
    /// The parameter that cannot be followed, and why.
    pub fn new(
        parameters: &Parameters,
        remaps: &Remaps,
        node: &Identity,
        ros_home: &Path,
    ) -> Result<Self, ParameterError> {
        let p = parameters;
        let out = match p.text("out_directory") {
            "" => ros_home.join("spatial_ssrl").join(node.full().trim_start_matches('/')),
            given => ros_home.join(given),
        };
        let directory = match p.text("record_directory") {
            "" => out.join("recording"),
            given => ros_home.join(given),
        };
        Ok(NodeSettings {
            cameras: cameras(p, remaps, node)?,
            transport: match p.text("transport") {
                "compressed" => Transport::Compressed,
                "auto" => Transport::Auto,
                _ => Transport::Raw,
            },
            tolerance_ns: (p.float("tolerance_ms") * 1e6).round() as i64,
            registered: match p.text("registered") {
                "yes" => Some(true),
                "no" => Some(false),
                _ => None,
            },
            intrinsics: p.four("intrinsics"),
            queue_depth: count(p, "queue_depth") as usize,
            policy: p.text("policy").to_owned(),
            resume: p.bool("resume"),
            run: run(p, ros_home)?,
            record: RecordSettings {
                when: record_when(p),
                directory,
                max_bytes: mib(p, "record_max_mb"),
                file_bytes: mib(p, "record_file_mb"),
                disk_floor_bytes: mib(p, "disk_floor_mb"),
                hold: seconds(p, "record_hold_s"),
            },
            out,
        })
    }
}

/// A parameter in seconds; it may change at any time.
pub fn seconds(parameters: &Parameters, name: &str) -> Duration {
    Duration::try_from_secs_f64(parameters.float(name)).unwrap_or_default()
}

/// The parameter `record_when`; it may change at any time.
pub fn record_when(parameters: &Parameters) -> RecordWhen {
    match parameters.text("record_when") {
        "always" => RecordWhen::Always,
        "drift" => RecordWhen::Drift,
        _ => RecordWhen::Never,
    }
}

/// `$ROS_HOME`, or `.ros` in `$HOME`, or the working directory where neither is set.
pub fn ros_home(get: impl Fn(&str) -> Option<String>) -> PathBuf {
    let set = |name| get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("ROS_HOME").or_else(|| Some(set("HOME")?.join(".ros"))).unwrap_or_else(|| ".".into())
}

fn cameras(
    p: &Parameters,
    remaps: &Remaps,
    node: &Identity,
) -> Result<Vec<CameraTopics>, ParameterError> {
    let mut seen = BTreeSet::new();
    let mut cameras = Vec::new();
    for camera in p.texts("cameras") {
        let mut resolve = |parameter: &str| -> Result<String, ParameterError> {
            let topic = p.text(parameter);
            let alone = camera.is_empty() || topic.starts_with(['/', '~']);
            let name = match alone {
                true => topic.to_owned(),
                false => format!("{}/{topic}", camera.trim_end_matches('/')),
            };
            let full = remaps.resolve(node, &name, NameKind::Topic);
            let full = full.map_err(|error| unfit(parameter, error))?;
            match seen.insert(full.clone()) {
                true => Ok(full),
                false => Err(unfit(parameter, format!("{full} is used for two things"))),
            }
        };
        let color = resolve("color_topic")?;
        let mut optional = |parameter: &str| match p.text(parameter) {
            "none" | "" => Ok(None),
            _ => resolve(parameter).map(Some),
        };
        cameras.push(CameraTopics {
            camera: camera.clone(),
            color,
            depth: optional("depth_topic")?,
            info: optional("camera_info_topic")?,
        });
    }
    Ok(cameras)
}

/// The learner's settings: those of `config_file`, or else the defaults of the parameters, and
/// over both what was given.
fn run(p: &Parameters, ros_home: &Path) -> Result<RunConfig, ParameterError> {
    let file = p.text("config_file");
    let mut run = match file {
        "" => RunConfig::default(),
        file => {
            read_toml::<RunConfig>(&ros_home.join(file)).map_err(|e| unfit("config_file", e))?
        }
    };
    let applies = |name: &str| file.is_empty() || p.is_given(name);
    if applies("seed") {
        run.seed = count(p, "seed");
    }
    if applies("task_kinds") {
        run.tasks.kinds = p.texts("task_kinds").to_vec();
    }
    if applies("task_preset") {
        run.tasks.preset = match p.text("task_preset") {
            "published" => Preset::Published,
            _ => Preset::Balanced,
        };
    }
    // Frames keep coming: the learning rate does not fall to an end.
    run.learn.steps = 0;
    if applies("views_per_frame") {
        run.learn.views = count(p, "views_per_frame");
    }
    if applies("updates_per_frame") {
        run.learn.steps_per_frame = count(p, "updates_per_frame");
    }
    if applies("check_every") {
        run.promote.check_every = count(p, "check_every");
    }
    if p.is_given("tolerance_ms") {
        run.gate.max_skew_ms = p.float("tolerance_ms");
    }
    if applies("checkpoint_every_s") {
        run.checkpoint.every_s = p.float("checkpoint_every_s");
    }
    if applies("checkpoints_kept") {
        run.checkpoint.keep = count(p, "checkpoints_kept") as usize;
    }
    if applies("disk_floor_mb") {
        run.checkpoint.disk_floor_bytes = mib(p, "disk_floor_mb");
    }
    budget(p, &mut run.budget);
    // What the learner would refuse is refused here, with its reason.
    Governor::new(run.budget.clone()).map_err(|e| unfit("config_file", e))?;
    run.gate.check().map_err(|e| unfit("config_file", e))?;
    run.grpo.validate().map_err(|e| unfit("config_file", e))?;
    task_set(&run).map_err(|e| unfit("task_kinds", e))?;
    Ok(run)
}

/// The part of the budget that may change at any time goes through here again.
pub fn budget(p: &Parameters, budget: &mut BudgetConfig) {
    let applies = |name: &str| p.text("config_file").is_empty() || p.is_given(name);
    if applies("duty_cycle") {
        budget.duty_cycle = p.float("duty_cycle");
    }
    if applies("threads") {
        budget.threads = count(p, "threads") as usize;
    }
    if applies("niceness") {
        budget.niceness = count(p, "niceness") as u32;
    }
    if applies("max_memory_mb") {
        budget.max_memory_bytes = mib(p, "max_memory_mb");
    }
    if applies("max_temperature_c") || applies("resume_below_c") {
        budget.max_temperature_c = p.float("max_temperature_c");
        budget.resume_below_c = match p.float("resume_below_c") {
            cool if cool > 0.0 => cool,
            _ => (budget.max_temperature_c - 5.0).max(budget.max_temperature_c / 2.0),
        };
    }
    if applies("min_battery") {
        budget.min_battery = p.float("min_battery");
    }
}

#[cfg(test)]
mod tests {
    use ros2_client::ParameterValue as V;

    use super::*;
    use crate::node::names::Remap;

    fn text(text: &str) -> V {
        V::String(text.to_owned())
    }

    fn texts(all: &[&str]) -> V {
        V::StringArray(all.iter().map(|&text| text.to_owned()).collect())
    }

    fn settings(given: &[(&str, V)], remaps: &[&str]) -> Result<NodeSettings, ParameterError> {
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let (parameters, _) = Parameters::new(given.collect()).unwrap();
        let remaps = Remaps(remaps.iter().map(|rule| Remap::parse(rule).unwrap()).collect());
        let node = Identity::new("eye", "/robot").unwrap();
        NodeSettings::new(&parameters, &remaps, &node, "/home/me/.ros".as_ref())
    }

    #[test]
    fn ros_settings_without_a_word_are_safe() {
        let settings = settings(&[], &[]).unwrap();
        assert_eq!(settings.out, Path::new("/home/me/.ros/spatial_ssrl/robot/eye"));
        assert_eq!(settings.record.directory, settings.out.join("recording"));
        assert_eq!(settings.record.when, RecordWhen::Never);
        assert_eq!(settings.cameras.len(), 1);
        assert_eq!(settings.cameras[0].color, "/robot/color/image_raw");
        assert_eq!(settings.tolerance_ns, 20_000_000);
        let run = settings.run;
        assert!(run.budget.duty_cycle < 1.0 && run.budget.niceness > 0);
        assert_eq!(run.learn.steps, 0, "learning has no end");
        assert_eq!(run.grpo, RunConfig::default().grpo);
    }

    #[test]
    fn ros_settings_find_topics_by_camera_and_remap() {
        let cameras = ("cameras", texts(&["front", "/rear/"]));
        let remaps = ["front/color/image_raw:=/cam0/rgb"];
        let found = settings(&[cameras.clone(), ("depth_topic", text("depth"))], &remaps).unwrap();
        let [front, rear] = &found.cameras[..] else { panic!("two cameras") };
        assert_eq!(front.color, "/cam0/rgb");
        assert_eq!(front.color_compressed(), "/cam0/rgb/compressed");
        assert_eq!(front.depth_compressed().unwrap(), "/robot/front/depth/compressedDepth");
        assert_eq!(rear.info.as_deref(), Some("/rear/color/camera_info"));
        let alone = settings(&[("depth_topic", text("none"))], &[]).unwrap();
        assert_eq!(alone.cameras[0].depth, None);
        let twice = settings(&[cameras, ("color_topic", text("/rgb"))], &[]).unwrap_err();
        assert_eq!(twice.to_string(), "color_topic: /rgb is used for two things");
        let wrong = settings(&[("color_topic", text("a//b"))], &[]).unwrap_err();
        assert_eq!(wrong.to_string(), "color_topic: topic \"a//b\": two / in a row");
    }

    #[test]
    fn ros_settings_of_a_file_stand_where_no_parameter_was_given() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("run.toml");
        std::fs::write(&file, "seed = 7\n[budget]\nduty_cycle = 0.125\nthreads = 3").unwrap();
        let file = text(file.to_str().unwrap());
        let given = [("config_file", file.clone()), ("threads", V::Integer(2))];
        let run = settings(&given, &[]).unwrap().run;
        assert_eq!((run.seed, run.budget.duty_cycle, run.budget.threads), (7, 0.125, 2));
        let missing = settings(&[("config_file", text("/no.toml"))], &[]).unwrap_err();
        assert!(missing.to_string().starts_with("config_file: cannot read /no.toml"), "{missing}");
        std::fs::write(home.path().join("run.toml"), "[budget]\nduty_cycle = 7.0").unwrap();
        let wrong = settings(&[("config_file", file)], &[]).unwrap_err().to_string();
        assert!(wrong.contains("duty_cycle = 7"), "{wrong}");
    }

    #[test]
    fn ros_settings_of_heat_have_a_way_back() {
        let run = |given: &[(&str, V)]| settings(given, &[]).unwrap().run.budget;
        assert_eq!(run(&[("max_temperature_c", V::Double(80.0))]).resume_below_c, 75.0);
        let both = [("max_temperature_c", V::Double(80.0)), ("resume_below_c", V::Double(60.0))];
        assert_eq!(run(&both).resume_below_c, 60.0);
    }

    #[test]
    fn ros_home_is_where_ros_has_it() {
        let set = |given: &'static [(&str, &str)]| {
            ros_home(move |name| {
                given.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
            })
        };
        assert_eq!(set(&[("HOME", "/h")]), Path::new("/h/.ros"));
        assert_eq!(set(&[("HOME", "/h"), ("ROS_HOME", "/r")]), Path::new("/r"));
        assert_eq!(set(&[]), Path::new("."));
    }
}
