//! Promises about real cameras' data, kept outside the project. Each test says when it was
//! skipped because the data is not there.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use spatial_ssrl::{
    adapt::gate::{Gate, GateReason, Verdict},
    frame::{
        DepthMap, FrameId, Registration, RgbdFrame,
        compressed_depth::{depth_from_compressed, pack_rvl},
        convert::{color_from_encoded, depth_from_png},
        quality::Quality,
    },
    tally::Tally,
};

/// `path` in the shared folder, or `None` with a word about it.
fn shared(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("SPATIAL_SSRL_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let path = root.join(path);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

/// A little-endian CDR reader for the one message type that is needed here.
struct Cdr<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Cdr<'a> {
    fn u32(&mut self) -> u32 {
        self.at = self.at.next_multiple_of(4);
        self.at += 4;
        u32::from_le_bytes(self.data[self.at - 4..self.at].try_into().unwrap())
    }

    fn bytes(&mut self) -> &'a [u8] {
        let len = self.u32() as usize;
        self.at += len;
        &self.data[self.at - len..self.at]
    }

    fn text(&mut self) -> &'a str {
        std::str::from_utf8(self.bytes()).unwrap().trim_end_matches('\0')
    }
}

/// One `CompressedImage`: stamp in nanoseconds, format, data.
type Compressed = (i64, String, Vec<u8>);

/// All messages of the bag whose topic ends like this, by stamp.
fn compressed_images(bag: &Path, topic: &str) -> Vec<Compressed> {
    let file = fs::read(bag).unwrap();
    let mut out = Vec::new();
    for message in mcap::MessageStream::new(&file).unwrap() {
        let message = message.unwrap();
        if message.channel.topic.ends_with(topic) {
            // After the four bytes of encapsulation alignment starts anew.
            let mut cdr = Cdr { data: &message.data[4..], at: 0 };
            let stamp_ns = i64::from(cdr.u32()) * 1_000_000_000 + i64::from(cdr.u32());
            let _frame_id = cdr.text();
            out.push((stamp_ns, cdr.text().to_owned(), cdr.bytes().to_vec()));
        }
    }
    out.sort_by_key(|(stamp_ns, ..)| *stamp_ns);
    out
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    files
}

/// The frames of a folder of stills.
fn stills(
    folder: &Path,
    depth: &str,
    units_per_m: f64,
    registration: Registration,
) -> Vec<RgbdFrame> {
    let pairs = files(&folder.join("rgb")).into_iter().zip(files(&folder.join(depth)));
    pairs
        .enumerate()
        .map(|(i, (color, depth))| RgbdFrame {
            id: FrameId(i as u64),
            stamp_ns: i as i64,
            depth_stamp_ns: None,
            color: color_from_encoded(&fs::read(color).unwrap()).unwrap(),
            depth_m: Some(depth_from_png(&fs::read(depth).unwrap(), units_per_m).unwrap()),
            intrinsics: None,
            registration,
        })
        .collect()
}

/// The frames of the bag, each colour picture with the nearest depth.
fn bag_frames(bag: &Path) -> Vec<RgbdFrame> {
    let depth = compressed_images(bag, "/compressedDepth");
    let colors = compressed_images(bag, "/image_raw/compressed");
    colors
        .into_iter()
        .map(|(stamp_ns, _, data)| {
            let (depth_ns, format, depth) =
                depth.iter().min_by_key(|(ns, ..)| (ns - stamp_ns).abs()).unwrap();
            RgbdFrame {
                id: FrameId::from_stamp(stamp_ns),
                stamp_ns,
                depth_stamp_ns: Some(*depth_ns),
                color: color_from_encoded(&data).unwrap(),
                depth_m: Some(depth_from_compressed(format, depth).unwrap()),
                intrinsics: None,
                registration: Registration::Registered,
            }
        })
        .collect()
}

fn same_m(a: &DepthMap, b: &DepthMap, tolerance_m: f32) -> bool {
    a.dim() == b.dim()
        && a.iter()
            .zip(b)
            .all(|(a, b)| if a.is_nan() { b.is_nan() } else { (a - b).abs() <= tolerance_m })
}

#[test]
fn compressed_depth_of_a_bag_equals_the_folder_it_was_made_from_golden() {
    let (Some(bag), Some(folder)) =
        (shared("data/tum-fr1-rpy-10hz/tum-fr1-rpy-10hz.mcap"), shared("data/tum-fr1-rpy/depth"))
    else {
        return;
    };
    // The same stamps in a file name, `1305031229.528784.png`, to the microsecond.
    let stamp_us = |path: &Path| {
        path.file_stem().unwrap().to_str().unwrap().replace('.', "").parse::<i64>().unwrap()
    };
    let by_stamp: BTreeMap<i64, PathBuf> =
        files(&folder).into_iter().map(|path| (stamp_us(&path), path)).collect();
    let mut compared = 0;
    for (stamp_ns, format, data) in compressed_images(&bag, "/compressedDepth") {
        let Some(path) = by_stamp.get(&((stamp_ns + 500) / 1000)) else { continue };
        let bag_m = depth_from_compressed(&format, &data).unwrap();
        let folder_m = depth_from_png(&fs::read(path).unwrap(), 5000.0).unwrap();
        // Millimetres against fifths of one: half a millimetre of rounding.
        assert!(same_m(&bag_m, &folder_m, 0.000_501), "{stamp_ns}");
        compared += 1;
    }
    assert!(compared >= 10, "only {compared} stamps occur in both");
}

