//! How much memory learning will take, told before the first step.
//!
//! Sampling and learning take turns, so the peak is the larger of the two. What is counted is
//! what [`generate`](mod@super::generate) and [`train`](super::train) keep: weights once, the
//! prompt's keys and values once for all answers, the input of every block, the inside of one
//! block at a time, logits for a few rows at a time.

use std::fmt;

use super::{
    QwenConfig,
    config::Tower,
    linear::LinearShape,
    text::{LOGIT_ROWS, STRIDE},
};

/// What is planned for.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// Bytes of one value of the frozen weights and of what flows through them: 2 or 4.
    pub value_bytes: u64,
    /// Rank of the adapter.
    pub rank: u64,
    /// Answers to each task.
    pub group: u64,
    /// Answers that go through the network at one time while learning.
    pub micro_batch: u64,
    /// Longest prompt in tokens, pictures included.
    pub prompt: u64,
    /// Longest answer in tokens.
    pub answer: u64,
    /// Patches of each picture of a prompt.
    pub patches: Vec<u64>,
}

impl Default for Work {
    /// One picture of 640x480 and five answers of 256 tokens with bfloat16 weights.
    fn default() -> Self {
        Work {
            value_bytes: 2,
            rank: 16,
            group: 5,
            micro_batch: 5,
            prompt: 391 + 350,
            answer: 256,
            patches: vec![46 * 34],
        }
    }
}

/// Memory of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub what: &'static str,
    /// Its size.
    pub bytes: u64,
}

/// What a run will need.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Values of the model that are frozen.
    pub parameters: u64,
    /// Values that learn.
    pub learning_parameters: u64,
    /// Keys and values of one token.
    pub kv_bytes_per_token: u64,
    /// There all the time.
    pub always: Vec<Part>,
    /// On top of it while answers are sampled.
    pub sampling: Vec<Part>,
    /// On top of it during an update.
    pub learning: Vec<Part>,
}

/// The run does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{work} needs {} but {} are available ({} of weights, {} while sampling, {} while learning): {way_out}",
    gb(*needed), gb(*available), gb(*weights), gb(*sampling), gb(*learning)
)]
pub struct DoesNotFit {
    /// `learning` or `answering`.
    pub work: &'static str,
    /// The peak, bytes.
    pub needed: u64,
    /// What there is, bytes.
    pub available: u64,
    /// The frozen weights, bytes.
    pub weights: u64,
    /// On top of what is there all the time, while sampling, bytes.
    pub sampling: u64,
    /// On top of what is there all the time, while learning, bytes.
    pub learning: u64,
    /// What would make it fit.
    pub way_out: String,
}

