//! The frozen eye of the compact policy: any ONNX encoder, run by tract.
//!
//! One picture goes in, feature maps at several strides come out. The encoder that ships
//! with the crate is EfficientNet-Lite0 without its classifier (see `assets/`).

use std::{borrow::Cow, path::PathBuf, sync::Arc};

use image::RgbImage;
use ndarray::{Array3, ArrayD, Axis, Ix3, Ix4};
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::*;

/// The encoder that ships with the crate.
const BUILTIN: &[u8] = include_bytes!("../../../assets/encoder.onnx");

/// A width and a height in pixels.
pub type Size = [u32; 2];

/// Which ONNX file encodes pictures, how its input is made, and which outputs are used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EncoderConfig {
    /// The ONNX file; empty: the encoder that ships with the crate.
    pub path: PathBuf,
    /// Subtracted from each 8-bit R, G, B value.
    pub mean: [f32; 3],
    /// Divides what is left.
    pub std: [f32; 3],
    /// Outputs whose values along a patch's borders say what continues it.
    pub border_outputs: Vec<String>,
    /// Outputs that are read at a marked point.
    pub point_outputs: Vec<String>,
    /// The output that is averaged for a whole patch or picture.
    pub context_output: String,
    /// Encoded size of a whole picture; of one that is turned by a quarter, the other way round.
    pub whole_size: Size,
    /// Encoded size of a patch about as wide as high.
    pub square_size: Size,
    /// Encoded size of a patch more than twice as high as wide.
    pub tall_size: Size,
    /// Encoded size of a patch more than twice as wide as high.
    pub wide_size: Size,
    /// How many places along each border of a patch are compared.
    pub border_places: usize,
}

impl Default for EncoderConfig {
    fn default() -> Self {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        EncoderConfig {
            path: PathBuf::new(),
            mean: [127.0; 3],
            std: [128.0; 3],
            border_outputs: names(&["color4", "feat4", "feat8"]),
            point_outputs: names(&["color4", "feat4", "feat8", "feat16", "feat32"]),
            context_output: "feat16".to_owned(),
            whole_size: [384, 288],
            square_size: [112, 112],
            tall_size: [64, 224],
            wide_size: [224, 64],
            border_places: 14,
        }
    }
}

impl EncoderConfig {
    /// Names of all outputs that are used, without repeats, in the order of [`Maps`]: those
    /// of [`EncoderConfig::patch_outputs`] come first.
    pub fn outputs(&self) -> Vec<String> {
        distinct(self.patch_outputs().iter().chain(&self.point_outputs))
    }

    /// Names of the outputs that are used of a patch, without repeats.
    pub fn patch_outputs(&self) -> Vec<String> {
        distinct(self.border_outputs.iter().chain([&self.context_output]))
    }
}

fn distinct<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    names.fold(Vec::new(), |mut distinct, name| {
        if !distinct.contains(name) {
            distinct.push(name.clone());
        }
        distinct
    })
}

/// Why an encoder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// The file cannot be read.
    #[error("cannot read the encoder {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// tract refused the model.
    #[error("the encoder {name} does not run at {width}x{height}: {why}")]
    Model {
        /// Which encoder.
        name: String,
        /// Input width.
        width: u32,
        /// Input height.
        height: u32,
        /// tract's own words.
        why: String,
    },
    /// A configured output is not there.
    #[error("the encoder {name} has no output {output:?}; it has {have:?}")]
    NoOutput {
        /// Which encoder.
        name: String,
        /// What was asked for.
        output: String,
        /// What it has.
        have: Vec<String>,
    },
    /// An output is neither `[1, channels, rows, cols]` nor `[1, tokens, channels]`.
    #[error(
        "output {output:?} of the encoder has shape {shape:?}; needed: [1, channels, rows, cols], \
         or [1, tokens, channels] with rows x cols tokens (one class token before them is dropped)"
    )]
    Shape {
        /// Which output.
        output: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// The configuration itself is wrong.
    #[error("encoder configuration: {0}")]
    Config(String),
}

/// One way to run the encoder: for pictures of one size.
struct Plan {
    size: Size,
    run: Arc<TypedRunnableModel>,
}

/// A loaded encoder, shared by threads.
pub struct Encoder {
    config: EncoderConfig,
    name: String,
    /// Names of the model's outputs that are asked for, without repeats.
    outputs: Vec<String>,
    plans: Vec<Plan>,
    /// For pictures with a hole, of which only the border outputs are used.
    holed_plans: Vec<Plan>,
    onnx: Cow<'static, [u8]>,
    digest: String,
    /// Channels of each output, learnt from the first encoded picture.
    channels: Vec<usize>,
    border_outputs: Vec<usize>,
    point_outputs: Vec<usize>,
    context_output: usize,
}

