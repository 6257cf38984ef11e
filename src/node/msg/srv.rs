//! Services: our own, those of a managed node, and `std_srvs`.
//!
//! A request without fields has one byte on the wire: the C that ROS generates cannot have
//! empty structures.

use serde::{Deserialize, Serialize};

use super::{
    Finding, Pixel, RosService, State, Time, Transition, TransitionDescription, ros_types,
};

/// Says which request and which response make a service.
macro_rules! services {
    ($($(#[$doc:meta])* $type:literal $name:ident = $request:ident, $response:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl RosService for $name {
            const TYPE: &'static str = $type;
            type Request = $request;
            type Response = $response;
        }
    )*};
}

services! {
    /// Orders pixels of the latest colour picture.
    "spatial_ssrl_msgs/srv/OrderPoints" OrderPoints = OrderPointsRequest, OrderPointsResponse;
    /// Where a target lies for an observer in the latest colour picture.
    "spatial_ssrl_msgs/srv/RelativeDirection" RelativeDirection =
        RelativeDirectionRequest, RelativeDirectionResponse;
    /// Whether a camera is well.
    "spatial_ssrl_msgs/srv/Health" Health = HealthRequest, HealthResponse;
    /// The state of a managed node.
    "lifecycle_msgs/srv/GetState" GetState = GetStateRequest, GetStateResponse;
    /// Asks a managed node for a transition.
    "lifecycle_msgs/srv/ChangeState" ChangeState = ChangeStateRequest, ChangeStateResponse;
    /// The states that a managed node can be in.
    "lifecycle_msgs/srv/GetAvailableStates" GetAvailableStates =
        GetAvailableStatesRequest, GetAvailableStatesResponse;
    /// The transitions that a managed node can make: on `~/get_available_transitions` from where
    /// it is, on `~/get_transition_graph` all.
    "lifecycle_msgs/srv/GetAvailableTransitions" GetAvailableTransitions =
        GetAvailableTransitionsRequest, GetAvailableTransitionsResponse;
    /// Something is to be done.
    "std_srvs/srv/Trigger" Trigger = TriggerRequest, TriggerResponse;
    /// Something is to be on or off.
    "std_srvs/srv/SetBool" SetBool = SetBoolRequest, SetBoolResponse;
}

/// What [`OrderPoints`] is asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OrderPointsRequest {
    /// Which camera, by its namespace; empty: the first.
    pub camera: String,
    /// 2 to 256 pixels.
    pub pixels: Vec<Pixel>,
}

/// What [`OrderPoints`] answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OrderPointsResponse {
    /// Whether there is an answer.
    pub success: bool,
    /// Why there is none.
    pub message: String,
    /// When the picture was taken.
    pub stamp: Time,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
    /// Places in the request, nearest first.
    pub nearest_first: Vec<u32>,
    /// Of each pixel: larger is farther, in units of log depth.
    pub farness: Vec<f32>,
    /// The probability of exactly this order.
    pub probability: f64,
    /// The version of the policy.
    pub version: u64,
}

/// What [`RelativeDirection`] is asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RelativeDirectionRequest {
    /// Which camera, by its namespace; empty: the first.
    pub camera: String,
    /// Where the observer stands.
    pub observer: Pixel,
    /// What the observer is asked about.
    pub target: Pixel,
    /// Where the observer looks: one of the constants.
    pub facing: u8,
}

/// What [`RelativeDirection`] answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RelativeDirectionResponse {
    /// Whether there is an answer.
    pub success: bool,
    /// Why there is none.
    pub message: String,
    /// When the picture was taken.
    pub stamp: Time,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
    /// The most probable direction: one of the constants.
    pub direction: u8,
    /// Of each direction, in the order of the constants.
    pub probabilities: [f32; 8],
    /// The logarithm of the target's depth over the observer's.
    pub log_depth_ratio: f32,
    /// Its standard deviation.
    pub log_depth_ratio_sigma: f32,
    /// Whether the camera's intrinsics were known.
    pub metric: bool,
    /// The version of the policy.
    pub version: u64,
}

/// What [`Health`] is asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HealthRequest {
    /// Which camera, by its namespace; empty: the first.
    pub camera: String,
}

