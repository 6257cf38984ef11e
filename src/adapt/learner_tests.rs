//! What the learner promises, with the policy that ships and rendered rooms.

use burn::tensor::Device;

use super::*;
use crate::{
    adapt::{exam::exam, score},
    source::room::{RoomSource, RoomSpec},
};

fn config() -> RunConfig {
    let mut config = RunConfig::default();
    config.learn.steps = 120;
    config.learn.views = 1;
    config.promote.check_every = 30;
    // Of twenty seconds some are tested on.
    config.promote.local.every = 8;
    config.promote.local.tasks_per_kind = 60;
    config
}

fn learner() -> Learner {
    let start = CompactPolicy::builtin(Device::flex()).unwrap();
    let mut learner = Learner::new(start, true, config()).unwrap();
    learner.inherit(Heritage::builtin().unwrap());
    learner
}

/// Frames of one room a second apart.
fn frames(count: u32) -> Vec<RgbdFrame> {
    let spec = RoomSpec { seed: 700_001, frames: count, rate_hz: 1.0, ..RoomSpec::default() };
    let source = RoomSource::new(spec);
    (0..count).map(|n| source.frame(n)).collect()
}

fn learn(learner: &mut Learner, steps: u64) {
    for _ in 0..steps {
        learner.step().unwrap();
    }
}

/// Accuracy of a policy on sound tasks of the room, from frames that nobody was offered.
fn accuracy(learner: &Learner, policy: &CompactPolicy) -> f64 {
    let spec = RoomSpec { seed: 700_001, frames: 400, rate_hz: 1.0, ..RoomSpec::default() };
    let source = RoomSource::new(spec);
    let sound: Vec<RgbdFrame> = (0..6).map(|n| source.frame(100 + 9 * n)).collect();
    let attempts = |kind: &TaskKind| if kind.needs_depth() { 48 } else { 6 };
    let (tasks, _) = learner.make_tests(&sound, 0x50d, attempts).unwrap();
    let question = |o: &Observation| o.question.clone();
    score::mean(&score::evaluate(policy, &tasks, question).unwrap())
}

/// Learns from what `fault` makes of the frames; the policy that serves then must answer
/// sound tasks about as well as the start.
fn faulty_frames_do_no_harm(fault: impl Fn(usize, &RgbdFrame, &RgbdFrame) -> RgbdFrame) {
    let mut learner = learner();
    let sound = frames(20);
    let broken: Vec<RgbdFrame> =
        sound.iter().enumerate().map(|(i, frame)| fault(i, frame, &sound[0])).collect();
    learner.offer_frames(broken, 1).unwrap();
    learn(&mut learner, 120);
    let candidates = &learner.state().candidates;
    assert!(candidates.promoted + candidates.rejected.total() >= 4, "{candidates:?}");
    assert!(learner.trainer().guard().applied() >= 100, "it has learnt from them");
    let start = accuracy(&learner, learner.start());
    let serving = accuracy(&learner, &learner.policy());
    assert!(serving >= start - 0.02, "{start} fell to {serving}: {:?}", learner.state().candidates);
}

#[test]
fn a_depth_camera_with_an_offset_does_no_harm() {
    faulty_frames_do_no_harm(|_, frame, _| {
        let mut frame = frame.clone();
        frame.depth_m.iter_mut().flatten().for_each(|z_m| *z_m += 0.6);
        frame
    });
}

#[test]
fn a_frozen_depth_picture_does_no_harm() {
    faulty_frames_do_no_harm(|_, frame, first| RgbdFrame {
        depth_m: first.depth_m.clone(),
        ..frame.clone()
    });
}

#[test]
fn swapped_colour_channels_do_no_harm() {
    faulty_frames_do_no_harm(|_, frame, _| {
        let mut frame = frame.clone();
        frame.color.pixels_mut().for_each(|pixel| pixel.0.swap(0, 2));
        frame
    });
}