/// Feature maps of one picture, `[channels, rows, cols]` each, in the order of
/// [`Encoder::outputs`]. A patch has only those that are used of patches, which come first; a
/// picture with a hole only those along borders, which come before them.
pub struct Maps(pub Vec<Array3<f32>>);

impl Encoder {
    /// Loads the encoder and prepares it for the configured sizes.
    ///
    /// # Errors
    /// Any [`EncoderError`]; the message names the file, the size or the output.
    pub fn load(config: &EncoderConfig) -> Result<Self, EncoderError> {
        if config.path.as_os_str().is_empty() {
            return Self::from_onnx(config, "builtin".to_owned(), Cow::Borrowed(BUILTIN));
        }
        let bytes = std::fs::read(&config.path)
            .map_err(|source| EncoderError::Io { path: config.path.clone(), source })?;
        Self::from_onnx(config, config.path.display().to_string(), Cow::Owned(bytes))
    }

    /// As [`Encoder::load`], from the bytes of an ONNX file; `name` is for messages.
    ///
    /// # Errors
    /// As [`Encoder::load`].
    pub fn from_onnx(
        config: &EncoderConfig,
        name: String,
        bytes: Cow<'static, [u8]>,
    ) -> Result<Self, EncoderError> {
        validate(config)?;
        let digest = crate::digest::hex(&bytes);
        let outputs = config.outputs();
        let of_patches = config.patch_outputs();
        let prepare = |wanted: &[(Size, &[String])]| {
            let mut plans: Vec<Plan> = Vec::new();
            for &(size, outputs) in wanted {
                if plans.iter().all(|plan| plan.size != size) {
                    plans.push(Plan { size, run: plan(&name, &bytes, outputs, size)? });
                }
            }
            Ok::<_, EncoderError>(plans)
        };
        let plans = prepare(&[
            (config.whole_size, &outputs),
            (config.square_size, &of_patches),
            (config.tall_size, &of_patches),
            (config.wide_size, &of_patches),
        ])?;
        // Pictures of balanced inpainting tasks may lie on their side.
        let [width, height] = config.whole_size;
        let of_borders = &outputs[..distinct(config.border_outputs.iter()).len()];
        let holed_plans = prepare(&[([width, height], of_borders), ([height, width], of_borders)])?;
        let index = |name: &String| outputs.iter().position(|output| output == name);
        let mut encoder = Encoder {
            border_outputs: config.border_outputs.iter().filter_map(index).collect(),
            point_outputs: config.point_outputs.iter().filter_map(index).collect(),
            context_output: index(&config.context_output).unwrap_or(0),
            config: config.clone(),
            name,
            outputs,
            plans,
            holed_plans,
            onnx: bytes,
            digest,
            channels: Vec::new(),
        };
        // A grey picture of each size proves that every output has a usable shape.
        for [width, height] in encoder.plans.iter().map(|plan| plan.size).collect::<Vec<_>>() {
            let maps =
                encoder.encode(&RgbImage::from_pixel(width, height, image::Rgb([127; 3])))?;
            if maps.0.len() > encoder.channels.len() {
                encoder.channels = maps.0.iter().map(|map| map.dim().0).collect();
            }
        }
        Ok(encoder)
    }

    /// The configuration it was loaded with.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// SHA-256 of the ONNX file, in hexadecimal: weights of a head belong to one encoder.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The bytes of the ONNX file.
    pub fn onnx(&self) -> &[u8] {
        &self.onnx
    }

    /// Names of the outputs in the order of [`Maps`].
    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// Indices into [`Maps`] of the border outputs.
    pub(super) fn border_outputs(&self) -> &[usize] {
        &self.border_outputs
    }

    /// Indices into [`Maps`] of the point outputs.
    pub(crate) fn point_outputs(&self) -> &[usize] {
        &self.point_outputs
    }

    /// Index into [`Maps`] of the context output.
    pub(super) fn context_output(&self) -> usize {
        self.context_output
    }

    /// Values at one place of a border.
    pub fn border_channels(&self) -> usize {
        self.border_outputs.iter().map(|&output| self.channels[output]).sum()
    }

    /// Values of a patch's context.
    pub fn context_channels(&self) -> usize {
        self.channels[self.context_output]
    }

    /// Values at one marked point: point outputs, context near and far around, column and row.
    pub fn point_channels(&self) -> usize {
        let outputs: usize = self.point_outputs.iter().map(|&output| self.channels[output]).sum();
        outputs + super::observe::CONTEXT_REACH.len() * self.context_channels() + 2
    }

