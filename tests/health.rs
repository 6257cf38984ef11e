//! Faults put into real frames are told, and sound frames are not accused.

mod common;

use std::{path::Path, process::Command};

use burn::tensor::Device;
use common::shared;
use image::imageops;
use spatial_ssrl::{
    adapt::health::{Checker, Fault, Finding, HealthReport, Likely, Reference, shrunk},
    frame::{RgbdFrame, SensorModel},
    policy::compact::CompactPolicy,
    source::{self, SourceOptions},
};

fn frames(path: &Path, depth_scale: Option<f64>) -> Vec<RgbdFrame> {
    let options = SourceOptions { depth_scale, ..SourceOptions::default() };
    let mut source = source::open(path.to_str().unwrap(), &options).unwrap();
    // Small, as they are checked: many of them fit into memory.
    std::iter::from_fn(move || source.next_frame().unwrap())
        .map(|frame| shrunk(&frame).unwrap())
        .collect()
}

fn evenly(frames: &[RgbdFrame], count: usize) -> Vec<RgbdFrame> {
    let count = count.min(frames.len());
    (0..count).map(|i| frames[i * frames.len() / count].clone()).collect()
}

fn report(
    policy: &CompactPolicy,
    frames: &[RgbdFrame],
    reference: Option<&Reference>,
    inject: impl Fn(&mut RgbdFrame),
) -> HealthReport {
    let mut checker = Checker::new(policy, SensorModel::default());
    for frame in frames {
        let mut frame = frame.clone();
        inject(&mut frame);
        checker.add(&frame).unwrap();
    }
    checker.report(reference)
}

fn said(report: &HealthReport, fault: Fault) -> &Finding {
    let finding = report.finding(fault).unwrap();
    println!(
        "{} {:?} {:.2}: {}",
        fault.name(),
        finding.likely,
        finding.confidence,
        finding.evidence
    );
    finding
}

fn swap_colours(frame: &mut RgbdFrame) {
    frame.color.pixels_mut().for_each(|pixel| pixel.0.swap(0, 2));
}

fn turn_colour(frame: &mut RgbdFrame) {
    frame.color = imageops::rotate180(&frame.color);
}

fn mirror_colour(frame: &mut RgbdFrame) {
    frame.color = imageops::flip_horizontal(&frame.color);
}

/// The camera itself hangs upside down: depth turns with colour.
fn turn_all(frame: &mut RgbdFrame) {
    turn_colour(frame);
    if let Some(depth_m) = &mut frame.depth_m {
        *depth_m = depth_m.slice(ndarray::s![..;-1, ..;-1]).to_owned();
    }
}

fn change_depth(change: impl Fn(f32) -> f32) -> impl Fn(&mut RgbdFrame) {
    move |frame| frame.depth_m.iter_mut().for_each(|depth_m| depth_m.mapv_inplace(&change))
}

fn shift_depth(right: usize) -> impl Fn(&mut RgbdFrame) {
    move |frame| {
        if let Some(depth_m) = &mut frame.depth_m {
            let as_is = depth_m.clone();
            for ((row, col), z_m) in depth_m.indexed_iter_mut() {
                let from = col.checked_sub(right);
                *z_m = from.map_or(f32::NAN, |from| as_is[[row, from]]);
            }
        }
    }
}

#[test]
fn faults_put_into_a_known_room_are_told() {
    let Some(bag) = shared("data/tum-fr1-rpy-10hz") else { return };
    let all = frames(&bag, None);
    let policy = CompactPolicy::builtin(Device::flex()).unwrap();
    let mut known = Checker::for_reference(&policy, SensorModel::default());
    evenly(&all[..160], 16).iter().for_each(|frame| known.add(frame).unwrap());
    let reference = known.reference().unwrap();
    // What is written beside the weights is what is read.
    let json = serde_json::to_string(&reference).unwrap();
    let reference: Reference = serde_json::from_str(&json).unwrap();
    let later = evenly(&all[179..], 9);
    let check = |inject: &dyn Fn(&mut RgbdFrame)| report(&policy, &later, Some(&reference), inject);

    let sound = check(&|_| {});
    for finding in &sound.findings {
        assert_ne!(finding.likely, Likely::Yes, "{finding:?}");
    }
    assert_eq!(said(&sound, Fault::DepthUnregistered).likely, Likely::No);
    assert_eq!(said(&sound, Fault::ColourSwapped).likely, Likely::No);
    // Whether a whole camera is mirrored cannot be told here, and that is said.
    assert_eq!(said(&sound, Fault::Mirrored).likely, Likely::CannotTell);

    for (fault, inject) in [
        (Fault::ColourSwapped, &swap_colours as &dyn Fn(&mut RgbdFrame)),
        (Fault::UpsideDown, &turn_colour),
        (Fault::Mirrored, &mirror_colour),
        (Fault::DepthUnregistered, &shift_depth(14)),
        (Fault::DepthScaled, &change_depth(|z_m| z_m / 1000.0)),
    ] {
        let report = check(inject);
        let finding = said(&report, fault);
        assert_eq!(finding.likely, Likely::Yes, "{finding:?}");
        // Colour that is turned against depth is not called a shift of depth too.
        let shifted = report.finding(Fault::DepthUnregistered).unwrap().likely == Likely::Yes;
        assert_eq!(shifted, fault == Fault::DepthUnregistered, "{report:?}");
        assert!(!report.healthy && finding.confidence >= 0.9);
    }
    // Turned as a whole it is told, or at least no longer said to be upright.
    assert_ne!(said(&check(&turn_all), Fault::UpsideDown).likely, Likely::No);
}

