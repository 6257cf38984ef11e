//! Qwen2.5-VL as a [`Policy`]: a task's pictures and words go in, a text comes out, and the
//! text's reward teaches the adapter.

use std::{path::Path, sync::Arc};

use burn::tensor::{Device, FloatDType};
use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::{
    QwenConfig, QwenError,
    config::GenerationConfig,
    generate::{Completion, SamplerConfig, generate},
    learn::{Example, Judged, Learner, LearnerConfig},
    linear::Adapter,
    model::{Model, Prompt},
    processor::{Processor, ProcessorConfig, ProcessorError},
};
use crate::{
    frame::RgbdFrame,
    grpo::{GrpoConfig, GrpoMetrics, UpdateSkip},
    policy::{Group, Policy, Response, Rewarded},
    reward::{RewardWeights, Score, boxed, parse_answer, score_text},
    task::{Answer, Question, Task, draw::Painter, seed},
};

/// Which layers learn, and how large their matrices are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// Rank of the matrices.
    pub rank: usize,
    /// The product is multiplied by `alpha / rank`.
    pub alpha: f64,
    /// Layers by the last part of their name, such as `q_proj`.
    pub targets: Vec<String>,
    /// Whether layers of the vision tower with such a name learn as well.
    pub vision: bool,
}

impl Default for LoraConfig {
    fn default() -> Self {
        let targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
        LoraConfig { rank: 16, alpha: 32.0, targets: targets.map(Into::into).into(), vision: false }
    }
}

impl LoraConfig {
    /// Whether the layer of that name learns.
    pub fn targets(&self, layer: &str) -> bool {
        let last = layer.rsplit('.').next().unwrap_or(layer);
        (self.vision || !layer.starts_with("model.visual."))
            && self.targets.iter().any(|t| t == last || layer.ends_with(&format!(".{t}")))
    }
}

/// Everything about the policy that is not in its checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QwenPolicyConfig {
    /// How questions are put.
    pub processor: ProcessorConfig,
    /// How answers are drawn.
    pub sampler: SamplerConfig,
    /// Which layers learn.
    pub lora: LoraConfig,
    /// How they learn.
    pub learner: LearnerConfig,
    /// What a text earns.
    pub reward: RewardWeights,
}

/// What the policy keeps of a task: its words, and its pictures no larger than the model
/// sees them.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Width and height of the frame, in pixels.
    pub picture_size: (u32, u32),
    /// What is asked.
    pub question: Question,
    /// The question in words.
    pub text: String,
    /// The pictures in their order.
    pub pictures: Vec<RgbImage>,
}

/// A frozen Qwen2.5-VL and the adapter that learns beside it.
pub struct QwenPolicy {
    config: QwenPolicyConfig,
    model: Arc<Model>,
    processor: Arc<Processor>,
    learner: Learner,
    stop: Vec<u32>,
}

impl QwenPolicy {
    /// Opens a checkpoint folder; the adapter changes nothing yet. The weights are kept in
    /// `dtype` on `device`.
    ///
    /// # Errors
    /// What is missing, damaged or does not fit in the folder.
    pub fn open(
        folder: &Path,
        config: QwenPolicyConfig,
        run_seed: u64,
        device: &Device,
        dtype: FloatDType,
    ) -> Result<Self, QwenError> {
        let sizes = QwenConfig::read(folder)?;
        let processor = Processor::read(folder, &sizes, config.processor.clone())?;
        let stop = GenerationConfig::read(folder, &sizes)?.stop;
        let model = Model::open(folder, &sizes, device.clone(), dtype)?;
        Self::new(config, Arc::new(model), Arc::new(processor), stop, run_seed, device)
    }

