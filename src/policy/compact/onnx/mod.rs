//! A compact policy as one ONNX file: the encoder's own graph and the head's parts, with
//! everything in its metadata that is needed to serve it.
//!
//! | input | dimensions | what |
//! |---|---|---|
//! | `picture` | pictures, 3, height, width | R, G, B from 0 to 255; mean and spread are in the graph |
//! | `point_features` | points, channels | what is seen at marked points |
//! | `border_first`, `border_second` | pairs, places, channels | what is seen along two borders |
//! | `first_seen`, `second_seen` | pairs | 1, or 0 for the border of a white patch |
//! | `patch_context` | patches, channels | the mean of what is seen in patches |
//!
//! | output | dimensions | what |
//! |---|---|---|
//! | the encoder's, by their names | as the encoder has them | feature maps |
//! | `farness` | points | how far, in units of log depth up to one offset a picture |
//! | `beside`, `above` | pairs | how well the second stands right of, or below, the first |
//! | `patch_says` | patches, 5 | column, row, upside down, mirrored, fills a hole |
//! | `order_sharpness`, `farness_spread` | 1 | learnt constants, ready to be used |
//!
//! The parts share no tensors: who wants one of them gives one row of zeros to the inputs
//! of the others, or cuts that part out (`onnx.utils.extract_model` in Python).
//!
//! The bytes depend on the policy alone.

mod describe;
mod eye;
mod graph;
mod head;

use prost::Message;
use tract_onnx::pb::{GraphProto, ModelProto, ValueInfoProto};

pub(super) use self::graph::part;
pub use self::{
    describe::{Description, FORMAT},
    graph::Dim,
};
use super::{
    CompactPolicy,
    head::{HeadShape, PATCH_SAYS},
    weights::{self, WeightsError},
};

/// The input that takes pictures.
pub const PICTURE: &str = "picture";

/// The inputs of the head's parts.
pub const HEAD_INPUTS: [&str; 6] = [
    "point_features",
    "border_first",
    "border_second",
    "first_seen",
    "second_seen",
    "patch_context",
];

/// The outputs of the head's parts.
pub const HEAD_OUTPUTS: [&str; 6] =
    ["farness", "beside", "above", "patch_says", "order_sharpness", "farness_spread"];

/// What free dimensions of `picture` and of the head's parts are called.
const DIMENSIONS: [&str; 6] = ["pictures", "height", "width", "points", "pairs", "patches"];

/// Whether the exported graph needs this name for itself.
fn is_reserved(name: &str) -> bool {
    name == PICTURE
        || name == eye::NORMALISED
        || name.starts_with("head/")
        || HEAD_INPUTS.contains(&name)
        || HEAD_OUTPUTS.contains(&name)
}

/// Why a policy cannot be written as ONNX, or an ONNX file is none that was.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// No ONNX, or a damaged file.
    #[error("the ONNX file is damaged: {0}")]
    Damaged(String),
    /// The encoder takes no picture alone.
    #[error("the encoder must have one input, the picture; it has {}: {have:?}", have.len())]
    Inputs {
        /// Its inputs.
        have: Vec<String>,
    },
    /// Something is asked for that is not there.
    #[error("the ONNX graph has no tensor {name:?}")]
    NoTensor {
        /// Its name.
        name: String,
    },
    /// An output of the encoder is named like a part of the head.
    #[error("the encoder's output {name:?} is named like a part of the head: rename it")]
    Clash {
        /// Its name.
        name: String,
    },
    /// The encoder is too old.
    #[error(
        "the encoder is written in opset {got}, the head needs {least} or newer: \
         onnx.version_converter converts it"
    )]
    Opset {
        /// The encoder's.
        got: i64,
        /// What is needed.
        least: i64,
    },
    /// A parameter of the head has another shape than the head.
    #[error("parameter {name} of the head is {got:?}, needed {needed:?}")]
    Parameter {
        /// Its path.
        name: String,
        /// Its shape; empty when it is not there.
        got: Vec<usize>,
        /// The shape that the head needs.
        needed: Vec<usize>,
    },
    /// The file is ONNX, but its metadata are not those of an exported policy.
    #[error("this is no policy that `spatial-ssrl export` wrote: {0}")]
    Description(String),
    /// The weights cannot be read from the head.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

/// An input or output of the exported graph: 32-bit floats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its dimensions, outermost first.
    pub dims: Vec<Dim>,
}

impl Port {
    fn new(name: &str, dims: &[Dim]) -> Self {
        Port { name: name.to_owned(), dims: dims.to_vec() }
    }

