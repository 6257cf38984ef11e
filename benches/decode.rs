//! What a VGA frame costs to decode and to judge, each beside its limit: a plain copy of
//! the bytes, or the bare decoder underneath. Pictures are synthetic but compress about as
//! real ones do: smooth depth with edges, holes and sensor noise; colour with texture.

use std::{hint::black_box, io::Cursor};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use image::{
    ExtendedColorType, ImageDecoder, ImageEncoder, Rgb, RgbImage,
    codecs::{jpeg::JpegDecoder, jpeg::JpegEncoder, png::PngDecoder, png::PngEncoder},
};
use spatial_ssrl::{
    adapt::gate::Gate,
    frame::{
        FrameId, Intrinsics, Registration, RgbdFrame,
        compressed_depth::{depth_from_compressed, pack_rvl},
        convert::{RawImage, color_from_encoded, color_from_raw, depth_from_raw},
        quality::QualityMeter,
        registration::{Extrinsics, Registrar},
    },
};

const WIDTH: u32 = 640;
const HEIGHT: u32 = 480;

/// Numbers that look random and never change.
fn noise(x: u32, y: u32) -> u32 {
    let n = (x ^ y.rotate_left(16)).wrapping_mul(0x9E37_79B9);
    (n ^ (n >> 15)).wrapping_mul(0x85EB_CA6B) >> 16
}

fn depth_mm() -> Vec<u16> {
    let pixel = |(x, y): (u32, u32)| {
        let near = (x / 80 + y / 60).is_multiple_of(3);
        let z = if near { 900 + x / 8 } else { 2200 + y + x / 4 };
        let hole = x < 20 || (near && x % 80 < 6);
        if hole { 0 } else { (z + noise(x, y) % (z / 400 + 1)) as u16 }
    };
    (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x, y))).map(pixel).collect()
}

fn color() -> RgbImage {
    RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let patch = (x / 40 * 37 + y / 40 * 91) % 180;
        let value = (patch + noise(x / 3, y / 3) % 30 + noise(x, y) % 8) as u8;
        Rgb([value, value / 2 + 60, 200 - value / 2])
    })
}

fn raw_depth(c: &mut Criterion) {
    let bytes: Vec<u8> = depth_mm().iter().flat_map(|mm| mm.to_le_bytes()).collect();
    let mut group = c.benchmark_group("raw");
    group.throughput(Throughput::Elements(u64::from(WIDTH * HEIGHT)));
    let raw = |encoding, data, step| RawImage {
        width: WIDTH,
        height: HEIGHT,
        encoding,
        is_bigendian: false,
        step,
        data,
    };
    group.bench_function("depth_16UC1_to_f32", |b| {
        b.iter(|| depth_from_raw(black_box(&raw("16UC1", &bytes, WIDTH * 2))).unwrap());
    });
    let as_large: Vec<u8> = [&bytes[..], &bytes].concat();
    group.bench_function("depth_32FC1", |b| {
        b.iter(|| depth_from_raw(black_box(&raw("32FC1", &as_large, WIDTH * 4))).unwrap());
    });
    group.bench_function("limit_copy_of_as_many_f32", |b| {
        b.iter(|| black_box(&as_large).to_vec());
    });
    let rgb = color().into_raw();
    for encoding in ["rgb8", "bgr8"] {
        group.bench_function(format!("color_{encoding}"), |b| {
            b.iter(|| color_from_raw(black_box(&raw(encoding, &rgb, WIDTH * 3))).unwrap());
        });
    }
    group.bench_function("limit_copy_of_rgb8", |b| b.iter(|| black_box(&rgb).to_vec()));
    group.finish();
}

fn compressed(c: &mut Criterion) {
    let mm = depth_mm();
    let bytes: Vec<u8> = mm.iter().flat_map(|mm| mm.to_ne_bytes()).collect();
    let mut png = Vec::new();
    PngEncoder::new(&mut png).write_image(&bytes, WIDTH, HEIGHT, ExtendedColorType::L16).unwrap();
    let message = [&[0; 12][..], &png].concat();
    let rvl = pack_rvl(WIDTH, HEIGHT, &mm).unwrap();
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, 90).encode_image(&color()).unwrap();

    let mut group = c.benchmark_group("compressed");
    group.throughput(Throughput::Elements(u64::from(WIDTH * HEIGHT)));
    group.bench_function("depth_png", |b| {
        b.iter(|| {
            depth_from_compressed("16UC1; compressedDepth png", black_box(&message)).unwrap()
        });
    });
    group.bench_function("limit_bare_png", |b| {
        b.iter(|| {
            let mut out = vec![0; bytes.len()];
            PngDecoder::new(Cursor::new(black_box(&png))).unwrap().read_image(&mut out).unwrap();
            out
        });
    });
    group.bench_function("depth_rvl", |b| {
        b.iter(|| depth_from_compressed("16UC1; compressedDepth rvl", black_box(&rvl)).unwrap());
    });
    group.bench_function("rvl_encode", |b| {
        b.iter(|| pack_rvl(WIDTH, HEIGHT, black_box(&mm)).unwrap());
    });
    group.bench_function("color_jpeg", |b| {
        b.iter(|| color_from_encoded(black_box(&jpeg)).unwrap());
    });
    group.bench_function("limit_bare_jpeg", |b| {
        b.iter(|| {
            let mut out = vec![0; (WIDTH * HEIGHT * 3) as usize];
            JpegDecoder::new(Cursor::new(black_box(&jpeg))).unwrap().read_image(&mut out).unwrap();
            out
        });
    });
    group.finish();
}

fn judge(c: &mut Criterion) {
    let bytes: Vec<u8> = depth_mm().iter().flat_map(|mm| mm.to_le_bytes()).collect();
    let raw = RawImage {
        width: WIDTH,
        height: HEIGHT,
        encoding: "16UC1",
        is_bigendian: false,
        step: WIDTH * 2,
        data: &bytes,
    };
    let depth_m = depth_from_raw(&raw).unwrap();
    let k = Intrinsics::new(WIDTH, HEIGHT, 480.0, 480.0, 319.5, 239.5).unwrap();
    let frame = RgbdFrame {
        id: FrameId(0),
        stamp_ns: 0,
        depth_stamp_ns: None,
        color: color(),
        depth_m: Some(depth_m.clone()),
        intrinsics: Some(k),
        registration: Registration::Registered,
    };
    let mut group = c.benchmark_group("judge");
    let mut meter = QualityMeter::default();
    group.bench_function("quality", |b| b.iter(|| meter.measure(black_box(&frame))));
    let mut gate = Gate::default();
    group.bench_function("gate", |b| b.iter(|| gate.check(black_box(&frame))));
    let unit = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
    let color_k = Intrinsics::new(WIDTH, HEIGHT, 615.0, 615.0, 319.5, 239.5).unwrap();
    let extrinsics = Extrinsics::new(unit, [0.025, 0.0, 0.0]).unwrap();
    let registrar = Registrar::new(&k, &color_k, &extrinsics).unwrap();
    group.bench_function("register_depth", |b| {
        b.iter(|| registrar.register(black_box(&depth_m)).unwrap());
    });
    group.finish();
}

criterion_group!(benches, raw_depth, compressed, judge);
criterion_main!(benches);