    /// Encodes a picture of one of the configured sizes.
    ///
    /// # Errors
    /// [`EncoderError::Config`] for another size, [`EncoderError::Model`] when the model
    /// fails, [`EncoderError::Shape`] for outputs that are no feature maps.
    pub fn encode(&self, picture: &RgbImage) -> Result<Maps, EncoderError> {
        self.run(&self.plans, picture)
    }

    /// As [`Encoder::encode`] for a picture with a hole, whole or on its side: the border
    /// outputs alone, which come first and need less than half of the work.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn encode_holed(&self, picture: &RgbImage) -> Result<Maps, EncoderError> {
        self.run(&self.holed_plans, picture)
    }

    fn run(&self, plans: &[Plan], picture: &RgbImage) -> Result<Maps, EncoderError> {
        let (width, height) = picture.dimensions();
        let plan = plans.iter().find(|plan| plan.size == [width, height]).ok_or_else(|| {
            EncoderError::Config(format!(
                "pictures of {width}x{height} are not among the configured sizes"
            ))
        })?;
        let (w, h) = (width as usize, height as usize);
        let mut input = vec![0.0_f32; 3 * w * h];
        for (channel, plane) in input.chunks_exact_mut(w * h).enumerate() {
            let (mean, scale) = (self.config.mean[channel], 1.0 / self.config.std[channel]);
            for (value, pixel) in plane.iter_mut().zip(picture.as_raw().chunks_exact(3)) {
                *value = (f32::from(pixel[channel]) - mean) * scale;
            }
        }
        let failed =
            |why: String| EncoderError::Model { name: self.name.clone(), width, height, why };
        let input = Tensor::from_shape(&[1, 3, h, w], &input).map_err(|e| failed(e.to_string()))?;
        let outputs = plan.run.run(tvec!(input.into())).map_err(|e| failed(format!("{e:#}")))?;
        let aspect = f64::from(width) / f64::from(height);
        let maps = self.outputs.iter().zip(outputs.iter()).map(|(name, value)| {
            let shape = value.shape().to_vec();
            let array = value.to_plain_array_view::<f32>().map_err(|e| failed(e.to_string()))?;
            let array = array.to_owned();
            feature_map(array, aspect)
                .ok_or_else(|| EncoderError::Shape { output: name.clone(), shape })
        });
        Ok(Maps(maps.collect::<Result<_, _>>()?))
    }
}

fn validate(config: &EncoderConfig) -> Result<(), EncoderError> {
    let sizes = [config.whole_size, config.square_size, config.tall_size, config.wide_size];
    for [width, height] in sizes {
        if !(16..=2048).contains(&width) || !(16..=2048).contains(&height) {
            return Err(EncoderError::Config(format!(
                "encoded sizes must lie in 16..=2048 pixels, got {width}x{height}"
            )));
        }
    }
    if config.std.iter().any(|std| !std.is_finite() || *std <= 0.0) {
        return Err(EncoderError::Config(format!("std must be positive, got {:?}", config.std)));
    }
    if config.border_outputs.is_empty() || config.point_outputs.is_empty() {
        return Err(EncoderError::Config(
            "border_outputs and point_outputs each need at least one output name".to_owned(),
        ));
    }
    if !(2..=64).contains(&config.border_places) {
        return Err(EncoderError::Config(format!(
            "border_places must lie in 2..=64, got {}",
            config.border_places
        )));
    }
    Ok(())
}

/// Prepares the model for one input size and the wanted outputs.
fn plan(
    name: &str,
    bytes: &[u8],
    outputs: &[String],
    [width, height]: Size,
) -> Result<Arc<TypedRunnableModel>, EncoderError> {
    let failed = |why: TractError| EncoderError::Model {
        name: name.to_owned(),
        width,
        height,
        why: format!("{why:#}"),
    };
    let mut bytes = bytes;
    let mut model = tract_onnx::onnx().model_for_read(&mut bytes).map_err(failed)?;
    let available = model.output_outlets().map_err(failed)?.to_vec();
    let have: Vec<String> = available
        .iter()
        .map(|outlet| {
            let label = model.outlet_label(*outlet);
            label.unwrap_or_else(|| model.node(outlet.node).name.as_str()).to_owned()
        })
        .collect();
    let mut outlets = Vec::new();
    for output in outputs {
        let place = have.iter().position(|label| label == output).ok_or_else(|| {
            EncoderError::NoOutput {
                name: name.to_owned(),
                output: output.clone(),
                have: have.clone(),
            }
        })?;
        outlets.push(available[place]);
    }
    model.select_output_outlets(&outlets).map_err(failed)?;
    let shape = [1, 3, height as usize, width as usize];
    model.set_input_fact(0, f32::fact(shape).into()).map_err(failed)?;
    // Output shapes written for a free batch would clash with the fixed input.
    for slot in 0..outlets.len() {
        model.set_output_fact(slot, Default::default()).map_err(failed)?;
    }
    let model = model.into_typed().and_then(|model| model.into_decluttered()).map_err(failed)?;
    let model = channels_last(model).map_err(failed)?;
    model.into_optimized().and_then(|model| model.into_runnable()).map_err(failed)
}

