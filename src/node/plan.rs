//! From parameters to a [`Setup`]: which topics, and what learns.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use ros2_client::Context;

use super::{
    core::{Live, Setup},
    ingest::{CameraOptions, CameraTopics, Tap},
    keep::Keep,
    names::{Identity, Remaps},
    params::Parameters,
    record::When,
    settings::{self, NodeSettings, RecordWhen, Transport, seconds},
};
use crate::adapt::{
    Learner,
    budget::{BudgetConfig, Load},
    checkpoint::{Checkpoints, FileSystem},
    health::Reference,
    settings::RunConfig,
};

/// Loads the policy that a parameter names, with what it hands on and what its camera looked
/// like: what the command line knows how to do.
pub type LoadPolicy =
    Box<dyn Fn(&str, &RunConfig) -> Result<(Learner, Option<Reference>), String> + Send + Sync>;

/// Everything that does not change between two configures.
pub struct Planning {
    /// Name and namespace.
    pub identity: Identity,
    /// Remap rules.
    pub remaps: Remaps,
    /// Where relative folders begin.
    pub ros_home: PathBuf,
    /// Loads policies.
    pub load: LoadPolicy,
    /// What the machine is doing.
    pub machine: fn() -> Load,
    /// Sees every pair.
    pub tap: Option<Tap>,
}

impl Planning {
    /// What the parameters ask for now. `context` tells which topics are there.
    ///
    /// # Errors
    /// In words, which parameter cannot be followed and why.
    pub fn setup(&self, parameters: &Parameters, context: &Context) -> Result<Setup, String> {
        let NodeSettings {
            cameras,
            transport,
            tolerance_ns,
            registered,
            intrinsics,
            queue_depth,
            policy,
            resume,
            out,
            run,
            record,
        } = NodeSettings::new(parameters, &self.remaps, &self.identity, &self.ros_home)
            .map_err(|e| e.to_string())?;
        let (learner, reference) = match resume.then(|| resumed(&out)).flatten() {
            Some(learner) => (learner, None),
            None => (self.load)(&policy, &run)?,
        };
        let compressed = |camera: &settings::CameraTopics| match transport {
            Transport::Raw => false,
            Transport::Compressed => true,
            Transport::Auto => published(context, &camera.color_compressed()),
        };
        let topics = |camera: settings::CameraTopics| {
            let compressed = compressed(&camera);
            let depth_compressed = camera.depth_compressed();
            CameraTopics {
                color: if compressed { camera.color_compressed() } else { camera.color },
                depth: if compressed { depth_compressed } else { camera.depth },
                info: camera.info,
                depth_info: None,
                name: camera.camera,
            }
        };
        Ok(Setup {
            cameras: cameras.into_iter().map(topics).collect(),
            options: CameraOptions { tolerance_ns, waiting: queue_depth, ..Default::default() },
            registered,
            intrinsics,
            run: out,
            learner,
            reference,
            machine: self.machine,
            keep: Some(Arc::new(Mutex::new(Keep::new(record, when(parameters))))),
            tap: self.tap.clone(),
        })
    }
}

/// What the parameters say about what may change while the node runs.
pub fn live(parameters: &Parameters) -> Live {
    let mut budget = BudgetConfig::default();
    settings::budget(parameters, &mut budget);
    let every = |name: &str| Some(seconds(parameters, name)).filter(|every| !every.is_zero());
    Live {
        budget,
        max_rate_hz: parameters.float("max_rate_hz"),
        status_every: seconds(parameters, "status_period_s"),
        diagnostics_every: seconds(parameters, "diagnostics_period_s"),
        farness_every: every("farness_period_s"),
        preview_every: every("preview_period_s"),
        record: when(parameters),
        stale_after: seconds(parameters, "stale_after_s"),
        stall_after: seconds(parameters, "stall_timeout_s"),
    }
}

fn when(parameters: &Parameters) -> When {
    match settings::record_when(parameters) {
        RecordWhen::Always => When::Always,
        RecordWhen::Never => When::Never,
        RecordWhen::Drift => When::Drift(seconds(parameters, "record_hold_s")),
    }
}

/// The learner of the last whole checkpoint, if there is one.
fn resumed(out: &Path) -> Option<Learner> {
    let folder = out.join("checkpoints");
    if !folder.is_dir() {
        return None;
    }
    let checkpoints = Checkpoints::new(folder, FileSystem, Default::default());
    let loaded = match checkpoints.load() {
        Ok(loaded) => loaded,
        Err(error) => {
            tracing::warn!("no checkpoint is gone on from: {error}");
            return None;
        }
    };
    match Learner::from_files::<String>(&loaded.files, burn::tensor::Device::flex()) {
        Ok((learner, _)) => {
            tracing::info!("going on from checkpoint {} with its settings", loaded.number);
            Some(learner)
        }
        Err(error) => {
            tracing::warn!("checkpoint {} is not gone on from: {error}", loaded.number);
            None
        }
    }
}

/// Whether somebody publishes this topic; a little time is given to discovery.
fn published(context: &Context, topic: &str) -> bool {
    let dds_name = format!("rt{topic}");
    for _ in 0..20 {
        let writers = context.domain_participant().discovered_writers();
        if writers.iter().any(|writer| writer.publication_topic_data.topic_name == dds_name) {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    false
}
