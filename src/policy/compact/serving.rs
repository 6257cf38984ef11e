//! The policy that answers right now, and its replacement while answers are being given.

use std::sync::{Arc, PoisonError, RwLock};

use super::served::Served;

/// Holds the policy in service. Threads ask for it and keep what they get for as long as
/// they need it; a swap changes what the next one gets, never an answer that is under way.
///
/// ```
/// use std::sync::Arc;
/// use burn::tensor::Device;
/// use spatial_ssrl::{
///     export::onnx::onnx,
///     policy::compact::{CompactPolicy, served::Served, serving::Serving},
/// };
/// let policy = CompactPolicy::builtin(Device::flex())?;
/// let serving = Serving::new(Arc::new(Served::from_policy(&policy)?));
/// let answering = serving.current();
/// // `policy` learns, and is promoted.
/// let promoted = answering.successor(&onnx(&policy)?)?;
/// let (version, replaced) = serving.swap(Arc::new(promoted));
/// assert_eq!(version, 1);
/// assert!(Arc::ptr_eq(&replaced, &answering));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Serving {
    /// How often it was swapped, and the policy.
    current: RwLock<(u64, Arc<Served>)>,
}

impl Serving {
    /// Begins with version 0.
    pub fn new(policy: Arc<Served>) -> Self {
        Serving { current: RwLock::new((0, policy)) }
    }

    /// The policy in service. Waits for no more than the copy of a pointer, also during a
    /// swap: whoever swaps has loaded the new policy before.
    pub fn current(&self) -> Arc<Served> {
        self.numbered().1
    }

    /// The policy in service with its version: how many came before it.
    pub fn numbered(&self) -> (u64, Arc<Served>) {
        // A pair of a number and a pointer is whole even if a thread panicked beside it.
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts `policy` into service; gives its version and the policy that it replaces, which
    /// lives on as long as somebody answers with it.
    pub fn swap(&self, policy: Arc<Served>) -> (u64, Arc<Served>) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let version = current.0 + 1;
        let (_, old) = std::mem::replace(&mut *current, (version, policy));
        (version, old)
    }
}
