//! A promoted policy answers alike while it learns (burn) and when it is served (its ONNX
//! file in tract), and can be replaced while it answers.

mod common;
#[path = "common/tasks.rs"]
mod made;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use burn::tensor::Device;
use common::shared;
use made::{frames, tasks};
use spatial_ssrl::{
    frame::RgbdFrame,
    policy::{
        Policy,
        compact::{CompactConfig, CompactPolicy, onnx, served::Served, serving::Serving},
    },
    task::{Pixel, Question},
};

/// The largest difference of log-probabilities that counts as the same answer.
const SAME: f32 = 1e-4;

fn builtin() -> CompactPolicy {
    CompactPolicy::builtin(Device::flex()).unwrap()
}

/// Compares `5 * per_kind` tasks.
fn agree(name: &str, policy: &CompactPolicy, frames: &[RgbdFrame], per_kind: u64) {
    let served = Served::from_policy(policy).unwrap();
    let mut observations = Vec::new();
    let mut seen_apart = None;
    for (frame, tasks) in tasks(frames, per_kind) {
        let seen = policy.observe(frame, &tasks).unwrap();
        // Encoding takes long: one frame's tasks are enough.
        seen_apart.get_or_insert_with(|| {
            let again = served.observe(frame, &tasks).unwrap();
            seen.iter().zip(&again).filter(|(a, b)| a.evidence != b.evidence).count()
        });
        observations.extend(seen);
    }
    let observations: Vec<_> = observations.iter().collect();
    assert_eq!(observations.len() as u64, 5 * per_kind);
    let learnt = policy.log_probabilities(&observations).unwrap();
    let begun = Instant::now();
    let answered = served.log_probabilities(&observations).unwrap();
    let together = begun.elapsed().as_secs_f64() * 1e3 / observations.len() as f64;
    let mut largest = 0.0_f32;
    for (learnt, answered) in learnt.iter().zip(&answered) {
        assert_eq!(learnt.len(), answered.len());
        for (a, b) in learnt.iter().zip(answered) {
            largest = largest.max((a - b).abs());
        }
    }
    let begun = Instant::now();
    let mut singly_apart = 0.0_f32;
    for (observation, row) in observations.iter().zip(&answered) {
        let alone = served.log_probabilities(&[observation]).unwrap();
        for (a, b) in alone[0].iter().zip(row) {
            singly_apart = singly_apart.max((a - b).abs());
        }
    }
    let singly = begun.elapsed().as_secs_f64() * 1e3 / observations.len() as f64;
    println!(
        "{name}: {} tasks, log-probabilities differ by at most {largest:.1e} (one by one against \
         together: {singly_apart:.1e}); {singly:.2} ms an answer one by one, {together:.2} \
         together",
        observations.len()
    );
    assert!(largest <= SAME, "{largest}");
    assert!(singly_apart <= SAME, "{singly_apart}");
    assert_eq!(seen_apart, Some(0), "the graph's own normalisation is that of the encoder");
    // Equal but for what is a tie.
    let best = policy.best(&observations).unwrap();
    for (i, (a, b)) in best.iter().zip(served.best(&observations).unwrap()).enumerate() {
        assert!(a.0.as_ref() == Some(&b.0) || (a.1 - b.1).abs() < SAME, "{i}: {a:?} {b:?}");
    }
}

#[test]
fn burn_and_tract_give_the_same_answers_to_a_thousand_tasks_of_a_room() {
    agree("room", &builtin(), &frames("room:seed=11,frames=60", 10, 6), 200);
}

#[test]
fn burn_and_tract_give_the_same_answers_to_a_thousand_recorded_tasks() {
    let Some(bag) = shared("data/tum-fr1-rpy-10hz") else { return };
    agree("recording", &builtin(), &frames(bag.to_str().unwrap(), 10, 20), 200);
}