/// The same model with the channels of a place side by side in memory. On x86 tract then
/// vectorises depthwise convolutions up to the picture's border, of which small patches have
/// much: they take about two thirds of the time, whole pictures nine tenths, pictures on their
/// side six tenths. Not measured on other processors, which keep the model as it is.
fn channels_last(model: TypedModel) -> TractResult<TypedModel> {
    let transform = tract_onnx::tract_core::transform::get_transform("conv_nhwc")?;
    match transform {
        Some(transform) if cfg!(target_arch = "x86_64") => {
            transform.transform_into(model)?.into_decluttered()
        }
        _ => Ok(model),
    }
}

/// `[1, c, h, w]` or `[1, tokens, c]` to `[c, h, w]`; tokens are laid out on the grid whose
/// shape is nearest to the picture's, after dropping one class token if that is needed.
fn feature_map(array: ArrayD<f32>, aspect: f64) -> Option<Array3<f32>> {
    match array.ndim() {
        4 => {
            let map = array.into_dimensionality::<Ix4>().ok()?;
            (map.len_of(Axis(0)) == 1).then(|| map.index_axis_move(Axis(0), 0))
        }
        3 => {
            let tokens = array.into_dimensionality::<Ix3>().ok()?;
            if tokens.len_of(Axis(0)) != 1 {
                return None;
            }
            let tokens = tokens.index_axis_move(Axis(0), 0);
            let count = tokens.nrows();
            let (first, rows, cols) = [0, 1].into_iter().find_map(|first| {
                let grid = count.checked_sub(first)?;
                let rows = (grid as f64 / aspect).sqrt().round().max(1.0) as usize;
                (rows > 0 && grid > 0 && grid % rows == 0).then(|| (first, rows, grid / rows))
            })?;
            let grid = tokens.slice(ndarray::s![first.., ..]).t().to_owned();
            let channels = grid.nrows();
            grid.as_standard_layout()
                .into_owned()
                .into_shape_with_order((channels, rows, cols))
                .ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_encoder_gives_five_strides() {
        let encoder = Encoder::load(&EncoderConfig::default()).unwrap();
        let picture = RgbImage::from_fn(384, 288, |x, y| image::Rgb([x as u8, y as u8, 9]));
        let maps = encoder.encode(&picture).unwrap();
        let shapes: Vec<_> = maps.0.iter().map(|map| map.dim()).collect();
        assert_eq!(encoder.outputs(), ["color4", "feat4", "feat8", "feat16", "feat32"]);
        assert_eq!(shapes, [(3, 72, 96), (24, 72, 96), (40, 36, 48), (112, 18, 24), (320, 9, 12)]);
        // color4 is the normalised picture averaged over 4x4 pixels.
        let mean_x = (0..4).map(|x| x as f32).sum::<f32>() / 4.0;
        assert!((maps.0[0][[0, 0, 0]] - (mean_x - 127.0) / 128.0).abs() < 1e-5);
        // Of patches nothing is computed that is not used.
        let patch = encoder.encode(&RgbImage::new(112, 112)).unwrap();
        let shapes: Vec<_> = patch.0.iter().map(|map| map.dim()).collect();
        assert_eq!(shapes, [(3, 28, 28), (24, 28, 28), (40, 14, 14), (112, 7, 7)]);
        let holed = encoder.encode_holed(&picture).unwrap();
        assert_eq!(holed.0, maps.0[..3]);
        let on_its_side = encoder.encode_holed(&image::imageops::rotate90(&picture)).unwrap();
        assert_eq!(on_its_side.0[2].dim(), (40, 48, 36));
    }

    #[test]
    fn a_missing_output_is_named_with_what_there_is() {
        let config =
            EncoderConfig { context_output: "feat64".to_owned(), ..EncoderConfig::default() };
        let error = Encoder::load(&config).err().unwrap().to_string();
        assert!(error.contains("feat64") && error.contains("feat16"), "{error}");
    }

    #[test]
    fn tokens_become_a_map_and_a_class_token_is_dropped() {
        let tokens = ArrayD::from_shape_fn(vec![1, 13, 2], |i| (i[1] * 10 + i[2]) as f32);
        let map = feature_map(tokens, 4.0 / 3.0).unwrap();
        assert_eq!(map.dim(), (2, 3, 4));
        assert_eq!(map[[0, 0, 0]], 10.0);
        assert_eq!(map[[1, 2, 3]], 121.0);
    }
}
