//! The encoder's own graph as the first part of an exported policy.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use tract_onnx::pb::{ModelProto, NodeProto, ValueInfoProto};

use super::{
    DIMENSIONS, OnnxError, PICTURE,
    graph::{self, Dim},
    is_reserved,
};

/// The lowest opset of an encoder to whose graph a head can be added: `Erf` came with it.
const LEAST_OPSET: i64 = 9;

/// Initializers need not be inputs from this version on.
const LEAST_IR: i64 = 4;

/// What the encoder's normalised input is called in the exported graph.
pub(super) const NORMALISED: &str = "encoder/picture";

/// An encoder whose names cannot clash with those of the head.
pub(super) struct Eye {
    /// The encoder's model; its graph starts from [`NORMALISED`].
    pub model: ModelProto,
    /// Of the default domain.
    pub opset: i64,
    /// Dimensions of `picture`.
    pub picture: Vec<Dim>,
}

/// Takes the part of an encoder that gives `outputs`.
///
/// A batch, height or width that the encoder leaves free is called `pictures`, `height` or
/// `width`; what it fixes stays fixed.
pub(super) fn read(bytes: &[u8], outputs: &[String]) -> Result<Eye, OnnxError> {
    let mut model = ModelProto::decode(bytes).map_err(|e| OnnxError::Damaged(e.to_string()))?;
    let opset = opset(&model)?;
    let input = only_input(&model)?;
    if let Some(name) = outputs.iter().find(|name| is_reserved(name)) {
        return Err(OnnxError::Clash { name: name.clone() });
    }
    let names: Vec<&str> = outputs.iter().map(String::as_str).collect();
    model = graph::part(&model, &[&input], &names)?;
    model.ir_version = model.ir_version.max(LEAST_IR);
    let mut picture = Vec::new();
    if let Some(graph) = &mut model.graph {
        rename(graph, &input);
        let (dims, symbols) = picture_dims(graph.input.first());
        for output in &mut graph.output {
            if let Some(dims) = graph::dims(output) {
                *output = shaped(output, dims, &symbols);
            }
        }
        picture = dims;
    }
    Ok(Eye { model, opset, picture })
}

fn opset(model: &ModelProto) -> Result<i64, OnnxError> {
    let default = model.opset_import.iter().find(|set| matches!(&*set.domain, "" | "ai.onnx"));
    let version = default.map_or(1, |set| set.version);
    if version < LEAST_OPSET {
        return Err(OnnxError::Opset { got: version, least: LEAST_OPSET });
    }
    Ok(version)
}

/// The one input that is no constant.
fn only_input(model: &ModelProto) -> Result<String, OnnxError> {
    let Some(graph) = &model.graph else { return Err(OnnxError::Inputs { have: Vec::new() }) };
    let constants: BTreeSet<&str> =
        graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let names = graph.input.iter().map(|input| input.name.as_str());
    let inputs: Vec<&str> = names.filter(|name| !constants.contains(name)).collect();
    match inputs[..] {
        [one] => Ok(one.to_owned()),
        _ => Err(OnnxError::Inputs { have: inputs.into_iter().map(str::to_owned).collect() }),
    }
}

/// Gives the input its new name, and every tensor and node another whose name the head needs.
fn rename(graph: &mut tract_onnx::pb::GraphProto, input: &str) {
    let mut taken: BTreeSet<String> = BTreeSet::new();
    graph::for_each_name(&mut graph.node, &mut |name| {
        taken.insert(name.clone());
    });
    taken.extend(graph.initializer.iter().map(|tensor| tensor.name.clone()));
    let mut new: BTreeMap<String, String> = BTreeMap::new();
    for name in taken.iter().filter(|name| is_reserved(name)) {
        let mut other = format!("encoder/{name}");
        while taken.contains(&other) || is_reserved(&other) {
            other.push('_');
        }
        new.insert(name.clone(), other);
    }
    new.insert(input.to_owned(), NORMALISED.to_owned());
    let mut change = |name: &mut String| {
        if let Some(other) = new.get(name) {
            name.clone_from(other);
        }
    };
    graph::for_each_name(&mut graph.node, &mut change);
    graph.initializer.iter_mut().for_each(|tensor| change(&mut tensor.name));
    let sparse = graph.sparse_initializer.iter_mut().filter_map(|tensor| tensor.values.as_mut());
    sparse.for_each(|values| change(&mut values.name));
    let rename_node = |node: &mut NodeProto| {
        if is_reserved(&node.name) {
            node.name.insert_str(0, "encoder/");
        }
    };
    graph.node.iter_mut().for_each(rename_node);
}

/// The dimensions of `picture`, and what each free dimension of the encoder is called now.
fn picture_dims(input: Option<&ValueInfoProto>) -> (Vec<Dim>, BTreeMap<String, String>) {
    let declared = input.and_then(graph::dims).filter(|dims| dims.len() == 4);
    let mut symbols = BTreeMap::new();
    let mut dims = Vec::with_capacity(4);
    for (at, name) in ["pictures", "channels", "height", "width"].into_iter().enumerate() {
        let dim = match declared.as_ref().and_then(|dims| dims[at].clone()) {
            _ if at == 1 => Dim::Fixed(3),
            Some(Dim::Free(own)) => {
                Dim::Free(symbols.entry(own).or_insert_with(|| name.to_owned()).clone())
            }
            Some(fixed) => fixed,
            None => Dim::free(name),
        };
        dims.push(dim);
    }
    (dims, symbols)
}

/// The output with the encoder's free dimensions under their new names.
fn shaped(
    output: &ValueInfoProto,
    dims: Vec<Option<Dim>>,
    symbols: &BTreeMap<String, String>,
) -> ValueInfoProto {
    let dims: Vec<Dim> = dims
        .into_iter()
        .enumerate()
        .map(|(at, dim)| match dim {
            Some(Dim::Free(own)) => {
                let other = || {
                    if DIMENSIONS.contains(&own.as_str()) {
                        format!("encoder_{own}")
                    } else {
                        own.clone()
                    }
                };
                Dim::Free(symbols.get(&own).cloned().unwrap_or_else(other))
            }
            Some(fixed) => fixed,
            None => Dim::Free(format!("{}_{at}", output.name)),
        })
        .collect();
    graph::value(&output.name, &dims)
}

/// `(picture - mean) / std` as two nodes.
pub(super) fn normalisation(head: &mut super::head::Nodes, mean: [f32; 3], std: [f32; 3]) {
    // The factors that the encoder itself is run with while learning.
    let scale = std.map(|std| 1.0 / std);
    let (mean, scale) = (
        head.floats("picture_mean", &[3, 1, 1], &mean),
        head.floats("picture_scale", &[3, 1, 1], &scale),
    );
    let centred = head.node("Sub", &[PICTURE, &mean], "picture_centred");
    head.output("Mul", &[&centred, &scale], NORMALISED);
}