    /// A policy of parts that are already there; `stop` are the tokens that end an answer.
    ///
    /// # Errors
    /// [`QwenError::Sampler`] or [`QwenError::Lora`] for settings that cannot be used.
    pub fn new(
        config: QwenPolicyConfig,
        model: Arc<Model>,
        processor: Arc<Processor>,
        stop: Vec<u32>,
        run_seed: u64,
        device: &Device,
    ) -> Result<Self, QwenError> {
        config.sampler.validate()?;
        let lora = &config.lora;
        let (rank, alpha) = (lora.rank, lora.alpha);
        let adapter = Adapter::new(
            model.layers(),
            |name| lora.targets(name),
            rank,
            alpha,
            run_seed,
            &device.clone().autodiff(),
        );
        let sound = (1..=1024).contains(&rank) && alpha.is_finite();
        if !sound || adapter.pairs().next().is_none() {
            return Err(QwenError::Lora { rank, alpha, targets: lora.targets.clone() });
        }
        let learner = Learner::new(adapter, config.learner.clone());
        Ok(QwenPolicy { config, model, processor, learner, stop })
    }

    /// The settings.
    pub fn config(&self) -> &QwenPolicyConfig {
        &self.config
    }

    /// The frozen network.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// What makes prompts and reads answers.
    pub fn processor(&self) -> &Arc<Processor> {
        &self.processor
    }

    /// The adapter as it is now, without autodiff.
    pub fn adapter(&self) -> Adapter {
        self.learner.adapter()
    }

    /// Goes on with another adapter and forgets the optimiser's state.
    pub fn take_adapter(&mut self, adapter: &Adapter) {
        self.learner.take(adapter);
    }

    /// The optimiser's state.
    ///
    /// # Errors
    /// [`QwenError::Device`] when it cannot be encoded.
    pub fn optimizer_bytes(&self) -> Result<Vec<u8>, QwenError> {
        self.learner.optimizer_bytes()
    }

    /// Goes on with the adapter that it has and this state of the optimiser.
    ///
    /// # Errors
    /// [`QwenError::Device`] when it is damaged.
    pub fn resume(&mut self, optimizer_bytes: Vec<u8>) -> Result<(), QwenError> {
        self.learner.resume(optimizer_bytes)
    }

    fn prompt(&self, observation: &Observation) -> Result<Prompt, QwenError> {
        Ok(self.processor.prompt(&observation.pictures, &observation.text)?)
    }

    /// Samples answers of `adapter` to one task, one for each seed.
    fn ask(
        &self,
        adapter: &Adapter,
        observation: &Observation,
        seeds: &[u64],
        sampler: &SamplerConfig,
    ) -> Result<Vec<Completion>, QwenError> {
        self.answers(adapter, &self.prompt(observation)?, seeds, sampler)
    }

    fn answers(
        &self,
        adapter: &Adapter,
        prompt: &Prompt,
        seeds: &[u64],
        sampler: &SamplerConfig,
    ) -> Result<Vec<Completion>, QwenError> {
        let seen = self.model.see(prompt, Some(adapter))?;
        let embedded = self.model.embed(prompt, seen)?;
        generate(&self.model, Some(adapter), &embedded, seeds, &self.stop, sampler)
    }

    /// The most probable answer to words about pictures.
    ///
    /// # Errors
    /// When the prompt is too long, or the model fails.
    pub fn say(&self, pictures: &[RgbImage], text: &str) -> Result<String, QwenError> {
        let prompt = self.processor.prompt(pictures, text)?;
        let said = self.answers(&self.adapter(), &prompt, &[0], &self.config.sampler.greedy())?;
        let tokens = said.first().map_or(&[][..], |said| &said.tokens);
        Ok(self.processor.decode(tokens)?)
    }

    /// One supervised step of a cold start on tasks and the texts that answer them; gives the
    /// mean cross-entropy of a token before it, nats.
    ///
    /// # Errors
    /// Why nothing was learnt.
    pub fn teach(
        &mut self,
        examples: &[(&Observation, &str)],
        learning_rate: f64,
    ) -> Result<f64, UpdateSkip> {
        let examples: Vec<Example> = examples
            .iter()
            .map(|(observation, text)| {
                let answer = self.processor.answer(text).map_err(QwenError::from)?;
                Ok(Example { prompt: self.prompt(observation)?, answer })
            })
            .collect::<Result<_, QwenError>>()?;
        let examples: Vec<&Example> = examples.iter().collect();
        self.learner.supervise(&self.model, &examples, learning_rate)
    }
}

