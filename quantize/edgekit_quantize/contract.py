"""Bringing a foreign ONNX classifier to the contract: one image in, one vector of logits (1, classes) out."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

# Between a softmax and the output these only move values.
_SHAPING = {"Flatten", "Identity", "Reshape", "Squeeze"}
_PROBABILITIES = {"LogSoftmax", "Sigmoid", "Softmax"}


def give_logits(model: onnx.ModelProto) -> str | None:
    """Take a final softmax or sigmoid away, in place: the order of the classes stays, and int8 resolves logits better.

    Returns:
        What was removed, for the user; None if there is none.
    """
    producers = {name: node for node in model.graph.node for name in node.output}
    node = producers.get(model.graph.output[0].name)
    while node is not None and node.op_type in _SHAPING:
        node = producers.get(node.input[0])
    if node is None or node.op_type not in _PROBABILITIES:
        return None
    # Its output keeps its name, now as a plain copy.
    del node.attribute[:]
    removed, node.op_type = node.op_type, "Identity"
    note = f"The final {removed} was left out: the model gives logits, in the same order."
    if removed == "Sigmoid":
        note += " Edgekit shows the classes as exclusive, although a sigmoid scores each by itself."
    return note


def give_vector(model: onnx.ModelProto) -> None:
    """Flatten an output (1, classes, 1, 1), in place; any other stays as it is."""
    output = model.graph.output[0]
    dims = [dim.dim_value for dim in output.type.tensor_type.shape.dim]
    if len(dims) != 4 or dims[0] != 1 or dims[2:] != [1, 1]:
        return
    name = f"{output.name}_vector"
    model.graph.node.append(helper.make_node("Flatten", [output.name], [name], name=name))
    output.CopyFrom(helper.make_tensor_value_info(name, output.type.tensor_type.elem_type, [1, dims[1]]))


def weights_not_finite(model: onnx.ModelProto) -> list[str]:
    """Names of the weights that hold NaN or infinity."""
    floats = (t for t in model.graph.initializer if t.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE))
    return [tensor.name for tensor in floats if not np.isfinite(numpy_helper.to_array(tensor)).all()]