#[test]
fn a_poisoned_reward_is_never_promoted_and_the_candidate_starts_again() {
    let mut learner = learner();
    learner.offer_frames(frames(20), 1).unwrap();
    // A teacher that calls one wrong answer of each task right.
    learner.trainer_mut().poison(|memory| {
        let candidates = memory.observation.question.candidates();
        let wrong = candidates.iter().find(|answer| **answer != memory.answer).cloned();
        wrong.unwrap_or_else(|| memory.answer.clone())
    });
    let before = exam(&learner.policy(), &learner.held_out).unwrap();
    learn(&mut learner, 120);
    let state = learner.state();
    assert_eq!(state.candidates.promoted, 0, "{:?}", state.candidates);
    assert_eq!(state.version, 0);
    assert!(state.candidates.rejected.total() >= 4 && state.restarts + state.rejections > 0);
    let after = exam(&learner.policy(), &learner.held_out).unwrap();
    assert_eq!(before.answers, after.answers, "the serving policy has not changed");
}

#[test]
fn a_candidate_that_forgot_is_promoted_part_of_the_way_and_not_as_it_is() {
    let mut config = config();
    // Nothing of the start is rehearsed, hardly anything draws to it, and the field looks unlike
    // all that it knows.
    config.learn.rehearse = 0.0;
    config.policy.start_decay = 0.05;
    config.policy.dropout = 0.2;
    config.learn.view.roll = 0.0;
    for kind in ["reorder", "flip", "inpaint"] {
        config.learn.tasks_per_step.insert(kind.to_owned(), 4);
    }
    config.promote.check_every = u64::MAX;
    let mut negatives = frames(20);
    negatives.iter_mut().for_each(|frame| image::imageops::invert(&mut frame.color));
    let start = CompactPolicy::builtin(Device::flex()).unwrap();
    let mut learner = Learner::new(start, true, config).unwrap();
    learner.inherit(Heritage::builtin().unwrap());
    learner.offer_frames(negatives, 4).unwrap();
    learn(&mut learner, 200);
    let before = exam(learner.start(), &learner.held_out).unwrap().answers;
    let candidate = exam(learner.candidate(), &learner.held_out).unwrap().answers;
    assert!(promote::nothing_forgotten(&before, &candidate).is_err(), "it forgot nothing");
    let check = learner.check().unwrap();
    assert!(check.rejected.is_none() && check.alarm.is_none(), "{check:?}");
    assert!(check.part < 1.0 && check.version == 1, "{check:?}");
    let serving = exam(&learner.policy(), &learner.held_out).unwrap().answers;
    promote::nothing_forgotten(&before, &serving).unwrap();
    assert_eq!(promote::mean(&serving), check.candidate, "the one that was tested serves");
    assert!(promote::mean(&serving) > promote::mean(&before), "{check:?}");
}

#[test]
fn a_good_candidate_is_promoted_and_can_be_rolled_back() {
    let random = CompactPolicy::new(config().policy, 1, Device::flex()).unwrap();
    let mut learner = Learner::new(random, false, config()).unwrap();
    assert!(matches!(learner.step().unwrap(), Progress::Waiting));
    learner.offer_frames(frames(20), 2).unwrap();
    learn(&mut learner, 120);
    assert!(learner.state().version > 0, "{:?}", learner.state().candidates);
    let start = accuracy(&learner, learner.start());
    assert!(accuracy(&learner, &learner.policy()) > start + 0.1);
    assert_eq!(learner.roll_back(usize::MAX), 0);
    assert_eq!(accuracy(&learner, &learner.policy()), start);
}

#[test]
fn a_learner_that_was_put_away_goes_on_bit_for_bit() {
    let mut first = learner();
    first.offer_frames(frames(16), 1).unwrap();
    learn(&mut first, 40);
    let files = first.files(&7_u64).unwrap();
    let (mut second, cursor) = Learner::from_files::<u64>(&files, Device::flex()).unwrap();
    assert_eq!(cursor, 7);
    let more = frames(24).split_off(16);
    for learner in [&mut first, &mut second] {
        learner.offer_frames(more.clone(), 1).unwrap();
        learn(learner, 40);
    }
    assert_eq!(first.candidate().weights().unwrap(), second.candidate().weights().unwrap());
    // All but the times.
    let plain =
        |learner: &Learner| LearnerState { tested: Counts::default(), ..learner.state().clone() };
    assert_eq!(plain(&first), plain(&second));
    let (first, second) = (first.files(&0_u64).unwrap(), second.files(&0_u64).unwrap());
    // The state holds times, and burn writes the optimiser's tensors in any order: that it
    // is the same shows in the weights.
    let plain = |name: &str| !["state.cbor", "optimizer.burnpack"].contains(&name);
    for (name, bytes) in first.iter().filter(|(name, _)| plain(name)) {
        assert!(second[name] == *bytes, "{name} differs");
    }
}
