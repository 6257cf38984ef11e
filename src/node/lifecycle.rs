//! The state machine of a managed node, as `rcl_lifecycle` has it: request in, transition
//! events out. It knows no topic and no clock.
//!
//! A change is two steps. [`Lifecycle::begin`] leaves a primary state for a transition state,
//! or refuses; the node does its work; [`Lifecycle::end`] goes where its [`Outcome`] leads.
//! After an error the machine is in error processing and wants one more [`Lifecycle::end`]: of
//! the clean-up. [`Lifecycle::change`] does all of that.

use super::msg::{State, Transition, TransitionDescription, TransitionEvent};

/// Where a managed node can be; numbers and names of `lifecycle_msgs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Not a state of a running node.
    Unknown = State::PRIMARY_STATE_UNKNOWN,
    /// No topic is open.
    Unconfigured = State::PRIMARY_STATE_UNCONFIGURED,
    /// Topics are open, nothing is learnt.
    Inactive = State::PRIMARY_STATE_INACTIVE,
    /// It learns.
    Active = State::PRIMARY_STATE_ACTIVE,
    /// It waits for its end.
    Finalized = State::PRIMARY_STATE_FINALIZED,
    /// On the way to inactive.
    Configuring = State::TRANSITION_STATE_CONFIGURING,
    /// On the way to unconfigured.
    CleaningUp = State::TRANSITION_STATE_CLEANINGUP,
    /// On the way to finalized.
    ShuttingDown = State::TRANSITION_STATE_SHUTTINGDOWN,
    /// On the way to active.
    Activating = State::TRANSITION_STATE_ACTIVATING,
    /// On the way to inactive.
    Deactivating = State::TRANSITION_STATE_DEACTIVATING,
    /// Something failed in a way that asks for a clean-up.
    ErrorProcessing = State::TRANSITION_STATE_ERRORPROCESSING,
}

use Stage::*;

impl Stage {
    /// All of them, in the order in which `rcl_lifecycle` lists them.
    pub const ALL: [Stage; 11] = [
        Unknown,
        Unconfigured,
        Inactive,
        Active,
        Finalized,
        Configuring,
        CleaningUp,
        ShuttingDown,
        Activating,
        Deactivating,
        ErrorProcessing,
    ];

    /// The number in messages.
    pub fn id(self) -> u8 {
        self as u8
    }

    /// The name in messages.
    pub fn label(self) -> &'static str {
        match self {
            Unknown => "unknown",
            Unconfigured => "unconfigured",
            Inactive => "inactive",
            Active => "active",
            Finalized => "finalized",
            Configuring => "configuring",
            CleaningUp => "cleaningup",
            ShuttingDown => "shuttingdown",
            Activating => "activating",
            Deactivating => "deactivating",
            ErrorProcessing => "errorprocessing",
        }
    }

    /// As a message.
    pub fn message(self) -> State {
        State { id: self.id(), label: self.label().to_owned() }
    }
}

/// What became of the work of a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Success,
    /// It was not done; the node is as it was.
    Failure,
    /// It went wrong halfway: a clean-up is needed.
    Error,
}

/// One arrow of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Arrow {
    id: u8,
    label: &'static str,
    from: Stage,
    to: Stage,
}

const fn arrow(id: u8, label: &'static str, from: Stage, to: Stage) -> Arrow {
    Arrow { id, label, from, to }
}

const SUCCESS: &str = "transition_success";
const FAILURE: &str = "transition_failure";
const ERROR: &str = "transition_error";

