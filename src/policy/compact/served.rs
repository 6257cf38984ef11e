//! A promoted policy as it is served: an exported ONNX file run by tract, and nothing else.
//! It cannot learn, it cannot change, and any number of threads may ask it.

use std::{borrow::Cow, sync::Arc};

use half::f16;
use prost::Message;
use tract_onnx::{
    pb::ModelProto,
    prelude::{
        Framework, InferenceModelExt, IntoRunnable, Tensor, TractError, TypedRunnableModel, tvec,
    },
};

use super::{
    CompactPolicy,
    answers::{Asked, Pairs, Said},
    encoder::{Encoder, EncoderConfig, EncoderError},
    head::{HeadShape, PATCH_SAYS},
    observe::{Observation, ObserveError, Observer},
    onnx::{self, Description, OnnxError},
};
use crate::{
    frame::RgbdFrame,
    task::{Answer, Pixel, Task},
};

/// More at once gains nothing and costs memory.
const CHUNK: usize = 32;

/// Why a policy cannot be served or does not answer.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The file.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// The encoder.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// A task does not fit its frame.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// A part of the head does not run.
    #[error("the head's part {part} does not run: {why}")]
    Part {
        /// Its output.
        part: &'static str,
        /// What tract says.
        why: String,
    },
    /// The head does not fit the encoder, or one of them is empty.
    #[error("the head takes {head} {what}, the encoder gives {encoder}")]
    Sizes {
        /// Which values.
        what: &'static str,
        /// As many as the head takes.
        head: usize,
        /// As many as the encoder gives.
        encoder: usize,
    },
    /// An observation that another policy made, or nobody.
    #[error("observation {at} does not suit this policy: {why}")]
    Observation {
        /// Which of those that were given.
        at: usize,
        /// What is wrong with it.
        why: String,
    },
}

/// One part of the head, for any number of rows.
struct Part {
    name: &'static str,
    run: Arc<TypedRunnableModel>,
    /// Dimensions of each input after the rows.
    inputs: Vec<Vec<usize>>,
    /// Values that a row of the output has.
    width: usize,
}

impl Part {
    fn load(
        model: &ModelProto,
        name: &'static str,
        inputs: &[(&str, Vec<usize>)],
        width: usize,
    ) -> Result<Self, ServeError> {
        let names: Vec<&str> = inputs.iter().map(|(name, _)| *name).collect();
        let run = runnable(model, &names, name)?;
        let inputs = inputs.iter().map(|(_, dims)| dims.clone()).collect();
        let part = Part { name, run, inputs, width };
        // Some zeros prove that it runs and gives what is expected.
        const ROWS: usize = 2;
        let zeros: Vec<Vec<f32>> = part
            .inputs
            .iter()
            .map(|dims| vec![0.0; ROWS * dims.iter().product::<usize>()])
            .collect();
        let zeros: Vec<&[f32]> = zeros.iter().map(Vec::as_slice).collect();
        part.run(ROWS, &zeros)?;
        Ok(part)
    }

    /// `rows` rows of each input to `[rows, width]`.
    fn run(&self, rows: usize, inputs: &[&[f32]]) -> Result<Vec<f32>, ServeError> {
        if rows == 0 {
            return Ok(Vec::new());
        }
        let mut tensors = tvec!();
        for (values, dims) in inputs.iter().zip(&self.inputs) {
            let shape: Vec<usize> = [rows].iter().chain(dims).copied().collect();
            let tensor = Tensor::from_shape(&shape, values).map_err(|e| failed(self.name, &e))?;
            tensors.push(tensor.into());
        }
        let outputs = self.run.run(tensors).map_err(|e| failed(self.name, &e))?;
        let values = match outputs.first() {
            Some(output) => output
                .to_plain_array_view::<f32>()
                .map_err(|e| failed(self.name, &e))?
                .iter()
                .copied()
                .collect(),
            None => Vec::new(),
        };
        if values.len() != rows * self.width {
            let why = format!("{} values where {} are due", values.len(), rows * self.width);
            return Err(ServeError::Part { part: self.name, why });
        }
        Ok(values)
    }

    fn run_pairs(&self, pairs: &Pairs) -> Result<Vec<f32>, ServeError> {
        let inputs: [&[f32]; 4] =
            [&pairs.first, &pairs.second, &pairs.first_seen, &pairs.second_seen];
        self.run(pairs.first_seen.len(), &inputs)
    }
}

fn failed(part: &'static str, error: &TractError) -> ServeError {
    ServeError::Part { part, why: format!("{error:#}") }
}

