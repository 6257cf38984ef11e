//! How fast a published shape of Qwen2.5-VL answers and learns here, with random weights.
//!
//! ```text
//! cargo run --release --features vlm,cuda --example qwen_speed -- cuda:0 3b bf16
//! cargo run --release --features vlm --example qwen_speed -- cpu tiny f32
//! ```
//!
//! One picture of 640x480, 8 answers of 256 tokens (tiny: 16). Told are the tokens a second of
//! the group while it is decoded, the time of one GRPO step on that group, and the bound that
//! memory bandwidth sets where it is given in GB/s as a fourth argument: weights and all
//! answers' keys and values are read once for each token (4,800 GB/s on an H200, 3,350 on an H100
//! SXM, 204.8 on an AGX Orin). Peak memory is what nvidia-smi shows meanwhile, on the processor
//! that of this process. `tests/peers/qwen_speed.py` tells the same of transformers and peft; both
//! together take less than eight minutes on a data-centre GPU.

use std::{
    error::Error,
    process::{Command, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use burn::tensor::{Device, FloatDType, TensorData};
use half::bf16;
use rand::RngExt;
use spatial_ssrl::{
    device::DeviceName,
    grpo::GrpoConfig,
    policy::qwen::{
        QwenConfig, QwenError,
        generate::{SamplerConfig, generate},
        learn::{Judged, Learner, LearnerConfig},
        linear::Adapter,
        model::{Model, Prompt},
        picture::PictureConfig,
        published::{qwen2_5_vl_3b, qwen2_5_vl_7b},
    },
    task::seed,
};

const ANSWERS: usize = 8;
const RANK: usize = 16;

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |i: usize, other: &str| arguments.get(i).cloned().unwrap_or(other.to_owned());
    let name = argument(0, "cpu").parse::<DeviceName>()?;
    let device = name.open()?;
    let peak = watch_memory(name);
    let dtype = match argument(2, "f32").as_str() {
        "f32" => FloatDType::F32,
        "bf16" => FloatDType::BF16,
        other => return Err(format!("{other}: f32 or bf16 is needed").into()),
    };
    let (config, tokens) = match argument(1, "tiny").as_str() {
        "3b" => (qwen2_5_vl_3b(), 256),
        "7b" => (qwen2_5_vl_7b(), 256),
        "tiny" => (tiny(), 16),
        other => return Err(format!("{other}: 3b, 7b or tiny is needed").into()),
    };

    let begun = Instant::now();
    let (model, bytes) = random(&config, &device, dtype)?;
    println!("{:.2} GB of weights, made in {:.1} s", bytes as f64 * 1e-9, seconds(begun));
    let picture = image::RgbImage::from_fn(640, 480, |x, y| image::Rgb([x as u8, y as u8, 7]));
    let patches = PictureConfig::published(&config.vision).patches(&picture)?;
    let seen = patches.grid.iter().product::<usize>() / 4;
    let mut ids: Vec<u32> = (10..90).collect();
    ids.extend(std::iter::repeat_n(config.image_token, seen));
    ids.extend(90..170);
    let prompt = Prompt { ids, pictures: vec![patches] };

    let lora = |name: &str| name.contains("language_model");
    let learning = device.clone().autodiff();
    let adapter = Adapter::new(model.layers(), lora, RANK, 2.0 * RANK as f64, 1, &learning);
    let mut learner = Learner::new(adapter, LearnerConfig::default());
    let seeds: Vec<u64> = (0..ANSWERS as u64).collect();
    let decode = |tokens: usize| -> Result<(f64, Vec<Vec<u32>>), QwenError> {
        let adapter = learner.adapter();
        let begun = Instant::now();
        let seen = model.see(&prompt, Some(&adapter))?;
        let embedded = model.embed(&prompt, seen)?;
        let sampler = SamplerConfig { max_tokens: tokens, ..SamplerConfig::default() };
        let answers = generate(&model, Some(&adapter), &embedded, &seeds, &[], &sampler)?;
        Ok((seconds(begun), answers.into_iter().map(|answer| answer.tokens).collect()))
    };
    decode(tokens)?;
    let (first, _) = decode(1)?;
    let (whole, answers) = decode(tokens)?;
    let rate = (ANSWERS * (tokens - 1)) as f64 / (whole - first).max(1e-9);
    println!(
        "{} prompt tokens, prefill and first token {first:.3} s; {ANSWERS} x {tokens} tokens in \
         {whole:.2} s, decoding {rate:.0} tokens/s",
        prompt.ids.len()
    );
    if let Some(bandwidth) = arguments.get(3) {
        let text = &config.text;
        let kv = 2 * text.layers * text.kv_heads * text.hidden / text.heads * 2;
        let context = prompt.ids.len() + ANSWERS * tokens / 2;
        let read = bytes as f64 + (kv * context) as f64;
        let bound = ANSWERS as f64 * bandwidth.parse::<f64>()? * 1e9 / read;
        println!("bound by bandwidth {bound:.0} tokens/s: {:.0} %", 100.0 * rate / bound);
    }

    let answers: Vec<&[u32]> = answers.iter().map(Vec::as_slice).collect();
    let advantages: Vec<f64> = (0..ANSWERS).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let group =
        Judged { prompt: &prompt, answers: &answers, advantages: &advantages, old_logp: None };
    for step in 0..3 {
        let begun = Instant::now();
        let metrics = learner.reinforce(&model, &[group], 1.0, &GrpoConfig::default(), 1e-5)?;
        println!(
            "step {step}: {:.2} s, loss {:.4}, gradient norm {:.3}",
            seconds(begun),
            metrics.loss,
            metrics.grad_norm
        );
    }
    match name {
        DeviceName::Cpu => println!("peak memory of the process {:.2} GB", own_peak_gb()),
        DeviceName::Cuda(_) => {
            println!("peak memory of the GPU {:.2} GB", peak.load(Ordering::Relaxed) as f64 * 1e-9);
        }
    }
    Ok(())
}

/// The most bytes that nvidia-smi shows as used, looked at five times a second; 0 without it.
fn watch_memory(device: DeviceName) -> Arc<AtomicU64> {
    let peak = Arc::new(AtomicU64::new(0));
    let DeviceName::Cuda(index) = device else { return peak };
    let shared = peak.clone();
    std::thread::spawn(move || {
        loop {
            let told = Command::new("nvidia-smi")
                .args(["--query-gpu=memory.used", "--format=csv,noheader,nounits", "-i"])
                .arg(index.to_string())
                .output();
            let Ok(told) = told else { return };
            let mib = String::from_utf8_lossy(&told.stdout).trim().parse::<u64>().unwrap_or(0);
            shared.fetch_max(mib << 20, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    peak
}

/// The most memory that this process held, GB.
fn own_peak_gb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    kib.unwrap_or(0.0) * 1024e-9
}

fn seconds(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64()
}

/// A shape that a processor can run.
fn tiny() -> QwenConfig {
    let mut config = qwen2_5_vl_3b();
    let (text, vision) = (&mut config.text, &mut config.vision);
    (text.layers, text.hidden, text.heads, text.kv_heads, text.intermediate) = (1, 256, 2, 1, 512);
    (vision.depth, vision.hidden, vision.heads, vision.intermediate) = (1, 160, 2, 320);
    (vision.out, vision.full_blocks) = (text.hidden, vec![0]);
    config
}

/// A model of these sizes with random weights, and how many bytes a token reads of it.
fn random(
    config: &QwenConfig,
    device: &Device,
    dtype: FloatDType,
) -> Result<(Model, usize), QwenError> {
    let mut rng = seed::rng(1);
    // Odd, so that the rows of a matrix differ.
    let block: Vec<f32> = (0..999_983).map(|_| rng.random::<f32>() * 0.06 - 0.03).collect();
    let half: Vec<bf16> = block.iter().map(|v| bf16::from_f32(*v)).collect();
    let mut bytes = 0;
    let mut source = |name: &str, shape: &[usize]| {
        let count = shape.iter().product::<usize>();
        let size = if dtype == FloatDType::BF16 { 2 } else { 4 };
        // Of the embedding one row is read; tied, it is the head as well.
        if !name.contains("visual") && (config.tied || !name.contains("embed_tokens")) {
            bytes += size * count;
        }
        if name.contains("norm") || name.contains("ln_q") {
            return Ok(TensorData::new(vec![1.0_f32; count], shape.to_vec()));
        }
        Ok(match dtype {
            FloatDType::BF16 => {
                TensorData::new(half.iter().copied().cycle().take(count).collect(), shape.to_vec())
            }
            _ => {
                TensorData::new(block.iter().copied().cycle().take(count).collect(), shape.to_vec())
            }
        })
    };
    let model = Model::load(config, &mut source, device.clone(), dtype)?;
    Ok((model, bytes))
}