    fn of(value: &ValueInfoProto) -> Self {
        let dims = graph::dims(value).unwrap_or_default();
        let dims = dims.into_iter().map(|dim| dim.unwrap_or_else(|| Dim::free("?")));
        Port { name: value.name.clone(), dims: dims.collect() }
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dims: Vec<String> = self.dims.iter().map(Dim::to_string).collect();
        write!(f, "{} [{}]", self.name, dims.join(", "))
    }
}

/// A policy as an ONNX file, with what can be said about it.
#[derive(Clone, Debug)]
pub struct OnnxFile {
    /// The file.
    pub bytes: Vec<u8>,
    /// Its inputs.
    pub inputs: Vec<Port>,
    /// Its outputs.
    pub outputs: Vec<Port>,
    /// What its metadata say.
    pub description: Description,
}

/// Inputs and outputs of the head's parts.
fn head_ports(shape: &HeadShape) -> [Vec<Port>; 2] {
    let free = Dim::free;
    let fixed = Dim::Fixed;
    let (points, pairs, patches) = (free("points"), free("pairs"), free("patches"));
    let border = [pairs.clone(), fixed(shape.border_places), fixed(shape.border_channels)];
    let pairs = [pairs];
    let [point_features, first, second, first_seen, second_seen, context] = HEAD_INPUTS;
    let [farness, beside, above, says, sharpness, spread] = HEAD_OUTPUTS;
    [
        vec![
            Port::new(point_features, &[points.clone(), fixed(shape.point_channels)]),
            Port::new(first, &border),
            Port::new(second, &border),
            Port::new(first_seen, &pairs),
            Port::new(second_seen, &pairs),
            Port::new(context, &[patches.clone(), fixed(shape.context_channels)]),
        ],
        vec![
            Port::new(farness, &[points]),
            Port::new(beside, &pairs),
            Port::new(above, &pairs),
            Port::new(says, &[patches, fixed(PATCH_SAYS)]),
            Port::new(sharpness, &[fixed(1)]),
            Port::new(spread, &[fixed(1)]),
        ],
    ]
}

