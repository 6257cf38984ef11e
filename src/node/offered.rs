//! The services of the node beside those for parameters.

use std::sync::Arc;

use ros2_client::ServiceMapping;

use super::{
    answers,
    core::Core,
    lifecycle::{Lifecycle, Outcome},
    link::dds,
    msg::{
        ChangeState, ChangeStateResponse, GetAvailableStates, GetAvailableStatesResponse,
        GetAvailableTransitions, GetAvailableTransitionsResponse, GetState, GetStateResponse,
        Health, OrderPoints, RelativeDirection, RosService, Trigger, TriggerResponse,
    },
    names::NameError,
    run::NodeError,
    service::Service,
};

/// Offers them under the names that `resolve` gives.
///
/// # Errors
/// [`NodeError`] naming the service.
pub fn offer(
    core: &Arc<Core>,
    resolve: impl Fn(&str) -> Result<String, NameError>,
    mapping: ServiceMapping,
) -> Result<Vec<Service>, NodeError> {
    let node = core.node();
    let mut services = Vec::new();
    macro_rules! offer {
        ($name:literal, $service:ty, |$core:ident, $request:ident| $answer:expr) => {{
            let $core = core.clone();
            let name = resolve($name)?;
            let answer = move |$request: <$service as RosService>::Request| $answer;
            let service = Service::offer::<$service>(node, &name, mapping, answer);
            services.push(service.map_err(dds(&name))?);
        }};
    }
    offer!("~/get_state", GetState, |core, _request| GetStateResponse {
        current_state: core.state()
    });
    offer!("~/change_state", ChangeState, |core, request| {
        let success = match core.change(&request.transition) {
            Ok(outcome) => outcome == Outcome::Success,
            Err(refused) => {
                tracing::warn!("~/change_state: {refused}");
                false
            }
        };
        ChangeStateResponse { success }
    });
    offer!("~/get_available_states", GetAvailableStates, |_core, _request| {
        GetAvailableStatesResponse { available_states: Lifecycle::states() }
    });
    offer!("~/get_available_transitions", GetAvailableTransitions, |core, _request| {
        GetAvailableTransitionsResponse { available_transitions: core.lifecycle().transitions() }
    });
    offer!("~/get_transition_graph", GetAvailableTransitions, |_core, _request| {
        GetAvailableTransitionsResponse { available_transitions: Lifecycle::graph() }
    });
    offer!("~/order_points", OrderPoints, |core, request| {
        let listening = core.listening_or();
        answers::order_points(listening.as_deref().map_err(Clone::clone), &request)
    });
    offer!("~/relative_direction", RelativeDirection, |core, request| {
        let listening = core.listening_or();
        answers::relative_direction(listening.as_deref().map_err(Clone::clone), &request)
    });
    offer!("~/health", Health, |core, request| {
        let listening = core.listening_or();
        let listening = listening.as_deref().map_err(Clone::clone);
        answers::health(listening, &request.camera)
    });
    let told = |done: Result<String, String>| match done {
        Ok(message) => TriggerResponse { success: true, message },
        Err(message) => TriggerResponse { success: false, message },
    };
    offer!("~/pause", Trigger, |core, _request| told(
        core.listening_or()
            .and_then(|l| { l.learning.pause(true).map(|()| "learning pauses".to_owned()) })
    ));
    offer!("~/resume", Trigger, |core, _request| told(
        core.listening_or()
            .and_then(|l| { l.learning.pause(false).map(|()| "learning may go on".to_owned()) })
    ));
    offer!("~/save", Trigger, |core, _request| told(
        core.listening_or().and_then(|l| l.learning.save())
    ));
    offer!("~/rollback", Trigger, |core, _request| told(
        core.listening_or().and_then(|l| l.learning.roll_back())
    ));
    Ok(services)
}
