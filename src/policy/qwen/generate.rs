//! Sampling: the prompt runs once for all answers of a task, and each answer draws from a
//! seed of its own, so that an answer is the same whether it is sampled alone or in a group.

use burn::{
    Tensor,
    tensor::{FloatDType, Int, TensorData, activation},
};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::{
    QwenError,
    linear::Adapter,
    model::{Embedded, Model},
    text::Text,
};
use crate::task::seed;

/// How answers are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplerConfig {
    /// Logits are divided by it; 0 takes the most probable token. Published: 1.
    pub temperature: f64,
    /// The most probable tokens that together have this probability are drawn from.
    /// Published: 1.
    pub top_p: f64,
    /// Longest answer in tokens.
    pub max_tokens: usize,
    /// Longest prompt and answer together, by which the memory for keys and values is bounded.
    pub max_context: usize,
}

impl Default for SamplerConfig {
    fn default() -> Self {
        SamplerConfig { temperature: 1.0, top_p: 1.0, max_tokens: 256, max_context: 4096 }
    }
}

impl SamplerConfig {
    /// The same for evaluation: the most probable token each time.
    pub fn greedy(&self) -> Self {
        SamplerConfig { temperature: 0.0, top_p: 1.0, ..self.clone() }
    }

    /// Refuses settings with which nothing can be drawn.
    ///
    /// # Errors
    /// [`QwenError::Sampler`] with the first setting out of range.
    pub fn validate(&self) -> Result<(), QwenError> {
        let within = |key, value: f64, range, sound: bool| match sound {
            true => Ok(()),
            false => Err(QwenError::Sampler { key, value, range }),
        };
        let (t, p) = (self.temperature, self.top_p);
        within("temperature", t, "0 to 100", (0.0..=100.0).contains(&t))?;
        within("top_p", p, "more than 0, at most 1", p > 0.0 && p <= 1.0)?;
        let max = self.max_tokens;
        within("max_tokens", max as f64, "1 to 65536", (1..=65_536).contains(&max))
    }

    /// The temperature at which log-probabilities are taken.
    pub fn logp_temperature(&self) -> f64 {
        if self.temperature > 0.0 { self.temperature } else { 1.0 }
    }
}

/// One sampled answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// Its tokens, the stop token included.
    pub tokens: Vec<u32>,
    /// Log-probability of each under the whole distribution at the sampler's temperature, nats.
    pub logp: Vec<f32>,
    /// Whether it came to a stop token before its longest length.
    pub stopped: bool,
}

/// One answer for each seed.
///
/// # Errors
/// When the settings are out of range, or prompt and answer are too long.
pub fn generate(
    model: &Model,
    adapter: Option<&Adapter>,
    prompt: &Embedded,
    seeds: &[u64],
    stop: &[u32],
    config: &SamplerConfig,
) -> Result<Vec<Completion>, QwenError> {
    config.validate()?;
    let length = prompt.positions.len();
    if length + config.max_tokens > config.max_context {
        let limit = config.max_context;
        return Err(QwenError::TooLong { prompt: length, answer: config.max_tokens, limit });
    }
    let answers = seeds.len();
    if answers == 0 {
        return Ok(Vec::new());
    }
    let text = &model.text;
    let (hidden, keys_values) = model.prefill(prompt, adapter);
    let mut own = text.own_cache(answers, config.max_tokens);
    let mut rngs: Vec<seed::Rng> = seeds.iter().map(|&seed| seed::rng(seed)).collect();
    let empty = Completion { tokens: Vec::new(), logp: Vec::new(), stopped: false };
    let mut completions = vec![empty; answers];
    let mut logits = text.logits(hidden.narrow(0, length - 1, 1), adapter).repeat_dim(0, answers);
    for step in 0..config.max_tokens {
        let uniform: Vec<f32> = rngs.iter_mut().map(|rng| rng.random()).collect();
        let drawn = draw(logits, &uniform, config, text)?;
        for (completion, &(token, logp)) in completions.iter_mut().zip(&drawn) {
            if !completion.stopped {
                completion.tokens.push(token);
                completion.logp.push(logp);
                completion.stopped = stop.contains(&token);
            }
        }
        if step + 1 == config.max_tokens || completions.iter().all(|c| c.stopped) {
            break;
        }
        // Answers that have stopped go along, unheard, until the last one stops.
        let tokens: Vec<u32> = drawn.iter().map(|(token, _)| *token).collect();
        let x = text.embed(&tokens)?;
        let x = text.next(x, &keys_values, prompt.next, &mut own, adapter);
        logits = text.logits(x, adapter);
    }
    Ok(completions)
}