impl Policy for QwenPolicy {
    type Observation = Observation;
    type Error = QwenError;

    fn observe(&self, frame: &RgbdFrame, tasks: &[Task]) -> Result<Vec<Observation>, QwenError> {
        let mut painter = Painter::default();
        let pictures = self.processor.picture_config();
        let observe = |task: &Task| {
            let drawn = painter.pictures(task, frame)?;
            let shrunk = drawn.iter().map(|picture| pictures.resize(picture));
            Ok(Observation {
                picture_size: task.picture_size,
                question: task.question.clone(),
                text: task.prompt(),
                pictures: shrunk.collect::<Result<_, _>>().map_err(ProcessorError::from)?,
            })
        };
        tasks.iter().map(observe).collect()
    }

    fn rollout(
        &self,
        observations: &[&Observation],
        group_size: usize,
        run_seed: u64,
    ) -> Result<Vec<Group>, QwenError> {
        let adapter = self.adapter();
        let group = |(i, observation): (usize, &&Observation)| {
            let own = seed::mix(run_seed, i as u64);
            let seeds: Vec<u64> = (0..group_size as u64).map(|j| seed::mix(own, j)).collect();
            let sampled = self.ask(&adapter, observation, &seeds, &self.config.sampler)?;
            let responses: Vec<Response> = sampled
                .into_iter()
                .map(|Completion { tokens, logp, .. }| {
                    Ok(Response { text: self.processor.decode(&tokens)?, tokens, logp })
                })
                .collect::<Result<_, QwenError>>()?;
            let logp: Vec<f32> = responses.iter().map(|r| r.logp.iter().sum()).collect();
            let entropy = -logp.iter().sum::<f32>() / logp.len().max(1) as f32;
            Ok(Group { answers: Vec::new(), logp, entropy, noise: 0, responses })
        };
        observations.iter().enumerate().map(group).collect()
    }

    fn best(&self, observations: &[&Observation]) -> Result<Vec<(Option<Answer>, f32)>, QwenError> {
        let adapter = self.adapter();
        let sampler = self.config.sampler.greedy();
        let best = |observation: &&Observation| {
            let sampled = self.ask(&adapter, observation, &[0], &sampler)?;
            let Some(completion) = sampled.first() else { return Ok((None, 0.0)) };
            let text = self.processor.decode(&completion.tokens)?;
            let answer = boxed(&text).and_then(|said| parse_answer(&said, &observation.question));
            Ok((answer, completion.logp.iter().sum::<f32>().exp()))
        };
        observations.iter().map(best).collect()
    }

    fn scores(&self, group: &Group, right: &Answer) -> Vec<Score> {
        let right = right.to_string();
        let score = |r: &Response| score_text(&r.text, &right, self.config.reward);
        group.responses.iter().map(score).collect()
    }

    fn update(
        &mut self,
        groups: &[Rewarded<'_, Observation>],
        config: &GrpoConfig,
        learning_rate: f64,
    ) -> Result<GrpoMetrics, UpdateSkip> {
        let prompts: Vec<Prompt> =
            groups.iter().map(|g| self.prompt(g.observation)).collect::<Result<_, _>>()?;
        let answers: Vec<Vec<&[u32]>> = groups
            .iter()
            .map(|g| g.group.responses.iter().map(|r| r.tokens.as_slice()).collect())
            .collect();
        let judged: Vec<Judged<'_>> = prompts
            .iter()
            .zip(&answers)
            .zip(groups)
            .map(|((prompt, answers), group)| Judged {
                prompt,
                answers,
                advantages: &group.advantages,
                // The policy that learns is the one that sampled.
                old_logp: None,
            })
            .collect();
        let temperature = self.config.sampler.logp_temperature();
        self.learner.reinforce(&self.model, &judged, temperature, config, learning_rate)
    }
}