/// All arrows, in the order in which `rcl_lifecycle` lists them.
#[rustfmt::skip]
const ARROWS: [Arrow; 25] = [
    arrow(Transition::TRANSITION_CONFIGURE, "configure", Unconfigured, Configuring),
    arrow(Transition::TRANSITION_ON_CONFIGURE_SUCCESS, SUCCESS, Configuring, Inactive),
    arrow(Transition::TRANSITION_ON_CONFIGURE_FAILURE, FAILURE, Configuring, Unconfigured),
    arrow(Transition::TRANSITION_ON_CONFIGURE_ERROR, ERROR, Configuring, ErrorProcessing),
    arrow(Transition::TRANSITION_CLEANUP, "cleanup", Inactive, CleaningUp),
    arrow(Transition::TRANSITION_ON_CLEANUP_SUCCESS, SUCCESS, CleaningUp, Unconfigured),
    arrow(Transition::TRANSITION_ON_CLEANUP_FAILURE, FAILURE, CleaningUp, Inactive),
    arrow(Transition::TRANSITION_ON_CLEANUP_ERROR, ERROR, CleaningUp, ErrorProcessing),
    arrow(Transition::TRANSITION_ACTIVATE, "activate", Inactive, Activating),
    arrow(Transition::TRANSITION_ON_ACTIVATE_SUCCESS, SUCCESS, Activating, Active),
    arrow(Transition::TRANSITION_ON_ACTIVATE_FAILURE, FAILURE, Activating, Inactive),
    arrow(Transition::TRANSITION_ON_ACTIVATE_ERROR, ERROR, Activating, ErrorProcessing),
    arrow(Transition::TRANSITION_DEACTIVATE, "deactivate", Active, Deactivating),
    arrow(Transition::TRANSITION_ON_DEACTIVATE_SUCCESS, SUCCESS, Deactivating, Inactive),
    arrow(Transition::TRANSITION_ON_DEACTIVATE_FAILURE, FAILURE, Deactivating, Active),
    arrow(Transition::TRANSITION_ON_DEACTIVATE_ERROR, ERROR, Deactivating, ErrorProcessing),
    arrow(Transition::TRANSITION_UNCONFIGURED_SHUTDOWN, "shutdown", Unconfigured, ShuttingDown),
    arrow(Transition::TRANSITION_INACTIVE_SHUTDOWN, "shutdown", Inactive, ShuttingDown),
    arrow(Transition::TRANSITION_ACTIVE_SHUTDOWN, "shutdown", Active, ShuttingDown),
    arrow(Transition::TRANSITION_ON_SHUTDOWN_SUCCESS, SUCCESS, ShuttingDown, Finalized),
    arrow(Transition::TRANSITION_ON_SHUTDOWN_FAILURE, FAILURE, ShuttingDown, Finalized),
    arrow(Transition::TRANSITION_ON_SHUTDOWN_ERROR, ERROR, ShuttingDown, ErrorProcessing),
    arrow(Transition::TRANSITION_ON_ERROR_SUCCESS, SUCCESS, ErrorProcessing, Unconfigured),
    arrow(Transition::TRANSITION_ON_ERROR_FAILURE, FAILURE, ErrorProcessing, Finalized),
    arrow(Transition::TRANSITION_ON_ERROR_ERROR, ERROR, ErrorProcessing, Finalized),
];

impl Arrow {
    fn transition(&self) -> Transition {
        Transition { id: self.id, label: self.label.to_owned() }
    }

    fn description(&self) -> TransitionDescription {
        TransitionDescription {
            transition: self.transition(),
            start_state: self.from.message(),
            goal_state: self.to.message(),
        }
    }

    fn event(&self, now_ns: u64) -> TransitionEvent {
        TransitionEvent {
            timestamp: now_ns,
            transition: self.transition(),
            start_state: self.from.message(),
            goal_state: self.to.message(),
        }
    }
}

/// Why a transition is not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such transition from here.
    #[error(
        "there is no transition {asked} from {}; from here there are {}",
        .from.label(),
        from_here(*.from)
    )]
    NotFromHere {
        /// The label or number that was asked for.
        asked: String,
        /// Where the node is.
        from: Stage,
    },
    /// Another transition is under way.
    #[error("the node is {}: ask again when that is done", .during.label())]
    UnderWay {
        /// Which.
        during: Stage,
    },
    /// No transition is under way.
    #[error("the node is {}: no transition is under way that could end", .at.label())]
    NoneUnderWay {
        /// Where the node is.
        at: Stage,
    },
}

fn from_here(stage: Stage) -> String {
    let here: Vec<String> =
        leaving(stage).map(|arrow| format!("{} ({})", arrow.label, arrow.id)).collect();
    if here.is_empty() { "none".to_owned() } else { here.join(", ") }
}