/// What [`Health`] answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HealthResponse {
    /// Whether there is an answer.
    pub success: bool,
    /// Why there is none.
    pub message: String,
    /// Whether no fault is likely.
    pub healthy: bool,
    /// Frames that were looked at.
    pub frames: u32,
    /// Those with depth.
    pub frames_with_depth: u32,
    /// One for each fault.
    pub findings: Vec<Finding>,
}

/// What [`GetState`] is asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GetStateRequest {
    /// Of no meaning.
    pub structure_needs_at_least_one_member: u8,
}

/// What [`GetState`] answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GetStateResponse {
    /// Where the node is.
    pub current_state: State,
}

/// What [`ChangeState`] is asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChangeStateRequest {
    /// By its id; by its label when the label is not empty.
    pub transition: Transition,
}

/// What [`ChangeState`] answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChangeStateResponse {
    /// Whether it was made.
    pub success: bool,
}

/// What [`GetAvailableStates`] is asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GetAvailableStatesRequest {
    /// Of no meaning.
    pub structure_needs_at_least_one_member: u8,
}

/// What [`GetAvailableStates`] answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GetAvailableStatesResponse {
    /// All of them.
    pub available_states: Vec<State>,
}

/// What [`GetAvailableTransitions`] is asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GetAvailableTransitionsRequest {
    /// Of no meaning.
    pub structure_needs_at_least_one_member: u8,
}

/// What [`GetAvailableTransitions`] answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GetAvailableTransitionsResponse {
    /// All of them.
    pub available_transitions: Vec<TransitionDescription>,
}

/// What [`Trigger`] is asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TriggerRequest {
    /// Of no meaning.
    pub structure_needs_at_least_one_member: u8,
}

/// What [`Trigger`] answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TriggerResponse {
    /// Whether it was done.
    pub success: bool,
    /// What was done, or why it was not.
    pub message: String,
}

/// What [`SetBool`] is asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SetBoolRequest {
    /// On or off.
    pub data: bool,
}

/// What [`SetBool`] answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SetBoolResponse {
    /// Whether it was done.
    pub success: bool,
    /// What was done, or why it was not.
    pub message: String,
}

ros_types! {
    "spatial_ssrl_msgs/srv/OrderPoints_Request" OrderPointsRequest {}
    "spatial_ssrl_msgs/srv/OrderPoints_Response" OrderPointsResponse {}
    "spatial_ssrl_msgs/srv/RelativeDirection_Request" RelativeDirectionRequest {
        FACING_LEFT = 0, FACING_RIGHT = 1, FACING_TOWARD_CAMERA = 2, FACING_AWAY_FROM_CAMERA = 3
    }
    "spatial_ssrl_msgs/srv/RelativeDirection_Response" RelativeDirectionResponse {
        FRONT = 0, RIGHT_FRONT = 1, RIGHT = 2, RIGHT_BACK = 3, BACK = 4, LEFT_BACK = 5, LEFT = 6,
        LEFT_FRONT = 7
    }
    "spatial_ssrl_msgs/srv/Health_Request" HealthRequest {}
    "spatial_ssrl_msgs/srv/Health_Response" HealthResponse {}
    "lifecycle_msgs/srv/GetState_Request" GetStateRequest {}
    "lifecycle_msgs/srv/GetState_Response" GetStateResponse {}
    "lifecycle_msgs/srv/ChangeState_Request" ChangeStateRequest {}
    "lifecycle_msgs/srv/ChangeState_Response" ChangeStateResponse {}
    "lifecycle_msgs/srv/GetAvailableStates_Request" GetAvailableStatesRequest {}
    "lifecycle_msgs/srv/GetAvailableStates_Response" GetAvailableStatesResponse {}
    "lifecycle_msgs/srv/GetAvailableTransitions_Request" GetAvailableTransitionsRequest {}
    "lifecycle_msgs/srv/GetAvailableTransitions_Response" GetAvailableTransitionsResponse {}
    "std_srvs/srv/Trigger_Request" TriggerRequest {}
    "std_srvs/srv/Trigger_Response" TriggerResponse {}
    "std_srvs/srv/SetBool_Request" SetBoolRequest {}
    "std_srvs/srv/SetBool_Response" SetBoolResponse {}
}
