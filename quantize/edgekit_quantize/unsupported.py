"""Which nodes of an ONNX network stand in the way of int8, by name."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx

from edgekit.errors import InputError
from edgekit_quantize.rewrite import simplify

# What becomes int8 on XNNPACK as it is, or once it is rewritten; everything else is a suspect.
_KNOWN = frozenset(
    {
        *("Add", "AveragePool", "BatchNormalization", "Clip", "Concat", "Constant", "Conv", "ConvTranspose"),
        *("DepthToSpace", "Div", "Dropout", "Flatten", "Gemm", "GlobalAveragePool", "HardSigmoid", "HardSwish"),
        *("Identity", "LeakyRelu", "MatMul", "MaxPool", "Mul", "PRelu", "Pad", "ReduceMean", "Relu", "Reshape"),
        *("Sigmoid", "Slice", "Softmax", "Split", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze"),
    }
)
_RECURRENT = frozenset({"GRU", "If", "LSTM", "Loop", "RNN", "Scan"})
_STANDARD = frozenset({"", "ai.onnx"})
_SHOWN = 3


def check_operators(model: onnx.ModelProto) -> None:
    """Refuse what no recipe can convert.

    Raises:
        InputError: A node with a loop or branch inside, or of a domain other than ONNX's own; it is named.
    """
    own = {(function.domain, function.name) for function in model.functions}
    for node in model.graph.node:
        is_foreign = node.domain not in _STANDARD and (node.domain, node.op_type) not in own
        if is_foreign or node.op_type in _RECURRENT:
            raise InputError(
                f"Every node must be a feed-forward ONNX operator, got {describe(node)}.", "Replace it in the network."
            )


@contextmanager
def naming_nodes(path: Path) -> Iterator[None]:
    """Add the nodes that may be the cause to an `InputError` from inside.

    Args:
        path: The ONNX network that is being converted.

    Raises:
        InputError: The same, with ONNX operators and node names, where there are suspects.
    """
    try:
        yield
    except InputError as error:
        nodes = suspects(simplify(onnx.load(str(path))))
        if not nodes:
            raise
        raise InputError(f"{error.message.rstrip('.')}; the cause may be {_listed(nodes)}.", error.remedy) from error


def suspects(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes whose operator is not known to have an int8 form, in execution order."""
    return [node for node in model.graph.node if node.domain not in _STANDARD or node.op_type not in _KNOWN]


def describe(node: onnx.NodeProto) -> str:
    """Operator and name of a node, such as "Cos (node 'features.3.cos')"."""
    operator = node.op_type if node.domain in _STANDARD else f"{node.domain}.{node.op_type}"
    return f"{operator} (node '{node.name or node.output[0]}')"


def _listed(nodes: Collection[onnx.NodeProto]) -> str:
    first: dict[str, str] = {}
    for node in nodes:
        first.setdefault(node.op_type, describe(node))
    more = len(first) - _SHOWN
    return ", ".join(list(first.values())[:_SHOWN]) + (f" or {more} more" if more > 0 else "")