/// A policy that only answers.
///
/// ```
/// use burn::tensor::Device;
/// use spatial_ssrl::{
///     frame::SensorModel,
///     policy::compact::{CompactPolicy, served::Served},
///     source::{self, SourceOptions},
///     task::{PreparedFrame, Preset, TaskSet},
///     tally::Tally,
/// };
/// let served = Served::from_policy(&CompactPolicy::builtin(Device::flex())?)?;
///
/// let mut room = source::open("room:frames=1", &SourceOptions::default())?;
/// let frame = room.next_frame()?.ok_or("no frame")?;
/// let prepared = PreparedFrame::new(&frame, SensorModel::default());
/// let tasks = TaskSet::new(Preset::Balanced).make_all(&prepared, 1, 0, &mut Tally::default());
/// let observations = served.observe(&frame, &tasks)?;
/// for (answer, probability) in served.best(&observations.iter().collect::<Vec<_>>())? {
///     println!("{answer} with {:.0} %", 100.0 * probability);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Served {
    description: Description,
    encoder: Arc<Encoder>,
    farness: Part,
    beside: Part,
    above: Part,
    patch_says: Part,
    order_sharpness: f32,
    farness_spread: f32,
}

impl Served {
    /// Reads the bytes that [`onnx::export`] wrote.
    ///
    /// # Errors
    /// [`ServeError`]; a file that is not ours is refused with what it lacks.
    pub fn from_onnx(bytes: &[u8]) -> Result<Self, ServeError> {
        Self::load(bytes, None)
    }

    /// What the policy is at this moment, through the bytes of its ONNX file.
    ///
    /// # Errors
    /// As [`onnx::export`] and [`Served::from_onnx`].
    pub fn from_policy(policy: &CompactPolicy) -> Result<Self, ServeError> {
        Self::from_onnx(&onnx::export(policy)?.bytes)
    }

    /// Reads the bytes of a file that takes the place of this policy. An encoder that both
    /// have, byte by byte, is not prepared again.
    ///
    /// # Errors
    /// As [`Served::from_onnx`].
    pub fn successor(&self, bytes: &[u8]) -> Result<Self, ServeError> {
        Self::load(bytes, Some(&self.encoder))
    }

    fn load(bytes: &[u8], known: Option<&Arc<Encoder>>) -> Result<Self, ServeError> {
        let model = ModelProto::decode(bytes).map_err(|e| OnnxError::Damaged(e.to_string()))?;
        let description = Description::of(&model)?;
        let encoder = encoder(&model, &description.encoder, known)?;
        let sizes = description.head.clone();
        for (what, head, encoder) in [
            ("values at a place of a border", sizes.border_channels, encoder.border_channels()),
            ("places along a border", sizes.border_places, description.encoder.border_places),
            ("values of a context", sizes.context_channels, encoder.context_channels()),
            ("values at a point", sizes.point_channels, encoder.point_channels()),
        ] {
            if head != encoder || head == 0 {
                return Err(ServeError::Sizes { what, head, encoder });
            }
        }
        let border = vec![sizes.border_places, sizes.border_channels];
        let pair = [
            ("border_first", border.clone()),
            ("border_second", border),
            ("first_seen", Vec::new()),
            ("second_seen", Vec::new()),
        ];
        let point = [("point_features", vec![sizes.point_channels])];
        let patch = [("patch_context", vec![sizes.context_channels])];
        Ok(Served {
            farness: Part::load(&model, "farness", &point, 1)?,
            beside: Part::load(&model, "beside", &pair, 1)?,
            above: Part::load(&model, "above", &pair, 1)?,
            patch_says: Part::load(&model, "patch_says", &patch, PATCH_SAYS)?,
            order_sharpness: constant(&model, "order_sharpness")?,
            farness_spread: constant(&model, "farness_spread")?,
            encoder,
            description,
        })
    }

    /// What the file says about itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The encoder, to be shared with threads that observe.
    pub fn encoder(&self) -> &Arc<Encoder> {
        &self.encoder
    }

    /// The inverse temperature of orders.
    pub fn order_sharpness(&self) -> f32 {
        self.order_sharpness
    }

    /// The standard deviation of a difference of two farness scores, in units of log depth.
    pub fn farness_spread(&self) -> f32 {
        self.farness_spread
    }

    /// Sizes of the head.
    fn sizes(&self) -> &HeadShape {
        &self.description.head
    }

    /// Observes tasks that were all made from `frame`.
    ///
    /// # Errors
    /// [`ServeError::Observe`] when the tasks do not fit the frame or the encoder fails.
    pub fn observe(
        &self,
        frame: &RgbdFrame,
        tasks: &[Task],
    ) -> Result<Vec<Observation>, ServeError> {
        let mut observer = Observer::new(&self.encoder, frame);
        tasks.iter().map(|task| Ok(observer.observe(task)?)).collect()
    }