#[test]
fn rvl_keeps_real_depth_to_the_bit() {
    let Some(bag) = shared("data/tum-fr1-rpy-10hz/tum-fr1-rpy-10hz.mcap") else { return };
    let (mut raw_bytes, mut rvl_bytes, mut png_bytes) = (0, 0, 0);
    for (_, format, data) in compressed_images(&bag, "/compressedDepth").iter().step_by(16) {
        let png_m = depth_from_compressed(format, data).unwrap();
        let (height, width) = png_m.dim();
        let mm: Vec<u16> = png_m
            .iter()
            .map(|z_m| if z_m.is_nan() { 0 } else { (z_m * 1e3).round() as u16 })
            .collect();
        let rvl = pack_rvl(width as u32, height as u32, &mm).unwrap();
        let rvl_m = depth_from_compressed("16UC1; compressedDepth rvl", &rvl).unwrap();
        assert!(same_m(&rvl_m, &png_m, 0.0));
        raw_bytes += 2 * mm.len();
        rvl_bytes += rvl.len();
        png_bytes += data.len();
    }
    println!("raw {raw_bytes}, rvl {rvl_bytes}, png {png_bytes} bytes");
    assert!(3 * rvl_bytes < raw_bytes, "the paper reports a ratio of 4 or so");
}

/// What a gate with default settings makes of the frames, as one line of a table.
fn rates(name: &str, frames: &[RgbdFrame]) -> (Tally, Vec<(Verdict, Quality)>) {
    let mut gate = Gate::default();
    let mut tally = Tally::default();
    let judged: Vec<_> = frames.iter().map(|frame| gate.check_measured(frame)).collect();
    for (verdict, _) in &judged {
        tally.add(verdict.reason().map_or("full", GateReason::name));
    }
    let range = |of: &dyn Fn(&Quality) -> f32| {
        let mut values: Vec<f32> = judged.iter().map(|(_, q)| of(q)).collect();
        values.sort_by(f32::total_cmp);
        format!("{:.2} {:.2} {:.2}", values[0], values[values.len() / 2], values[values.len() - 1])
    };
    println!(
        "{name:18} n {:3} | luma {} | bright {} | sharp {} | depth {} | {}",
        frames.len(),
        range(&|q| q.mean_luma),
        range(&|q| q.bright_fraction),
        range(&|q| q.sharpness.unwrap_or(f32::NAN)),
        range(&|q| q.valid_depth_fraction.unwrap_or(f32::NAN)),
        tally.iter().map(|(reason, n)| format!("{reason} {n}")).collect::<Vec<_>>().join(", "),
    );
    (tally, judged)
}

#[test]
fn the_gates_defaults_fit_every_real_camera() {
    let Some(data) = shared("data") else { return };
    let registered = Registration::Registered;
    for (name, depth, units_per_m) in [
        ("d435-felixchenfy", "depth", 1e3),
        ("apc-f200-shelf", "depth_0.1mm", 1e4),
        ("ycb-table", "depth", 1e4),
        ("tote-sr300", "depth", 1e4),
    ] {
        let frames = stills(&data.join(name), depth, units_per_m, registered);
        let (tally, _) = rates(name, &frames);
        assert_eq!(tally.get("full"), frames.len() as u64, "{name}: all stills are sound");
    }

    let unregistered =
        stills(&data.join("unregistered-d435"), "depth", 1e3, Registration::Unregistered);
    let (tally, _) = rates("unregistered-d435", &unregistered);
    assert_eq!(tally.get("unregistered_depth"), unregistered.len() as u64);

    let folder = stills(&data.join("tum-fr1-rpy"), "depth", 5e3, registered);
    let (tally, _) = rates("tum-fr1-rpy", &folder);
    assert!(tally.get("full") >= 36, "30 Hz of a camera that turns is no standstill");

    let bag = bag_frames(&data.join("tum-fr1-rpy-10hz/tum-fr1-rpy-10hz.mcap"));
    let (tally, _) = rates("tum-fr1-rpy-10hz", &bag);
    assert_eq!(bag.len(), 232);
    assert!(tally.get("full") >= 220);
    assert!(tally.get("near_duplicate") <= 3);
    assert!(tally.get("blurred") <= 5);
}

#[test]
fn the_gate_rejects_real_frames_once_they_are_smeared_or_repeated() {
    let Some(data) = shared("data") else { return };
    let mut smeared = Tally::default();
    let registered = Registration::Registered;
    let mut sharp = stills(&data.join("tote-sr300"), "depth", 1e4, registered);
    sharp.extend(stills(&data.join("apc-f200-shelf"), "depth_0.1mm", 1e4, registered));
    sharp.extend(stills(&data.join("d435-felixchenfy"), "depth", 1e3, registered));
    for frame in &sharp {
        let mut gate = Gate::default();
        assert_eq!(gate.check(frame), Verdict::Full);
        assert_eq!(gate.check(frame), Verdict::Reject(GateReason::NearDuplicate));
        let verdict =
            Gate::default().check(&RgbdFrame { color: smear(&frame.color, 24), ..frame.clone() });
        smeared.add(verdict.reason().map_or("full", GateReason::name));
    }
    println!("smeared over 24 px: {smeared:?}");
    assert_eq!(smeared.get("blurred"), sharp.len() as u64);
}

/// The picture as a camera that turns `length` pixels during the exposure takes it.
fn smear(color: &image::RgbImage, length: u32) -> image::RgbImage {
    image::RgbImage::from_fn(color.width(), color.height(), |x, y| {
        let mut sum = [0; 3];
        for i in 0..length {
            let pixel = color.get_pixel((x + i).min(color.width() - 1), y);
            sum.iter_mut().zip(pixel.0).for_each(|(sum, c)| *sum += u32::from(c));
        }
        image::Rgb(sum.map(|c| (c / length) as u8))
    })
}
