//! The six parameter services of every ROS node, with the descriptions and the reasons that the
//! library's own do not give.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ros2_client::{
    CreateError, ParameterValue, ServiceMapping, ServiceTypeName,
    parameters::{ParameterDescriptor, raw},
    rcl_interfaces::{
        DescribeParametersRequest, DescribeParametersResponse, GetParameterTypesRequest,
        GetParameterTypesResponse, GetParametersRequest, GetParametersResponse,
        ListParametersRequest, ListParametersResponse, ListParametersResult,
        SetParametersAtomicallyResponse, SetParametersRequest, SetParametersResponse,
    },
};

use super::{
    core::Core, ingest::drain::locked as node, names::NameError, params::Parameters,
    run::NodeError, service::Service,
};

/// The most names or values in one request; more are not looked at.
const MOST: usize = 256;

/// Told of every change, with all parameters as they are then.
pub type OnChange = Arc<dyn Fn(&Parameters) + Send + Sync>;

/// The parameters, shared by the services and by what is planned from them.
pub type SharedParameters = Arc<Mutex<Parameters>>;

/// The parameters, whole also after a thread panicked beside them: a change is one assignment.
pub fn locked(parameters: &SharedParameters) -> MutexGuard<'_, Parameters> {
    parameters.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets some or all of these and tells of it; a result for each, or one for all.
fn set(
    core: &Core,
    parameters: &SharedParameters,
    wanted: &[raw::Parameter],
    atomically: bool,
    on_change: &OnChange,
) -> Vec<Result<(), String>> {
    let mut now = locked(parameters);
    let stage = core.stage();
    let mut next = now.clone();
    let mut results = Vec::new();
    let mut changed = Vec::new();
    if wanted.len() > MOST {
        let why = format!("{} parameters in one request, at most {MOST} are set", wanted.len());
        return vec![Err(why)];
    }
    for raw::Parameter { name, value } in wanted {
        let value = ParameterValue::from(value.clone());
        let result = next.set(name, &value, stage).map_err(|error| error.to_string());
        if let Err(why) = &result {
            tracing::warn!("parameter refused: {why}");
        } else {
            changed.push(name.clone());
        }
        results.push(result);
    }
    if atomically {
        if let Some(failed) = results.iter().find(|result| result.is_err()) {
            return vec![failed.clone()];
        }
        results = vec![Ok(())];
    }
    *now = next;
    for name in changed {
        // The library's own list is what publishes /parameter_events.
        if let Some((_, value)) = now.iter().find(|(known, _)| *known == name)
            && let Err(why) = node(core.node()).set_parameter(&name, value.clone())
        {
            tracing::debug!("/parameter_events: {why}");
        }
    }
    on_change(&now);
    results
}

fn raw_result(result: Result<(), String>) -> raw::SetParametersResult {
    raw::SetParametersResult {
        successful: result.is_ok(),
        reason: result.err().unwrap_or_default(),
    }
}

/// As `rclcpp` lists: all, or those that are or lie under one of the prefixes, `depth` dots deep.
fn list(parameters: &Parameters, request: &ListParametersRequest) -> ListParametersResult {
    let shallow =
        |name: &str| request.depth == 0 || (name.matches('.').count() as u64) < request.depth;
    let under = |name: &str, prefix: &String| {
        name == prefix
            || name
                .strip_prefix(prefix.as_str())
                .and_then(|rest| rest.strip_prefix('.'))
                .is_some_and(shallow)
    };
    let wanted = |name: &&str| match request.prefixes.is_empty() {
        true => shallow(name),
        false => request.prefixes.iter().take(MOST).any(|prefix| under(name, prefix)),
    };
    let names: Vec<String> =
        parameters.iter().map(|(name, _)| name).filter(wanted).map(str::to_owned).collect();
    ListParametersResult { names, prefixes: Vec::new() }
}

/// What the services share.
struct Answers {
    core: Arc<Core>,
    parameters: SharedParameters,
    on_change: OnChange,
}

impl Answers {
    fn get(&self, request: GetParametersRequest) -> GetParametersResponse {
        let now = locked(&self.parameters);
        let value = |name: &String| {
            let found = now.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
            raw::ParameterValue::from(found.unwrap_or(ParameterValue::NotSet))
        };
        GetParametersResponse { values: request.names.iter().take(MOST).map(value).collect() }
    }

    fn types(&self, request: GetParameterTypesRequest) -> GetParameterTypesResponse {
        let now = locked(&self.parameters);
        let kind = |name: &String| {
            let found = now.iter().find(|(known, _)| known == name);
            found.map_or(0, |(_, value)| ParameterValue::to_parameter_type_raw(value))
        };
        GetParameterTypesResponse { values: request.names.iter().take(MOST).map(kind).collect() }
    }

    fn describe(&self, request: DescribeParametersRequest) -> DescribeParametersResponse {
        let mut known = Parameters::descriptors();
        let mut describe = |name: &String| {
            let found = known.remove(name.as_str());
            found.unwrap_or_else(|| ParameterDescriptor::unknown(name)).into()
        };
        let values = request.names.iter().take(MOST).map(&mut describe).collect();
        DescribeParametersResponse { values }
    }

    fn list(&self, request: ListParametersRequest) -> ListParametersResponse {
        ListParametersResponse { result: list(&locked(&self.parameters), &request) }
    }

    fn set(&self, request: SetParametersRequest) -> SetParametersResponse {
        let results = set(&self.core, &self.parameters, &request.parameter, false, &self.on_change);
        SetParametersResponse { results: results.into_iter().map(raw_result).collect() }
    }

    fn set_all(&self, request: SetParametersRequest) -> SetParametersAtomicallyResponse {
        let results = set(&self.core, &self.parameters, &request.parameter, true, &self.on_change);
        let result = raw_result(results.into_iter().next_back().unwrap_or(Ok(())));
        SetParametersAtomicallyResponse { result }
    }
}

/// Offers the services.
///
/// # Errors
/// [`NodeError`] naming the service.
pub fn offer(
    core: &Arc<Core>,
    parameters: &SharedParameters,
    resolve: impl Fn(&str) -> Result<String, NameError>,
    mapping: ServiceMapping,
    on_change: OnChange,
) -> Result<Vec<Service>, NodeError> {
    let answers =
        Arc::new(Answers { core: core.clone(), parameters: parameters.clone(), on_change });
    let mut services = Vec::new();
    macro_rules! offer {
        ($name:literal, $type:literal, $answer:ident) => {{
            let name = resolve($name)?;
            let answers = answers.clone();
            let service = Service::offer_as(
                core.node(),
                &name,
                &ServiceTypeName::new("rcl_interfaces", $type),
                mapping,
                move |request| answers.$answer(request),
            );
            let wrong = |e: CreateError| NodeError::Dds { what: name, why: e.to_string() };
            services.push(service.map_err(wrong)?);
        }};
    }
    offer!("~/get_parameters", "GetParameters", get);
    offer!("~/get_parameter_types", "GetParameterTypes", types);
    offer!("~/describe_parameters", "DescribeParameters", describe);
    offer!("~/list_parameters", "ListParameters", list);
    offer!("~/set_parameters", "SetParameters", set);
    offer!("~/set_parameters_atomically", "SetParametersAtomically", set_all);
    Ok(services)
}