    /// Log-probability of every candidate answer to every task, in the order of
    /// [`crate::task::Question::candidates`].
    ///
    /// # Errors
    /// [`ServeError::Observation`] for one that does not suit this policy,
    /// [`ServeError::Part`] when tract fails.
    pub fn log_probabilities(
        &self,
        observations: &[&Observation],
    ) -> Result<Vec<Vec<f32>>, ServeError> {
        let mut all = Vec::with_capacity(observations.len());
        for chunk in observations.chunks(CHUNK) {
            let mut asked = Asked::default();
            for (i, observation) in chunk.iter().enumerate() {
                asked
                    .push(self.sizes(), observation)
                    .map_err(|why| ServeError::Observation { at: all.len() + i, why })?;
            }
            let said = Said {
                farness: &self.run_points(&asked.points)?,
                beside: &self.beside.run_pairs(&asked.beside)?,
                above: &self.above.run_pairs(&asked.above)?,
                patches: &self
                    .patch_says
                    .run(asked.patches.len() / self.sizes().context_channels, &[&asked.patches])?,
                order_sharpness: self.order_sharpness,
                farness_spread: self.farness_spread,
            };
            let answers = chunk.iter().enumerate();
            all.extend(
                answers.map(|(i, observation)| asked.log_probabilities(i, observation, &said)),
            );
        }
        Ok(all)
    }

    /// The most probable answer to each task with its probability.
    ///
    /// # Errors
    /// As [`Served::log_probabilities`].
    pub fn best(&self, observations: &[&Observation]) -> Result<Vec<(Answer, f32)>, ServeError> {
        let all = self.log_probabilities(observations)?;
        let best = observations.iter().zip(all).map(|(observation, logp)| {
            let at = (0..logp.len()).max_by(|&a, &b| logp[a].total_cmp(&logp[b])).unwrap_or(0);
            (observation.question.candidates()[at].clone(), logp[at].exp())
        });
        Ok(best.collect())
    }

    /// How far points are by their features, `[points, channels]`, as [`Observer::points`]
    /// gives them: in units of log depth, up to one offset a picture.
    ///
    /// # Errors
    /// [`ServeError::Observation`] naming a point with another number of values,
    /// [`ServeError::Part`] when tract fails.
    pub fn farness(&self, points: &[Vec<f16>]) -> Result<Vec<f32>, ServeError> {
        let channels = self.sizes().point_channels;
        if let Some(at) = points.iter().position(|point| point.len() != channels) {
            let why = format!("{} values at a point, {channels} are needed", points[at].len());
            return Err(ServeError::Observation { at, why });
        }
        let mut all = Vec::with_capacity(points.len());
        for chunk in points.chunks(8 * CHUNK) {
            let values: Vec<f32> = chunk.iter().flatten().map(|value| value.to_f32()).collect();
            all.extend(self.run_points(&values)?);
        }
        Ok(all)
    }

    /// How far points of a colour picture are: in units of log depth, up to one offset a
    /// picture. Depth is not looked at.
    ///
    /// # Errors
    /// As [`Served::observe`] and [`Served::farness`].
    pub fn farness_at(&self, frame: &RgbdFrame, points: &[Pixel]) -> Result<Vec<f32>, ServeError> {
        self.farness(&Observer::new(&self.encoder, frame).points(points)?)
    }

    fn run_points(&self, values: &[f32]) -> Result<Vec<f32>, ServeError> {
        self.farness.run(values.len() / self.sizes().point_channels, &[values])
    }
}

/// The encoder that is part of the model: from 0..255 to feature maps.
fn encoder(
    model: &ModelProto,
    config: &EncoderConfig,
    known: Option<&Arc<Encoder>>,
) -> Result<Arc<Encoder>, ServeError> {
    let outputs = config.outputs();
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let bytes = onnx::part(model, &[onnx::PICTURE], &outputs)?.encode_to_vec();
    // The graph itself takes the mean away and divides by the spread.
    let config = EncoderConfig { mean: [0.0; 3], std: [1.0; 3], ..config.clone() };
    match known {
        Some(known) if known.onnx() == bytes && *known.config() == config => Ok(known.clone()),
        _ => {
            Ok(Arc::new(Encoder::from_onnx(&config, "policy.onnx".to_owned(), Cow::Owned(bytes))?))
        }
    }
}

/// A learnt constant that the graph gives.
fn constant(model: &ModelProto, name: &'static str) -> Result<f32, ServeError> {
    let outputs = runnable(model, &[], name)?.run(tvec!()).map_err(|e| failed(name, &e))?;
    let values = outputs.first().map(|output| output.to_plain_array_view::<f32>()).transpose();
    let values: Vec<f32> =
        values.map_err(|e| failed(name, &e))?.into_iter().flatten().copied().collect();
    match values[..] {
        [value] if value > 0.0 && value.is_finite() => Ok(value),
        _ => {
            let why = format!("{values:?} where one positive number is due");
            Err(ServeError::Part { part: name, why })
        }
    }
}

/// The part of the model that gives `output` from `inputs`, ready to run.
fn runnable(
    model: &ModelProto,
    inputs: &[&str],
    output: &'static str,
) -> Result<Arc<TypedRunnableModel>, ServeError> {
    let cut = onnx::part(model, inputs, &[output])?;
    tract_onnx::onnx()
        .model_for_proto_model(&cut)
        .and_then(|model| model.into_optimized())
        .and_then(|model| model.into_runnable())
        .map_err(|e| failed(output, &e))
}
