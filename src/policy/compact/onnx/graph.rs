//! Small pieces of ONNX: tensors, attributes, nodes, and the part of a graph that given
//! outputs need.

use std::collections::{BTreeMap, BTreeSet};

use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, attribute_proto::AttributeType, tensor_proto::DataType,
    tensor_shape_proto::Dimension, tensor_shape_proto::dimension, type_proto,
};

use super::OnnxError;

/// A dimension of an input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Always this many.
    Fixed(usize),
    /// As many as the caller gives; equal names are equal numbers.
    Free(String),
}

impl Dim {
    pub(super) fn free(name: &str) -> Dim {
        Dim::Free(name.to_owned())
    }
}

impl std::fmt::Display for Dim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Dim::Fixed(size) => write!(f, "{size}"),
            Dim::Free(name) => f.write_str(name),
        }
    }
}

/// A named f32 input or output.
pub(super) fn value(name: &str, dims: &[Dim]) -> ValueInfoProto {
    let dim = dims.iter().map(|dim| Dimension {
        denotation: String::new(),
        value: Some(match dim {
            Dim::Fixed(size) => dimension::Value::DimValue(*size as i64),
            Dim::Free(name) => dimension::Value::DimParam(name.clone()),
        }),
    });
    let tensor = type_proto::Tensor {
        elem_type: DataType::Float as i32,
        shape: Some(TensorShapeProto { dim: dim.collect() }),
    };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            denotation: String::new(),
            value: Some(type_proto::Value::TensorType(tensor)),
        }),
        ..Default::default()
    }
}

/// The declared dimensions of an input or output; `None`: not even their number is known.
pub(super) fn dims(value: &ValueInfoProto) -> Option<Vec<Option<Dim>>> {
    let type_proto::Value::TensorType(tensor) = value.r#type.as_ref()?.value.as_ref()?;
    let dims = tensor.shape.as_ref()?.dim.iter().map(|dim| match &dim.value {
        Some(dimension::Value::DimValue(size)) => usize::try_from(*size).ok().map(Dim::Fixed),
        Some(dimension::Value::DimParam(name)) if !name.is_empty() => Some(Dim::free(name)),
        _ => None,
    });
    Some(dims.collect())
}

/// A constant of 32-bit floats, `dims` in row-major order.
pub(super) fn floats(name: &str, dims: &[usize], values: &[f32]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.iter().map(|&dim| dim as i64).collect(),
        data_type: DataType::Float as i32,
        raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ..Default::default()
    }
}

/// A constant list of 64-bit integers.
pub(super) fn integers(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: vec![values.len() as i64],
        data_type: DataType::Int64 as i32,
        raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ..Default::default()
    }
}

pub(super) fn int_attribute(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i: value,
        ..Default::default()
    }
}

pub(super) fn ints_attribute(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Ints as i32,
        ints: values.to_vec(),
        ..Default::default()
    }
}

/// Calls `each` with every name that `nodes` read or write, inside nested graphs too.
pub(super) fn for_each_name(nodes: &mut [NodeProto], each: &mut impl FnMut(&mut String)) {
    for node in nodes {
        node.input.iter_mut().for_each(&mut *each);
        node.output.iter_mut().for_each(&mut *each);
        for attribute in &mut node.attribute {
            for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                graph.input.iter_mut().for_each(|value| each(&mut value.name));
                graph.output.iter_mut().for_each(|value| each(&mut value.name));
                graph.initializer.iter_mut().for_each(|tensor| each(&mut tensor.name));
                graph.value_info.iter_mut().for_each(|value| each(&mut value.name));
                for_each_name(&mut graph.node, each);
            }
        }
    }
}