/// Writes a policy as ONNX.
///
/// ```
/// use burn::tensor::Device;
/// use spatial_ssrl::policy::compact::{CompactPolicy, onnx};
/// let file = onnx::export(&CompactPolicy::builtin(Device::flex())?)?;
/// assert_eq!(file.inputs[0].to_string(), "picture [pictures, 3, height, width]");
/// assert_eq!(file.outputs[5].to_string(), "farness [points]");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`OnnxError`] when the encoder cannot be the first part of such a graph.
pub fn export(policy: &CompactPolicy) -> Result<OnnxFile, OnnxError> {
    let encoder = policy.encoder();
    let eye::Eye { model: eye, opset, picture } = eye::read(encoder.onnx(), encoder.outputs())?;
    let description = Description {
        opset,
        encoder_sha256: encoder.digest().to_owned(),
        weights_sha256: crate::digest::hex(&weights::to_bytes(&policy.head)?),
        ..Description::new(encoder.config(), &policy.shape)
    };
    let mut nodes = head::Nodes::new(opset, weights::collect(&policy.head)?);
    let (mean, std) = (encoder.config().mean, encoder.config().std);
    eye::normalisation(&mut nodes, mean, std);
    let normalising = nodes.nodes.len();
    nodes.head(&policy.shape)?;

    let cut = eye.graph.clone().unwrap_or_default();
    let [head_inputs, head_outputs] = head_ports(&policy.shape);
    let mut inputs = vec![Port::new(PICTURE, &picture)];
    inputs.extend(head_inputs);
    let value = |port: &Port| graph::value(&port.name, &port.dims);
    let mut output = cut.output.clone();
    output.extend(head_outputs.iter().map(value));
    let mut node = nodes.nodes;
    let parts = node.split_off(normalising);
    node.extend(cut.node);
    node.extend(parts);
    let mut initializer = nodes.constants;
    initializer.extend(cut.initializer);
    let whole = GraphProto {
        name: "spatial_ssrl_compact_policy".to_owned(),
        node,
        initializer,
        sparse_initializer: cut.sparse_initializer,
        input: inputs.iter().map(value).collect(),
        output,
        ..Default::default()
    };
    let outputs = whole.output.iter().map(Port::of).collect();
    let model = ModelProto {
        producer_name: env!("CARGO_PKG_NAME").to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        doc_string: describe::DOC.to_owned(),
        graph: Some(whole),
        metadata_props: description.entries()?,
        domain: String::new(),
        model_version: 1,
        ..eye
    };
    Ok(OnnxFile { bytes: model.encode_to_vec(), inputs, outputs, description })
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use tract_onnx::pb::{NodeProto, OperatorSetIdProto};

    use super::*;
    use crate::policy::compact::{
        CompactConfig,
        encoder::{Encoder, EncoderConfig},
        served::Served,
    };

    /// An encoder of two nodes: the picture averaged over 4x4 pixels, and its positive part.
    fn encoder(opset: i64, input: &ValueInfoProto, inner: &str, output: &str) -> Vec<u8> {
        let node = |op: &str, from: &str, to: &str| NodeProto {
            name: "head/node/0".to_owned(),
            op_type: op.to_owned(),
            input: vec![from.to_owned()],
            output: vec![to.to_owned()],
            ..Default::default()
        };
        let mut pool = node("AveragePool", &input.name, inner);
        pool.attribute = vec![
            graph::ints_attribute("kernel_shape", &[4, 4]),
            graph::ints_attribute("strides", &[4, 4]),
        ];
        let graph = GraphProto {
            node: vec![pool, node("Relu", inner, output)],
            input: vec![input.clone()],
            output: vec![ValueInfoProto { r#type: None, ..graph::value(output, &[]) }],
            ..Default::default()
        };
        let model = ModelProto {
            ir_version: 3,
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: opset }],
            graph: Some(graph),
            ..Default::default()
        };
        model.encode_to_vec()
    }

    fn policy(onnx: Vec<u8>, output: &str) -> CompactPolicy {
        let name = || vec![output.to_owned()];
        let encoder = EncoderConfig {
            mean: [120.0, 110.0, 100.0],
            std: [50.0, 60.0, 70.0],
            border_outputs: name(),
            point_outputs: name(),
            context_output: output.to_owned(),
            ..EncoderConfig::default()
        };
        let config = CompactConfig { encoder: encoder.clone(), ..CompactConfig::default() };
        let encoder = Encoder::from_onnx(&encoder, "test".to_owned(), onnx.into()).unwrap();
        CompactPolicy::with_encoder(config, encoder.into(), 1, Device::flex()).unwrap()
    }

    fn free(name: &str, dims: [&str; 4]) -> ValueInfoProto {
        graph::value(name, &dims.map(Dim::free))
    }

    #[test]
    fn an_encoder_that_uses_the_heads_names_is_renamed_and_sees_the_same() {
        let input = free("picture", ["points", "c", "pairs", "pairs"]);
        for opset in [9, 13, 18] {
            let policy = policy(encoder(opset, &input, "farness", "feat"), "feat");
            let file = export(&policy).unwrap();
            assert_eq!(file.description.opset, opset);
            assert_eq!(file.inputs[0].to_string(), "picture [pictures, 3, height, height]");
            let served = Served::from_onnx(&file.bytes).unwrap();
            let picture = image::RgbImage::from_fn(112, 112, |x, y| {
                image::Rgb([x as u8, (2 * y) as u8, (x * y) as u8])
            });
            let maps = [policy.encoder(), served.encoder()].map(|e| e.encode(&picture).unwrap().0);
            assert_eq!(maps[0], maps[1]);
        }
    }

    #[test]
    fn what_an_encoder_fixes_stays_fixed() {
        let dims = [Dim::Fixed(1), Dim::Fixed(3), Dim::free("h"), Dim::free("w")];
        let input = graph::value("x", &dims);
        let file = export(&policy(encoder(13, &input, "inner", "feat"), "feat")).unwrap();
        assert_eq!(file.inputs[0].to_string(), "picture [1, 3, height, width]");
    }

    #[test]
    fn an_encoder_that_cannot_be_exported_is_refused_with_the_reason() {
        let input = free("x", ["n", "c", "h", "w"]);
        let refused = |onnx, output| export(&policy(onnx, output)).unwrap_err().to_string();
        let clash = refused(encoder(13, &input, "inner", "farness"), "farness");
        assert!(clash.contains("\"farness\" is named like a part of the head"), "{clash}");
        let old = refused(encoder(8, &input, "inner", "feat"), "feat");
        assert!(old.contains("opset 8") && old.contains("9 or newer"), "{old}");
    }

    #[test]
    fn where_the_encoder_lay_is_not_told() {
        let path = "/home/somebody/encoder.onnx";
        let config = EncoderConfig { path: path.into(), ..EncoderConfig::default() };
        let policy = CompactPolicy::builtin(Device::flex()).unwrap();
        let entries = Description::new(&config, &policy.shape).entries().unwrap();
        assert!(entries.iter().all(|entry| !entry.value.contains("somebody")), "{entries:?}");
    }
}