/// Bytes as a person reads them: GB are 10^9.
pub fn gb(bytes: u64) -> String {
    match bytes {
        0..10_000_000 => format!("{:.2} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

impl Plan {
    /// The plan for an adapter on the layers for which `target` is true.
    pub fn new(config: &QwenConfig, target: impl Fn(&str) -> bool, work: &Work) -> Self {
        let layers = linear_layers(config);
        let learns: Vec<&LinearShape> = layers.iter().filter(|l| target(&l.name)).collect();
        let tower_learns = learns.iter().any(|layer| layer.name.starts_with("model.visual."));
        let learning_parameters =
            learns.iter().map(|l| work.rank * (l.inputs + l.outputs) as u64).sum();
        let parameters = parameters(config, &layers);
        let text = &config.text;
        let kv_bytes_per_token =
            2 * (text.layers * text.kv_heads * text.head_dim()) as u64 * work.value_bytes;
        let part = |what, bytes| Part { what, bytes };
        Plan {
            parameters,
            learning_parameters,
            kv_bytes_per_token,
            always: vec![
                part("frozen weights", parameters * work.value_bytes),
                part("adapter", 4 * learning_parameters),
                part(OPTIMISER, 8 * learning_parameters),
            ],
            sampling: vec![
                part("keys and values", {
                    let answer = work.answer.next_multiple_of(STRIDE as u64);
                    kv_bytes_per_token * (work.prompt + work.group * answer)
                }),
                part("prefill", prefill(config, work)),
                part("sampler", 6 * 4 * work.group * text.vocabulary as u64),
            ],
            learning: vec![
                part("gradients", 2 * 4 * learning_parameters),
                part("inputs of the blocks", kept(config, work, tower_learns)),
                part("one block", one_block(config, work, tower_learns)),
                part("logits", 5 * 4 * (LOGIT_ROWS * text.vocabulary) as u64),
            ],
        }
    }

    /// There all the time, bytes.
    pub fn always_bytes(&self) -> u64 {
        total(&self.always)
    }

    /// The most that is needed at one time by a policy that answers and does not learn, bytes.
    pub fn answering_bytes(&self) -> u64 {
        let optimiser = self.always.iter().filter(|part| part.what == OPTIMISER);
        self.always_bytes() - optimiser.map(|part| part.bytes).sum::<u64>() + total(&self.sampling)
    }

    /// The most that is needed at one time, bytes.
    pub fn peak_bytes(&self) -> u64 {
        self.always_bytes() + total(&self.sampling).max(total(&self.learning))
    }
}

/// The plan for `work` if it fits into `available` bytes; otherwise that with the most answers
/// at one time that does. The gradient does not depend on how many that are.
///
/// # Errors
/// [`DoesNotFit`] when not even one answer at a time does.
pub fn fit(
    config: &QwenConfig,
    target: impl Fn(&str) -> bool,
    work: &Work,
    available: u64,
) -> Result<(Work, Plan), DoesNotFit> {
    let mut work = work.clone();
    work.micro_batch = work.micro_batch.clamp(1, work.group.max(1));
    loop {
        let plan = Plan::new(config, &target, &work);
        if plan.peak_bytes() <= available {
            return Ok((work, plan));
        }
        if work.micro_batch > 1 {
            work.micro_batch -= 1;
            continue;
        }
        let weights = plan.always.first().map_or(0, |part| part.bytes);
        let way_out = match available {
            _ if plan.always_bytes() >= available => {
                "the weights alone do not: take a smaller model, or the compact policy"
            }
            _ => "allow shorter answers, smaller pictures (max_pixels) or fewer answers a task",
        };
        return Err(DoesNotFit {
            work: "learning",
            needed: plan.peak_bytes(),
            available,
            weights,
            sampling: total(&plan.sampling),
            learning: total(&plan.learning),
            way_out: way_out.to_owned(),
        });
    }
}

/// The plan for `work` of a policy that answers and does not learn, if that fits into
/// `available` bytes.
///
/// # Errors
/// [`DoesNotFit`] when it does not.
pub fn fit_answering(
    config: &QwenConfig,
    target: impl Fn(&str) -> bool,
    work: &Work,
    available: u64,
) -> Result<Plan, DoesNotFit> {
    let plan = Plan::new(config, target, work);
    let weights = plan.always.first().map_or(0, |part| part.bytes);
    let needed = plan.answering_bytes();
    if needed <= available {
        return Ok(plan);
    }
    let way_out = match weights >= available {
        true => "the weights alone do not fit: take a smaller model, or the compact policy",
        false => "allow shorter answers or smaller pictures (max_pixels)",
    };
    Err(DoesNotFit {
        work: "answering",
        needed,
        available,
        weights,
        sampling: total(&plan.sampling),
        learning: 0,
        way_out: way_out.to_owned(),
    })
}

/// What AdamW keeps of each value that learns.
const OPTIMISER: &str = "optimiser";

fn total(parts: &[Part]) -> u64 {
    parts.iter().map(|part| part.bytes).sum()
}

/// Running a prompt without gradients: one block of the tower or of the language model.
fn prefill(config: &QwenConfig, work: &Work) -> u64 {
    let (text, vision) = (&config.text, &config.vision);
    let largest = work.patches.iter().copied().max().unwrap_or(0);
    let scores = |heads: usize, rows: u64, keys: u64| {
        heads as u64 * rows.min(QUERIES) * keys * (8 + work.value_bytes)
    };
    let rows = |rows: u64, hidden: usize, inner: usize| {
        rows * work.value_bytes * (6 * hidden + 3 * inner) as u64
    };
    let of_tower =
        rows(largest, vision.hidden, vision.intermediate) + scores(vision.heads, largest, largest);
    let of_text = rows(work.prompt, text.hidden, text.intermediate)
        + scores(text.heads, work.prompt, work.prompt);
    of_tower.max(of_text)
}

/// Queries whose scores exist at one time where no gradient is taken.
const QUERIES: u64 = 512;

/// The input of every block of one micro-batch.
fn kept(config: &QwenConfig, work: &Work, tower_learns: bool) -> u64 {
    let (text, vision) = (&config.text, &config.vision);
    let of_text = work.rows() * ((text.layers + 1) * text.hidden) as u64;
    let patches: u64 = work.patches.iter().sum();
    let of_tower = patches * ((vision.depth + 1) * vision.hidden) as u64;
    work.value_bytes * (of_text + if tower_learns { of_tower } else { 0 })
}

/// The inside of one block with what its backward pass needs.
fn one_block(config: &QwenConfig, work: &Work, tower_learns: bool) -> u64 {
    let (text, vision) = (&config.text, &config.vision);
    // Softmax in float32 and in the model's type, and the gradient of each.
    let of_score = 8 + 2 * work.value_bytes;
    let inside = |rows: u64, hidden: usize, inner: usize| {
        // Norms and rotations are in float32.
        rows * ((8 * hidden) as u64 * 4 + work.value_bytes * (8 * hidden + 7 * inner) as u64)
    };
    let answers = work.micro_batch * work.answer * (work.prompt + work.answer);
    let pairs = work.prompt * (work.prompt + QUERIES) / 2 + answers;
    let of_text =
        inside(work.rows(), text.hidden, text.intermediate) + text.heads as u64 * pairs * of_score;
    let largest = work.patches.iter().copied().max().unwrap_or(0);
    let of_tower = inside(largest, vision.hidden, vision.intermediate)
        + vision.heads as u64 * largest * largest * of_score;
    if tower_learns { of_text.max(of_tower) } else { of_text }
}

impl Work {
    /// Rows of one micro-batch: the prompt once, the answers behind it.
    fn rows(&self) -> u64 {
        self.prompt + self.micro_batch * self.answer
    }
}

/// Every linear layer that an adapter may touch, named as PEFT names it.
pub fn linear_layers(config: &QwenConfig) -> Vec<LinearShape> {
    let (text, vision) = (&config.text, &config.vision);
    let mut layers = Vec::new();
    let mut add = |name: String, inputs: usize, outputs: usize| {
        layers.push(LinearShape { name, inputs, outputs });
    };
    for i in 0..vision.depth {
        let at = |part: &str| format!("model.visual.blocks.{i}.{part}");
        add(at("attn.qkv"), vision.hidden, 3 * vision.hidden);
        add(at("attn.proj"), vision.hidden, vision.hidden);
        for &(name, down) in vision.tower.mlp() {
            let sides = [vision.hidden, vision.intermediate];
            add(at(&format!("mlp.{name}")), sides[usize::from(down)], sides[usize::from(!down)]);
        }
    }
    let merged = vision.hidden * vision.merge * vision.merge;
    add("model.visual.merger.mlp.0".to_owned(), merged, merged);
    add("model.visual.merger.mlp.2".to_owned(), merged, vision.out);
    let narrow = text.kv_heads * text.head_dim();
    for i in 0..text.layers {
        let at = |part: &str| format!("model.language_model.layers.{i}.{part}");
        for (name, outputs) in
            [("q", text.hidden), ("k", narrow), ("v", narrow), ("o", text.hidden)]
        {
            add(at(&format!("self_attn.{name}_proj")), text.hidden, outputs);
        }
        for &(name, down) in Tower::Qwen2_5.mlp() {
            let sides = [text.hidden, text.intermediate];
            add(at(&format!("mlp.{name}")), sides[usize::from(down)], sides[usize::from(!down)]);
        }
    }
    add("lm_head".to_owned(), text.hidden, text.vocabulary);
    layers
}

/// Values of the whole model.
fn parameters(config: &QwenConfig, layers: &[LinearShape]) -> u64 {
    let (text, vision) = (&config.text, &config.vision);
    let linear: usize = layers.iter().map(|layer| layer.inputs * layer.outputs).sum();
    let embedding = text.vocabulary * text.hidden;
    let tied = if config.tied { embedding } else { 0 };
    let patch = vision.channels * vision.temporal_patch * vision.patch * vision.patch;
    let of_tower = (2 * vision.depth + 1) * vision.hidden;
    let of_tower = if vision.tower == Tower::Qwen2 { 2 * of_tower } else { of_tower };
    let norms = of_tower + (2 * text.layers + 1) * text.hidden;
    let biases = layers.iter().filter(|layer| {
        let plain = ["o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"];
        layer.name.starts_with("model.visual.") || !plain.iter().any(|p| layer.name.ends_with(p))
    });
    let biases: usize = biases.map(|layer| layer.outputs).sum();
    (linear - tied + embedding + patch * vision.hidden + norms + biases) as u64
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut section = |name: &str, parts: &[Part]| {
            writeln!(f, "{name:<34} {:>9}", gb(total(parts)))?;
            parts
                .iter()
                .try_for_each(|part| writeln!(f, "  {:<32} {:>9}", part.what, gb(part.bytes)))
        };
        section("all the time", &self.always)?;
        section("while sampling, on top", &self.sampling)?;
        section("while learning, on top", &self.learning)?;
        writeln!(f, "{:<34} {:>9}", "peak", gb(self.peak_bytes()))?;
        let (all, learn) = (self.parameters as f64 / 1e6, self.learning_parameters as f64 / 1e6);
        write!(
            f,
            "{all:.0} M values, {learn:.1} M of them learn; keys and values {:.0} KiB a token",
            self.kv_bytes_per_token as f64 / 1024.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{super::published, *};

    fn linears(name: &str) -> bool {
        name.starts_with("model.language_model.")
    }

    fn near(got: u64, expected_gb: f64, part: f64) {
        let got = got as f64 / 1e9;
        assert!((got / expected_gb - 1.0).abs() <= part, "{got} GB, expected {expected_gb}");
    }

    #[test]
    fn qwen_plans_agree_with_the_published_sizes_and_the_budget() {
        for (config, parameters, weights, kv_kib, peak) in [
            (published::qwen2_5_vl_3b(), 3_754_622_976, 7.5, 36, 9.3),
            (published::qwen2_5_vl_7b(), 8_292_166_656, 16.6, 56, 19.1),
            (published::qwen2_vl_2b(), 2_208_985_600, 4.4, 28, 5.7),
        ] {
            let plan = Plan::new(&config, linears, &Work::default());
            assert_eq!(plan.parameters, parameters);
            assert_eq!(plan.kv_bytes_per_token, kv_kib * 1024);
            near(plan.always[0].bytes, weights, 0.01);
            near(plan.peak_bytes(), peak, 0.06);
        }
    }

    #[test]
    fn qwen_a_plan_that_does_not_fit_gives_up_answers_at_a_time_and_then_says_why() {
        let config = published::qwen2_5_vl_3b();
        let work = Work { group: 8, micro_batch: 8, answer: 2048, ..Work::default() };
        let (fitted, plan) = fit(&config, linears, &work, 14_100_000_000).unwrap();
        assert!(fitted.micro_batch < 8 && plan.peak_bytes() <= 14_100_000_000);
        let whole = Plan::new(&config, linears, &work);
        assert!(whole.peak_bytes() > 14_100_000_000);
        let error = fit(&config, linears, &work, 8_000_000_000).unwrap_err();
        assert_eq!(error.available, 8_000_000_000);
        assert!(error.to_string().contains("8.00 GB are available"), "{error}");
        let error = fit(&config, linears, &work, 4_000_000_000).unwrap_err();
        assert!(error.to_string().contains("weights alone"), "{error}");
    }

    #[test]
    fn qwen_answering_needs_less_than_learning_and_is_refused_with_its_own_numbers() {
        let config = published::qwen2_5_vl_3b();
        let work = Work { group: 1, micro_batch: 1, ..Work::default() };
        let plan = fit_answering(&config, linears, &work, u64::MAX).unwrap();
        let optimiser = 8 * plan.learning_parameters;
        assert!(plan.answering_bytes() <= plan.peak_bytes() - optimiser);
        assert!(plan.answering_bytes() > plan.always[0].bytes);
        let just = plan.answering_bytes();
        assert!(fit_answering(&config, linears, &work, just).is_ok());
        let error = fit_answering(&config, linears, &work, just - 1).unwrap_err();
        assert_eq!((error.needed, error.available), (just, just - 1));
        assert!(error.to_string().starts_with("answering needs"), "{error}");
    }
}
