//! `node`: the live ROS 2 node. What a user says to it, he says as to any ROS node: by parameters
//! and remaps after `--ros-args`.

use std::{
    ffi::OsString,
    sync::{Arc, Mutex},
};

use burn::tensor::Device;
use clap::Args;

use super::{
    CliError, Context, Outcome,
    health::{REFERENCE_FILE, read_reference},
    machine, policy_arg,
};
use crate::{
    adapt::{Learner, settings::RunConfig},
    node::{
        args::{Environment, LogLevel, RosArgs},
        params::Parameters,
        params_service::locked,
        plan::{self, Planning},
        run::{Launch, Running},
        service,
        settings::ros_home,
    },
    policy::compact::CompactPolicy,
};

/// The live ROS 2 node: learns from a camera's topics, offers what it learnt
///
/// A managed node: configure opens topics and serves, activate learns. Everything is a parameter
/// or a remap; `ros2 param describe` explains each.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    spatial-ssrl node --ros-args -p autostart:=true\n  \
    spatial-ssrl node --ros-args -r color/image_raw:=/camera/camera/color/image_raw \\\n      \
    -r aligned_depth_to_color/image_raw:=/camera/camera/aligned_depth_to_color/image_raw\n  \
    spatial-ssrl node --ros-args --params-file robot.yaml -r __ns:=/front\n  \
    ros2 lifecycle set /spatial_ssrl configure && ros2 lifecycle set /spatial_ssrl activate")]
pub struct NodeArgs {}

/// Takes what stands between `--ros-args` and `--` out of a command line that asks for a node.
///
/// # Errors
/// In words, the argument that cannot be used.
pub fn split(arguments: Vec<OsString>) -> Result<(Vec<OsString>, RosArgs), String> {
    if arguments.get(1).is_none_or(|command| command != "node") {
        return Ok((arguments, RosArgs::default()));
    }
    let text = |argument: OsString| {
        argument.into_string().map_err(|argument| format!("{} is not UTF-8", argument.display()))
    };
    let arguments = arguments.into_iter().map(text).collect::<Result<Vec<String>, String>>()?;
    let (ros, rest) = RosArgs::parse(arguments).map_err(|e| e.to_string())?;
    Ok((rest.into_iter().map(OsString::from).collect(), ros))
}

/// A level of ROS as a filter of what is logged; DDS and what runs the encoder stay quiet.
pub fn level(level: LogLevel) -> String {
    let level = match level {
        LogLevel::Debug => "debug",
        LogLevel::Info | LogLevel::Unset => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error | LogLevel::Fatal => "error",
    };
    format!("{level},rustdds=error,ros2_client=warn,tract=warn")
}

/// Runs the subcommand.
///
/// # Errors
/// [`CliError`] with what went wrong.
pub fn run(_: NodeArgs, ros: &RosArgs, context: &Context) -> Result<Outcome, CliError> {
    let nothing = |error: &dyn std::fmt::Display| CliError::Nothing(error.to_string());
    let get = |name: &str| std::env::var(name).ok();
    let environment = Environment::read(get).map_err(|e| nothing(&e))?;
    let identity = ros.identity("spatial_ssrl", "/").map_err(|e| nothing(&e))?;
    let (parameters, ignored) = Parameters::new(ros.parameters(&identity)).map_err(|wrong| {
        let all: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        CliError::Nothing(all.join("; "))
    })?;
    for ignored in ignored {
        tracing::warn!("{ignored}");
    }
    if !ros.without_effect.is_empty() {
        tracing::warn!("of no effect here: {}", ros.without_effect.join(" "));
    }
    if ros.enclave.is_some() || get("ROS_SECURITY_ENABLE").as_deref() == Some("true") {
        return Err(CliError::Nothing(
            "DDS security is asked for (--enclave or ROS_SECURITY_ENABLE) and this node has none: \
             it would talk in the clear. Unset it and isolate the node: see the README"
                .to_owned(),
        ));
    }
    let (autostart, use_sim_time) = (parameters.bool("autostart"), parameters.bool("use_sim_time"));
    let live = plan::live(&parameters);
    let parameters = Arc::new(Mutex::new(parameters));
    let planning = Planning {
        identity: identity.clone(),
        remaps: ros.remaps.clone(),
        ros_home: ros_home(get),
        load: Box::new(load),
        machine: machine::load,
        tap: None,
    };
    let given = parameters.clone();
    let launch = Launch {
        identity,
        remaps: ros.remaps.clone(),
        environment,
        mapping: service::mapping(get("RMW_IMPLEMENTATION").as_deref()),
        autostart,
        use_sim_time,
        parameters,
        live,
        plan: Box::new(move |context| {
            let parameters = locked(&given).clone();
            planning.setup(&parameters, context)
        }),
    };
    let running = Running::start(launch).map_err(|e| CliError::Other(Box::new(e)))?;
    running.run(&context.stop_flag());
    Ok(Outcome::Stopped)
}

/// A learner that starts from the policy of this name.
fn load(
    name: &str,
    config: &RunConfig,
) -> Result<(Learner, Option<crate::adapt::health::Reference>), String> {
    let mut config = config.clone();
    if name == "none" {
        let policy = CompactPolicy::new(config.policy.clone(), config.seed, Device::flex())
            .map_err(|e| e.to_string())?;
        let learner = Learner::new(policy, false, config).map_err(|e| e.to_string())?;
        return Ok((learner, None));
    }
    let loaded = policy_arg::load(name, Device::flex()).map_err(|e| e.to_string())?;
    let reference = match &loaded.folder {
        Some(folder) => read_reference(&folder.join(REFERENCE_FILE)).map_err(|e| e.to_string())?,
        None => None,
    };
    let heritage = policy_arg::heritage(name, &loaded.policy).map_err(|e| e.to_string())?;
    config.policy = loaded.policy.config().clone();
    let mut learner = Learner::new(loaded.policy, true, config).map_err(|e| e.to_string())?;
    learner.inherit(heritage);
    Ok((learner, reference))
}