#[test]
fn every_answer_during_a_swap_is_one_policys_whole_answer() {
    let policy = builtin();
    let other = CompactPolicy::new(CompactConfig::default(), 3, Device::flex()).unwrap();
    let frames = frames("room:seed=2,frames=1", 1, 1);
    let mut observations = Vec::new();
    for (frame, tasks) in tasks(&frames, 3) {
        observations.extend(policy.observe(frame, &tasks).unwrap());
    }
    let observations: Vec<_> = observations.iter().collect();
    let first = Arc::new(Served::from_policy(&policy).unwrap());
    let second = onnx::export(&other).unwrap().bytes;
    let begun = Instant::now();
    let second = Arc::new(first.successor(&second).unwrap());
    println!("a successor is loaded in {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
    assert!(Arc::ptr_eq(first.encoder(), second.encoder()), "one encoder serves both");
    let whole = [&first, &second].map(|p| p.log_probabilities(&observations).unwrap());
    assert_ne!(whole[0], whole[1]);

    let serving = Serving::new(first.clone());
    let done = AtomicBool::new(false);
    let (counts, swaps) = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut counts = [0_u32; 2];
                    let mut last = 0;
                    while !done.load(Ordering::Relaxed) {
                        let (version, policy) = serving.numbered();
                        let answers = policy.log_probabilities(&observations).unwrap();
                        assert!(version >= last, "versions only grow");
                        last = version;
                        let which = whole.iter().position(|whole| *whole == answers);
                        let which = which.expect("an answer of neither policy");
                        assert_eq!(which as u64, version % 2, "the version's own answer");
                        counts[which] += 1;
                    }
                    counts
                })
            })
            .collect();
        let mut swaps = 0;
        let begun = Instant::now();
        while begun.elapsed().as_secs_f64() < 3.0 {
            let new = if swaps % 2 == 0 { &second } else { &first };
            let (version, old) = serving.swap(new.clone());
            swaps += 1;
            assert_eq!(version, swaps);
            assert!(!Arc::ptr_eq(&old, new));
            std::thread::sleep(std::time::Duration::from_micros(300));
        }
        done.store(true, Ordering::Relaxed);
        let counts = threads.into_iter().map(|thread| thread.join().unwrap());
        (counts.fold([0, 0], |sum, n| [sum[0] + n[0], sum[1] + n[1]]), swaps)
    });
    println!("{swaps} swaps during {counts:?} answers to {} tasks each", observations.len());
    assert!(counts.iter().all(|&count| count > 10), "{counts:?}");
    assert!(Arc::ptr_eq(&serving.current(), if swaps % 2 == 0 { &first } else { &second }));
}

#[test]
fn the_file_depends_on_the_policy_alone() {
    let a = onnx::export(&builtin()).unwrap();
    let b = onnx::export(&builtin()).unwrap();
    assert!(a.bytes == b.bytes);
    let other = CompactPolicy::new(CompactConfig::default(), 3, Device::flex()).unwrap();
    let c = onnx::export(&other).unwrap();
    assert_ne!(a.description.weights_sha256, c.description.weights_sha256);
    assert_eq!(a.description.encoder_sha256, c.description.encoder_sha256);
}

#[test]
fn damaged_and_foreign_files_are_refused_with_what_they_lack() {
    let refused = |bytes: &[u8]| Served::from_onnx(bytes).err().unwrap().to_string();
    let whole = onnx::export(&builtin()).unwrap().bytes;
    assert!(refused(&whole[..whole.len() / 2]).contains("damaged"));
    assert!(refused(b"not onnx").contains("damaged"));
    assert!(refused(b"").contains("spatial_ssrl.format"));
    let encoder = builtin().encoder().onnx().to_vec();
    assert!(refused(&encoder).contains("spatial-ssrl export"));
}

#[test]
fn an_observation_that_does_not_fit_is_named() {
    let policy = builtin();
    let served = Served::from_policy(&policy).unwrap();
    let frames = frames("room:seed=2,frames=1", 1, 1);
    let made = tasks(&frames, 1);
    let mut observations = policy.observe(&frames[0], &made[0].1).unwrap();
    let points: heapless::Vec<Pixel, 4> = [Pixel { x: 1, y: 2 }; 3].into_iter().collect();
    observations[1].question = Question::OrderPoints { points };
    let observations: Vec<_> = observations.iter().collect();
    let error = served.log_probabilities(&observations).unwrap_err().to_string();
    assert!(error.contains("observation 1"), "{error}");
}

#[test]
fn points_of_a_picture_are_ordered_without_depth() {
    let served = Served::from_policy(&builtin()).unwrap();
    let frames = frames("room:seed=5,frames=1", 1, 1);
    let points: Vec<Pixel> = (0..300).map(|i| Pixel { x: 2 * i, y: i }).collect();
    let far = served.farness_at(&frames[0], &points).unwrap();
    assert_eq!(far.len(), points.len());
    assert!(far.iter().all(|far| far.is_finite()));
}