fn leaving(stage: Stage) -> impl Iterator<Item = &'static Arrow> {
    ARROWS.iter().filter(move |arrow| arrow.from == stage)
}

/// Where a managed node is.
///
/// ```
/// use spatial_ssrl::node::{lifecycle::{Lifecycle, Outcome, Stage}, msg::Transition};
/// let mut node = Lifecycle::default();
/// let activate = Transition { id: Transition::TRANSITION_ACTIVATE, label: String::new() };
/// assert_eq!(
///     node.begin(&activate, 0).unwrap_err().to_string(),
///     "there is no transition 3 from unconfigured; from here there are configure (1), shutdown (5)"
/// );
/// let configure = Transition { id: 0, label: "configure".to_owned() };
/// let event = node.begin(&configure, 7)?;
/// assert_eq!(event.goal_state.label, "configuring");
/// node.end(Outcome::Success, 8)?;
/// assert_eq!(node.stage(), Stage::Inactive);
/// # Ok::<(), spatial_ssrl::node::lifecycle::Refused>(())
/// ```
#[derive(Clone, Debug)]
pub struct Lifecycle {
    stage: Stage,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Lifecycle { stage: Unconfigured }
    }
}

impl Lifecycle {
    /// Where the node is.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// What `~/get_available_states` answers.
    pub fn states() -> Vec<State> {
        Stage::ALL.into_iter().map(Stage::message).collect()
    }

    /// What `~/get_available_transitions` answers: those from here.
    pub fn transitions(&self) -> Vec<TransitionDescription> {
        leaving(self.stage).map(Arrow::description).collect()
    }

    /// What `~/get_transition_graph` answers: all of them.
    pub fn graph() -> Vec<TransitionDescription> {
        ARROWS.iter().map(Arrow::description).collect()
    }

    /// Leaves a primary state. A label that is not empty wins over the number, because callers
    /// that give a label leave the number at 0.
    ///
    /// # Errors
    /// [`Refused`], which says what can be asked for from here.
    pub fn begin(&mut self, asked: &Transition, now_ns: u64) -> Result<TransitionEvent, Refused> {
        if self.is_under_way() {
            return Err(Refused::UnderWay { during: self.stage });
        }
        let wanted = |arrow: &&Arrow| match asked.label.as_str() {
            "" => arrow.id == asked.id,
            label => arrow.label == label,
        };
        let Some(arrow) = leaving(self.stage).find(wanted) else {
            let asked = match asked.label.as_str() {
                "" => asked.id.to_string(),
                // Foreign text, perhaps a long one.
                label => label.chars().take(40).collect(),
            };
            return Err(Refused::NotFromHere { asked, from: self.stage });
        };
        self.stage = arrow.to;
        Ok(arrow.event(now_ns))
    }

    /// Whether work is to be done and its outcome waited for.
    pub fn is_under_way(&self) -> bool {
        matches!(
            self.stage,
            Configuring | CleaningUp | ShuttingDown | Activating | Deactivating | ErrorProcessing
        )
    }

    /// Leaves a transition state for where the outcome of the work leads.
    ///
    /// # Errors
    /// [`Refused::NoneUnderWay`].
    pub fn end(&mut self, outcome: Outcome, now_ns: u64) -> Result<TransitionEvent, Refused> {
        let label = match outcome {
            Outcome::Success => SUCCESS,
            Outcome::Failure => FAILURE,
            Outcome::Error => ERROR,
        };
        let at = self.stage;
        let arrow = leaving(at).find(|arrow| arrow.label == label);
        let arrow = arrow.ok_or(Refused::NoneUnderWay { at })?;
        self.stage = arrow.to;
        Ok(arrow.event(now_ns))
    }

