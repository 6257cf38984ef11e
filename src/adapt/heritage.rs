//! What a policy hands on beside its weights: some of the tasks that it learnt from, to be
//! rehearsed, and some that it never learnt from, to be tested on. With them, a policy that
//! adapts to a new place neither forgets an old one nor is promoted if it does.

use super::{
    learner::evenly,
    memory::{Capacity, Memory},
    store::{self, StoreError},
};
use crate::policy::compact::{CompactPolicy, observe::Observation};

/// Tasks that go with a policy.
#[derive(Clone, Debug, Default)]
pub struct Heritage {
    /// Learnt from, to be rehearsed.
    pub rehearsal: Vec<Memory<Observation>>,
    /// Never learnt from: the factory set.
    pub factory: Vec<Memory<Observation>>,
}

/// Handed on to be rehearsed, from each generation.
pub const REHEARSAL: Capacity = Capacity { points: 1200, patches: 16 };
/// Handed on to be tested on, from each generation.
pub const FACTORY: Capacity = Capacity { points: 100, patches: 24 };

const NAMES: [&str; 2] = ["rehearsal.tasks", "factory.tasks"];

impl Heritage {
    /// The heritage that ships with the crate, for the policy that ships.
    ///
    /// # Errors
    /// The shipped files are tested.
    pub fn builtin() -> Result<Self, StoreError> {
        Ok(Heritage {
            rehearsal: store::from_bytes(include_bytes!("../../assets/builtin/rehearsal.tasks"))?,
            factory: store::from_bytes(include_bytes!("../../assets/builtin/factory.tasks"))?,
        })
    }

    /// The two parts as files: name and bytes.
    ///
    /// # Errors
    /// When a task cannot be encoded.
    pub fn files(&self) -> Result<[(&'static str, Vec<u8>); 2], StoreError> {
        let [rehearsal, factory] = NAMES;
        Ok([
            (rehearsal, store::to_bytes(&self.rehearsal)?),
            (factory, store::to_bytes(&self.factory)?),
        ])
    }

    /// How many tasks do not fit `policy`: they were made for another encoder.
    pub fn misfits(&self, policy: &CompactPolicy) -> usize {
        let tasks = self.rehearsal.iter().chain(&self.factory);
        tasks.filter(|task| !policy.fits(&task.observation)).count()
    }

    /// The heritage of which `read` gives the files by name; a file that is not there (`None`)
    /// is an empty part.
    ///
    /// # Errors
    /// When a file cannot be read or is damaged.
    pub fn from_files<E: From<StoreError>>(
        read: impl Fn(&str) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Self, E> {
        let part = |name| match read(name)? {
            Some(bytes) => Ok::<_, E>(store::from_bytes(&bytes)?),
            None => Ok(Vec::new()),
        };
        let [rehearsal, factory] = NAMES;
        Ok(Heritage { rehearsal: part(rehearsal)?, factory: part(factory)? })
    }
}

/// A share of the given tasks, evenly over their order.
pub fn sample<'a>(
    tasks: impl IntoIterator<Item = &'a Memory<Observation>>,
    share: Capacity,
) -> Vec<Memory<Observation>> {
    let mut kept = evenly(tasks.into_iter().cloned().collect(), share);
    // As in the files that ship, which a rerun of `pretrain` is to give again.
    kept.sort_by_key(|task| !task.kind.needs_depth());
    kept
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::{policy::compact::observe::Evidence, task::TaskKind};

    #[test]
    fn what_ships_belongs_to_the_policy_that_ships_and_has_every_kind() {
        let policy = CompactPolicy::builtin(Device::flex()).unwrap();
        let heritage = Heritage::builtin().unwrap();
        assert_eq!(heritage.misfits(&policy), 0);
        for kind in TaskKind::BUILTIN {
            assert!(heritage.factory.iter().any(|task| task.kind == kind), "{kind}");
        }
        let depth = heritage.rehearsal.iter().filter(|t| t.kind == TaskKind::Depth).count();
        assert_eq!(depth, REHEARSAL.points);
    }

    #[test]
    fn tasks_of_another_encoder_are_told() {
        let policy = CompactPolicy::builtin(Device::flex()).unwrap();
        let mut heritage = Heritage::builtin().unwrap();
        for task in heritage.rehearsal.iter_mut().take(3) {
            match &mut task.observation.evidence {
                Evidence::Points(points) => points[0].truncate(5),
                Evidence::Patches(patches) => patches.truncate(1),
                Evidence::Hole { ring, .. } => ring.borders.truncate(1),
            }
        }
        assert_eq!(heritage.misfits(&policy), 3);
    }
}
