//! Seeds: every random choice comes from `(run seed, frame, kind, number)`, never from
//! global state, so any number of threads makes the same tasks.

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use super::TaskKind;
use crate::frame::FrameId;

/// The random generator of the core: small, fast, the same on every platform.
pub type Rng = Pcg64Mcg;

/// A generator for one seed.
pub fn rng(seed: u64) -> Rng {
    Pcg64Mcg::seed_from_u64(seed)
}

/// Mixes two numbers into a seed (the finaliser of SplitMix64, Steele et al. 2014).
pub fn mix(a: u64, b: u64) -> u64 {
    let mut z = a ^ b.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The seed of the `number`-th task of `kind` on `frame` in a run.
pub fn task_seed(run_seed: u64, frame: FrameId, kind: &TaskKind, number: u64) -> u64 {
    let kind = kind.name().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(mix(mix(run_seed, frame.0), kind), number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_of_different_tasks_differ() {
        let a = task_seed(1, FrameId(2), &TaskKind::Flip, 0);
        assert_ne!(a, task_seed(1, FrameId(2), &TaskKind::Flip, 1));
        assert_ne!(a, task_seed(1, FrameId(2), &TaskKind::Depth, 0));
        assert_ne!(a, task_seed(1, FrameId(3), &TaskKind::Flip, 0));
        assert_ne!(a, task_seed(2, FrameId(2), &TaskKind::Flip, 0));
        assert_eq!(a, task_seed(1, FrameId(2), &TaskKind::Flip, 0));
    }
}