/// Names that a node reads, those that its nested graphs take from outside included.
fn reads(node: &NodeProto) -> BTreeSet<&str> {
    fn nested<'a>(graph: &'a GraphProto, all: &mut BTreeSet<&'a str>) {
        all.extend(graph.output.iter().map(|value| value.name.as_str()));
        for node in &graph.node {
            all.extend(reads(node));
        }
    }
    let mut all: BTreeSet<&str> = node.input.iter().map(String::as_str).collect();
    for attribute in &node.attribute {
        attribute.g.iter().chain(&attribute.graphs).for_each(|graph| nested(graph, &mut all));
    }
    all.remove("");
    all
}

/// The part of `model` that computes `outputs` from `inputs`, in that order: the nodes and
/// constants that are needed and nothing else.
///
/// # Errors
/// [`OnnxError::NoTensor`] for an output that no node gives, and for an input of a node that
/// is neither given, nor constant, nor the result of another node.
pub fn part(
    model: &ModelProto,
    inputs: &[&str],
    outputs: &[&str],
) -> Result<ModelProto, OnnxError> {
    let no_graph = || OnnxError::Damaged("there is no graph in it".to_owned());
    let graph = model.graph.as_ref().ok_or_else(no_graph)?;
    let missing = |name: &str| OnnxError::NoTensor { name: name.to_owned() };
    let maker: BTreeMap<&str, usize> = graph
        .node
        .iter()
        .enumerate()
        .flat_map(|(at, node)| node.output.iter().map(move |name| (name.as_str(), at)))
        .collect();
    let constants: BTreeSet<&str> =
        graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let sparse = |tensor: &tract_onnx::pb::SparseTensorProto| {
        tensor.values.as_ref().map(|values| values.name.clone()).unwrap_or_default()
    };
    let sparse_names: BTreeSet<String> = graph.sparse_initializer.iter().map(sparse).collect();
    let mut needed = BTreeSet::new();
    let mut used: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<usize> = Vec::new();
    for output in outputs {
        open.push(*maker.get(output).ok_or_else(|| missing(output))?);
    }
    while let Some(at) = open.pop() {
        if !needed.insert(at) {
            continue;
        }
        let node = &graph.node[at];
        for name in reads(node) {
            let direct = node.input.iter().any(|input| input == name);
            if inputs.contains(&name) || constants.contains(name) || sparse_names.contains(name) {
                used.insert(name);
            } else if let Some(&from) = maker.get(name) {
                open.push(from);
            } else if direct {
                // What a nested graph reads may be its own.
                return Err(missing(name));
            }
        }
    }
    let find = |values: &[ValueInfoProto], name: &str| {
        values.iter().find(|value| value.name == name).cloned()
    };
    let given = inputs.iter().map(|name| find(&graph.input, name).ok_or_else(|| missing(name)));
    let results = outputs.iter().map(|name| {
        find(&graph.output, name)
            .unwrap_or_else(|| ValueInfoProto { name: (*name).to_owned(), ..Default::default() })
    });
    let cut = GraphProto {
        name: graph.name.clone(),
        doc_string: graph.doc_string.clone(),
        node: needed.iter().map(|&at| graph.node[at].clone()).collect(),
        initializer: graph
            .initializer
            .iter()
            .filter(|tensor| used.contains(tensor.name.as_str()))
            .cloned()
            .collect(),
        sparse_initializer: graph
            .sparse_initializer
            .iter()
            .filter(|tensor| used.contains(sparse(tensor).as_str()))
            .cloned()
            .collect(),
        input: given.collect::<Result<_, _>>()?,
        output: results.collect(),
        ..Default::default()
    };
    Ok(ModelProto { graph: Some(cut), ..header(model) })
}

/// Everything of a model but its graph and what it says about itself.
fn header(model: &ModelProto) -> ModelProto {
    ModelProto {
        ir_version: model.ir_version,
        opset_import: model.opset_import.clone(),
        producer_name: model.producer_name.clone(),
        producer_version: model.producer_version.clone(),
        domain: model.domain.clone(),
        model_version: model.model_version,
        doc_string: model.doc_string.clone(),
        functions: model.functions.clone(),
        ..Default::default()
    }
}