    /// A whole change. `work` is given the transition state and the state before; after an
    /// error it is asked once more, with [`Stage::ErrorProcessing`]. Every event goes to
    /// `publish`. The answer to `~/change_state` is whether the outcome is a success.
    ///
    /// # Errors
    /// [`Refused`]; then nothing was done.
    pub fn change(
        &mut self,
        asked: &Transition,
        now_ns: impl Fn() -> u64,
        mut work: impl FnMut(Stage, Stage) -> Outcome,
        mut publish: impl FnMut(TransitionEvent),
    ) -> Result<Outcome, Refused> {
        let before = self.stage;
        publish(self.begin(asked, now_ns())?);
        let outcome = work(self.stage, before);
        publish(self.end(outcome, now_ns())?);
        if self.stage == ErrorProcessing {
            let cleaned = work(self.stage, before);
            publish(self.end(cleaned, now_ns())?);
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_label(label: &str) -> Transition {
        Transition { id: 0, label: label.to_owned() }
    }

    /// Goes through these changes, all with this outcome; the labels passed through.
    fn go(node: &mut Lifecycle, labels: &[&str], outcome: Outcome) -> Vec<String> {
        let mut passed = Vec::new();
        for label in labels {
            let publish = |event: TransitionEvent| passed.push(event.goal_state.label);
            node.change(&by_label(label), || 5, |_, _| outcome, publish).unwrap();
        }
        passed
    }

    #[test]
    fn ros_a_node_is_taken_through_its_life() {
        let mut node = Lifecycle::default();
        let labels = ["configure", "activate", "deactivate", "cleanup", "configure", "activate"];
        let passed = go(&mut node, &labels, Outcome::Success);
        assert_eq!(
            passed.join(" "),
            "configuring inactive activating active deactivating inactive cleaningup unconfigured \
             configuring inactive activating active"
        );
        assert_eq!(go(&mut node, &["shutdown"], Outcome::Success), ["shuttingdown", "finalized"]);
        assert!(node.transitions().is_empty());
        let refused = node.begin(&by_label("configure"), 0).unwrap_err().to_string();
        assert_eq!(
            refused,
            "there is no transition configure from finalized; from here there are none"
        );
    }

    #[test]
    fn ros_a_failure_goes_back_and_an_error_is_cleaned_up() {
        let mut node = Lifecycle::default();
        assert_eq!(
            go(&mut node, &["configure"], Outcome::Failure),
            ["configuring", "unconfigured"]
        );
        let mut asked = Vec::new();
        let work = |at: Stage, before: Stage| {
            asked.push((at, before));
            if at == ErrorProcessing { Outcome::Success } else { Outcome::Error }
        };
        let outcome = node.change(&by_label("configure"), || 0, work, |_| ()).unwrap();
        assert_eq!(outcome, Outcome::Error);
        assert_eq!(asked, [(Configuring, Unconfigured), (ErrorProcessing, Unconfigured)]);
        assert_eq!(node.stage(), Unconfigured);
        // What cannot be cleaned up is at its end.
        go(&mut node, &["configure"], Outcome::Error);
        assert_eq!(node.stage(), Finalized);
    }

    #[test]
    fn ros_shutdown_has_a_number_of_its_own_in_each_state() {
        for (labels, id) in [(&[][..], 5), (&["configure"], 6), (&["configure", "activate"], 7)] {
            for other in 5..8 {
                let mut node = Lifecycle::default();
                go(&mut node, labels, Outcome::Success);
                let asked = Transition { id: other, label: String::new() };
                assert_eq!(node.begin(&asked, 0).is_ok(), other == id, "{labels:?} {other}");
            }
        }
    }

    #[test]
    fn ros_nothing_is_asked_while_a_transition_is_under_way_and_none_ends_that_did_not_begin() {
        let mut node = Lifecycle::default();
        assert_eq!(
            node.end(Outcome::Success, 0).unwrap_err().to_string(),
            "the node is unconfigured: no transition is under way that could end"
        );
        node.begin(&by_label("configure"), 0).unwrap();
        // The private transition that would end it cannot be asked for either.
        for id in 0..=255 {
            let asked = Transition { id, label: String::new() };
            assert_eq!(node.begin(&asked, 0), Err(Refused::UnderWay { during: Configuring }));
        }
        assert_eq!(node.end(Outcome::Success, 3).unwrap().timestamp, 3);
    }
}
