//! Rewards and log-probabilities in, a loss and its gradient out.
//!
//! Two implementations of each formula stand here: plain `f64` slices with analytic
//! gradients ([`objective`], [`kl`]), which a reader can follow and a test can trust, and
//! burn tensors ([`tensor`]), through which a policy learns. Tests hold them to each other
//! and to values computed by the published training code.
//!
//! | part | where | choices |
//! |---|---|---|
//! | advantage of an answer in its group | [`advantage`] | group, none (Dr. GRPO), leave-one-out |
//! | policy objective | [`objective`] | clip (low / high / dual), GSPO-token, CISPO |
//! | distance to the reference policy | [`kl`] | k1, abs, mse, k3 |
//! | average over tokens | [`average`] | token, sequence, dr_grpo |
//! | what is logged | [`metrics`] | the names that TRL uses |
//! | what keeps a bad step away from the weights | [`guard`] | typed, counted reasons |
//! | the exact gradient for answers that can be enumerated | [`exact`] | closed form |
//!
//! No I/O, no clocks, no threads, no global random state.

pub mod advantage;
pub mod average;
pub mod batch;
pub mod config;
pub mod exact;
pub mod guard;
pub mod kl;
pub mod metrics;
pub mod objective;
pub mod tensor;

pub use advantage::{Advantage, GroupError, Signal, advantages, group_signal};
pub use average::{Average, Totals};
pub use batch::{ShapeError, TokenBatch};
pub use config::{ConfigError, GrpoConfig};
pub use exact::{exact_policy_gradient, sampled_gradient};
pub use guard::{StepGuard, UpdateSkip};
pub use kl::{KlEstimator, kl_loss};
pub use metrics::GrpoMetrics;
pub use objective::{Clip, Loss, Objective, grpo_loss, policy_loss};
pub use tensor::{TensorBatch, TensorLoss};