/// A token for each row of logits `[answers, vocabulary]`, with its log-probability. Everything
/// but the uniform numbers happens on the device, and is read back at once.
fn draw(
    logits: Tensor<2>,
    uniform: &[f32],
    config: &SamplerConfig,
    text: &Text,
) -> Result<Vec<(u32, f32)>, QwenError> {
    let [answers, vocabulary] = logits.dims();
    let logp = activation::log_softmax(logits.div_scalar(config.logp_temperature()), 1);
    let index: Tensor<2, Int> = if config.temperature == 0.0 {
        logp.clone().argmax(1)
    } else {
        let p = nucleus(logp.clone().exp(), config.top_p);
        // Never the whole of it, lest rounding ends behind the last token that has any.
        let below_one = 1.0 - f32::EPSILON * 8.0;
        let uniform: Vec<f32> = uniform.iter().map(|u| u.min(below_one)).collect();
        let uniform = TensorData::new(uniform, [answers, 1]);
        let uniform = Tensor::<2>::from_data(uniform, (text.device(), FloatDType::F32.into()));
        let sums = p.cumsum(1);
        let passed = sums.clone().narrow(1, vocabulary - 1, 1) * uniform;
        let before = sums.lower_equal(passed).int().sum_dim(1);
        before.clamp_max(vocabulary as i64 - 1)
    };
    let logp = logp.gather(1, index.clone());
    // Token numbers are exact in float32 up to 2^24.
    let both = Tensor::cat(vec![index.float().cast(FloatDType::F32), logp], 1);
    let both =
        both.try_into_vec_as::<f32>().map_err(|error| QwenError::Device(error.to_string()))?;
    Ok(both.chunks_exact(2).map(|pair| (pair[0] as u32, pair[1])).collect())
}

/// Zeroes what does not belong to the smallest set of most probable tokens that has `top_p`
/// together (Holtzman et al. 2019). The least probability in it is found by halving, so that
/// nothing is sorted.
fn nucleus(p: Tensor<2>, top_p: f64) -> Tensor<2> {
    /// Enough for the steps of float32 between the highest probability and zero.
    const HALVINGS: usize = 40;
    if top_p >= 1.0 {
        return p;
    }
    // At `low` the set has enough, at `high` it may not.
    let mut high = p.clone().max_dim(1);
    let mut low = high.zeros_like();
    for _ in 0..HALVINGS {
        let middle = (low.clone() + high.clone()).mul_scalar(0.5);
        let sum = kept(&p, middle.clone()).sum_dim(1);
        let enough = sum.greater_equal_scalar(top_p);
        low = low.mask_where(enough.clone(), middle.clone());
        high = middle.mask_where(enough, high);
    }
    kept(&p, low)
}

/// What is at least `least`, `[rows, 1]`; zero elsewhere.
fn kept(p: &Tensor<2>, least: Tensor<2>) -> Tensor<2> {
    let low = p.clone().lower(least.expand(p.dims()));
    p.clone().mask_fill(low, 0.0)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn qwen_the_nucleus_is_the_smallest_set_that_has_enough() {
        let p = Tensor::<2>::from_floats(
            [[0.1, 0.4, 0.2, 0.3], [0.97, 0.01, 0.01, 0.01]],
            &Device::flex(),
        );
        for (top_p, expected) in [
            (0.35, [0.0, 0.4, 0.0, 0.0, 0.97, 0.0, 0.0, 0.0]),
            (0.65, [0.0, 0.4, 0.0, 0.3, 0.97, 0.0, 0.0, 0.0]),
            (0.85, [0.0, 0.4, 0.2, 0.3, 0.97, 0.0, 0.0, 0.0]),
            (0.975, [0.1, 0.4, 0.2, 0.3, 0.97, 0.01, 0.01, 0.01]),
        ] {
            let got = nucleus(p.clone(), top_p).into_data();
            assert_eq!(got.as_slice::<f32>().unwrap(), expected, "{top_p}");
        }
    }
}