#[test]
fn an_offset_of_depth_bends_the_floors_of_real_rooms() {
    let Some(stills) = shared("data/d435-felixchenfy") else { return };
    let policy = CompactPolicy::builtin(Device::flex()).unwrap();
    let all = frames(&stills, Some(1000.0));
    let sound = report(&policy, &all, None, |_| {});
    assert_eq!(said(&sound, Fault::DepthOffset).likely, Likely::No);
    assert_eq!(said(&sound, Fault::DepthUnregistered).likely, Likely::No);
    assert_eq!(said(&sound, Fault::UpsideDown).likely, Likely::No);
    // Nobody knows how large things are here.
    assert_eq!(said(&sound, Fault::DepthScaled).likely, Likely::CannotTell);
    for offset_m in [0.12_f32, -0.12] {
        let bent = report(&policy, &all, None, change_depth(|z_m| z_m + offset_m));
        let finding = said(&bent, Fault::DepthOffset);
        assert_eq!(finding.likely, Likely::Yes);
    }
    assert_eq!(said(&report(&policy, &all, None, turn_all), Fault::UpsideDown).likely, Likely::Yes);
    for right in [8, 14] {
        let moved = report(&policy, &all, None, shift_depth(right));
        assert_eq!(said(&moved, Fault::DepthUnregistered).likely, Likely::Yes);
    }
}

/// What one place looks like says little of how a camera hangs, however sure the policy is.
#[test]
fn one_upright_frame_of_a_place_never_seen_is_not_called_upside_down() {
    let Some(bag) = shared("data/tum-fr1-rpy-10hz") else { return };
    let policy = CompactPolicy::builtin(Device::flex()).unwrap();
    for frame in evenly(&frames(&bag, None)[160..], 12) {
        let upright = report(&policy, std::slice::from_ref(&frame), None, |_| {});
        assert_ne!(said(&upright, Fault::UpsideDown).likely, Likely::Yes);
        let turned = report(&policy, std::slice::from_ref(&frame), None, turn_all);
        assert_ne!(said(&turned, Fault::UpsideDown).likely, Likely::No);
    }
}

#[test]
fn depth_that_was_never_registered_is_not_called_registered() {
    let Some(stills) = shared("data/unregistered-d435") else { return };
    let policy = CompactPolicy::builtin(Device::flex()).unwrap();
    let report = report(&policy, &frames(&stills, Some(1000.0)), None, |_| {});
    assert_ne!(said(&report, Fault::DepthUnregistered).likely, Likely::No);
    let Some(table) = shared("data/ycb-table") else { return };
    let table = frames(&table, Some(10_000.0));
    let sound = self::report(&policy, &table, None, |_| {});
    assert_eq!(said(&sound, Fault::DepthUnregistered).likely, Likely::No);
    let moved = self::report(&policy, &table, None, shift_depth(14));
    assert_eq!(said(&moved, Fault::DepthUnregistered).likely, Likely::Yes);
}

#[test]
fn the_command_tells_each_fault_in_text_and_in_json() {
    let run = |args: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_spatial-ssrl")).args(args).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (out.status.code().unwrap_or(-1), text(&out.stdout), text(&out.stderr))
    };
    let room = ["health", "room:seed=2,frames=6", "--frames", "4"];
    let (code, text, stderr) = run(&room);
    assert_eq!(code, 0, "{stderr}");
    for fault in Fault::ALL {
        assert!(text.contains(fault.name()), "{text}");
    }
    let (code, json, _) = run(&[&room[..], &["--json"]].concat());
    let told: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, told["frames"].as_u64()), (0, Some(4)));
    assert_eq!(told["findings"].as_array().unwrap().len(), Fault::ALL.len());
    let (code, _, stderr) = run(&["health", "room", "--policy", "/no/run"]);
    assert!(code == 1 && stderr.contains("adapt --out RUN"), "{stderr}");
}
