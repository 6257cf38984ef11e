//! The head's parts as ONNX nodes.

use std::collections::BTreeMap;

use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};

use super::{OnnxError, graph};
use crate::policy::compact::head::{FARNESS_SPREAD, HeadShape, ORDER_SHARPNESS, PATCH_SAYS};

/// Parameters of a head by path: shape and values.
pub(super) type Parameters = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Nodes and constants of a graph under construction; their names begin with `head/`.
pub(super) struct Nodes {
    opset: i64,
    parameters: Parameters,
    pub nodes: Vec<NodeProto>,
    pub constants: Vec<TensorProto>,
}

impl Nodes {
    pub fn new(opset: i64, parameters: Parameters) -> Self {
        Nodes { opset, parameters, nodes: Vec::new(), constants: Vec::new() }
    }

    /// A constant; gives its full name.
    pub fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) -> String {
        let name = format!("head/{name}");
        self.constants.push(graph::floats(&name, dims, values));
        name
    }

    /// A parameter of the head as a constant, once however often it is asked for.
    fn parameter(&mut self, path: &str, dims: &[usize]) -> Result<String, OnnxError> {
        let name = format!("head/{path}");
        if self.constants.iter().any(|constant| constant.name == name) {
            return Ok(name);
        }
        let (got, values) = self.parameters.get(path).cloned().unwrap_or_default();
        if got != dims {
            return Err(OnnxError::Parameter { name: path.to_owned(), got, needed: dims.to_vec() });
        }
        Ok(self.floats(path, dims, &values))
    }

    fn push(&mut self, op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) {
        self.nodes.push(NodeProto {
            name: format!("head/node/{}", self.nodes.len()),
            op_type: op.to_owned(),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![output.to_owned()],
            attribute,
            ..Default::default()
        });
    }

    /// A node whose result only other nodes read; gives that result's full name.
    pub fn node(&mut self, op: &str, inputs: &[&str], name: &str) -> String {
        let output = format!("head/{name}");
        self.push(op, inputs, &output, Vec::new());
        output
    }

    /// A node whose result is called exactly `output`.
    pub fn output(&mut self, op: &str, inputs: &[&str], output: &str) {
        self.push(op, inputs, output, Vec::new());
    }

    /// An operator on `axes`, which were an attribute before opset `since` and are an input
    /// from then on.
    fn on_axes(
        &mut self,
        op: &str,
        input: &str,
        axes: &[i64],
        since: i64,
        more: Vec<AttributeProto>,
        output: &str,
    ) {
        let mut attributes = more;
        if self.opset < since {
            attributes.push(graph::ints_attribute("axes", axes));
            self.push(op, &[input], output, attributes);
        } else {
            let name = format!("head/axes/{}", self.nodes.len());
            self.constants.push(graph::integers(&name, axes));
            self.push(op, &[input, &name], output, attributes);
        }
    }

    /// `[.., input]` to `[.., output]`.
    fn linear(
        &mut self,
        path: &str,
        [input, output]: [usize; 2],
        x: &str,
        name: &str,
    ) -> Result<String, OnnxError> {
        let weight = self.parameter(&format!("{path}.weight"), &[input, output])?;
        let bias = self.parameter(&format!("{path}.bias"), &[output])?;
        let product = self.node("MatMul", &[x, &weight], &format!("{name}/product"));
        Ok(self.node("Add", &[&product, &bias], name))
    }

    /// Brings features to unit size.
    fn scaled(
        &mut self,
        path: &str,
        channels: usize,
        x: &str,
        name: &str,
    ) -> Result<String, OnnxError> {
        let mean = self.parameter(&format!("{path}.mean"), &[channels])?;
        let scale = self.parameter(&format!("{path}.scale"), &[channels])?;
        let centred = self.node("Sub", &[x, &mean], &format!("{name}/centred"));
        Ok(self.node("Mul", &[&centred, &scale], name))
    }

    /// `x / 2 (1 + erf(x / sqrt 2))`, the exact form of Hendrycks and Gimpel (2016).
    fn gelu(&mut self, x: &str, name: &str) -> String {
        for (constant, value) in
            [("half", 0.5), ("one", 1.0), ("one_over_sqrt_2", core::f32::consts::FRAC_1_SQRT_2)]
        {
            let full = format!("head/{constant}");
            if self.constants.iter().all(|constant| constant.name != full) {
                self.floats(constant, &[], &[value]);
            }
        }
        let over = self.node("Mul", &[x, "head/one_over_sqrt_2"], &format!("{name}/over_sqrt_2"));
        let erf = self.node("Erf", &[&over], &format!("{name}/erf"));
        let gate = self.node("Add", &[&erf, "head/one"], &format!("{name}/gate"));
        let gated = self.node("Mul", &[x, &gate], &format!("{name}/gated"));
        self.node("Mul", &[&gated, "head/half"], name)
    }

    /// Two linear layers with a GELU between.
    fn mlp(
        &mut self,
        path: &str,
        [input, hidden, output]: [usize; 3],
        x: &str,
    ) -> Result<String, OnnxError> {
        let inner =
            self.linear(&format!("{path}.inner"), [input, hidden], x, &format!("{path}/inner"))?;
        let active = self.gelu(&inner, &format!("{path}/active"));
        self.linear(&format!("{path}.outer"), [hidden, output], &active, &format!("{path}/outer"))
    }

    /// `point_features` to `farness`.
    fn farness(&mut self, shape: &HeadShape) -> Result<(), OnnxError> {
        let [first, second] = shape.far_dims;
        let x = self.scaled("point_scaler", shape.point_channels, "point_features", "points")?;
        let x = self.linear("far_in", [shape.point_channels, first], &x, "far_in")?;
        let x = self.gelu(&x, "far_in/active");
        let x = self.linear("far_mid", [first, second], &x, "far_mid")?;
        let x = self.gelu(&x, "far_mid/active");
        let x = self.linear("far_out", [second, 1], &x, "far_out")?;
        self.on_axes("Squeeze", &x, &[1], 13, Vec::new(), "farness");
        Ok(())
    }

    /// `[pairs, places, border_dim]`: borders as they are compared; those of a white patch
    /// are nothing.
    fn embedded(&mut self, shape: &HeadShape, which: &str) -> Result<String, OnnxError> {
        let (borders, seen) = (format!("border_{which}"), format!("{which}_seen"));
        let x = self.scaled("border_scaler", shape.border_channels, &borders, which)?;
        let dims = [shape.border_channels, shape.border_dim];
        let x = self.linear("border", dims, &x, &format!("{which}/embedded"))?;
        let spread = format!("head/{seen}");
        self.on_axes("Unsqueeze", &seen, &[1, 2], 13, Vec::new(), &spread);
        Ok(self.node("Mul", &[&x, &spread], &format!("{which}/shown")))
    }

    /// Two borders to how well the second continues the first to the right and below.
    fn pairs(&mut self, shape: &HeadShape) -> Result<(), OnnxError> {
        let first = self.embedded(shape, "first")?;
        let second = self.embedded(shape, "second")?;
        let apart = self.node("Sub", &[&first, &second], "pair/apart");
        let apart = self.node("Abs", &[&apart], "pair/distance");
        let alike = self.node("Mul", &[&first, &second], "pair/product");
        let pair = "head/pair";
        self.push("Concat", &[&apart, &alike], pair, vec![graph::int_attribute("axis", 2)]);
        for scorer in ["beside", "above"] {
            let dims = [2 * shape.border_dim, shape.pair_dim, 1];
            let scores = self.mlp(scorer, dims, pair)?;
            let drop = vec![graph::int_attribute("keepdims", 0)];
            self.on_axes("ReduceMean", &scores, &[1, 2], 18, drop, scorer);
        }
        Ok(())
    }

    /// `patch_context` to `patch_says`.
    fn patch(&mut self, shape: &HeadShape) -> Result<(), OnnxError> {
        let channels = shape.context_channels;
        let x = self.scaled("context_scaler", channels, "patch_context", "patches")?;
        let says = self.mlp("patch", [channels, shape.pair_dim, PATCH_SAYS], &x)?;
        self.output("Identity", &[&says], "patch_says");
        Ok(())
    }

    /// The two learnt constants, ready to be used.
    fn constants(&mut self) -> Result<(), OnnxError> {
        for (name, start) in
            [("order_sharpness", ORDER_SHARPNESS), ("farness_spread", FARNESS_SPREAD)]
        {
            let (got, values) = self.parameters.get(name).cloned().unwrap_or_default();
            let [value] = values[..] else {
                return Err(OnnxError::Parameter { name: name.to_owned(), got, needed: vec![1] });
            };
            let constant = self.floats(name, &[1], &[(value + start).exp()]);
            self.output("Identity", &[&constant], name);
        }
        Ok(())
    }

    /// All parts.
    pub fn head(&mut self, shape: &HeadShape) -> Result<(), OnnxError> {
        self.farness(shape)?;
        self.pairs(shape)?;
        self.patch(shape)?;
        self.constants()
    }
}
