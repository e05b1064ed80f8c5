"""Constant factors that activations were left with go into the weights of the convolutions behind them.

That spares an operator, and its rounding: the int8 codes of x and of c · x are the same.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit_quantize.rewrite.values import constant, scalar

_WEIGHTED = {"Conv", "Gemm", "MatMul"}
# f(c · x) = c · f(x) for c > 0, in the first input.
_HOMOGENEOUS = {
    *("GlobalAveragePool", "AveragePool", "MaxPool", "ReduceMean", "Relu", "Slice"),
    *("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Dropout"),
}


def absorb_factors(graph: ir.Graph) -> None:
    """Remove every multiplication by a positive scalar whose factor the weights behind it can take."""
    for node in list(graph):
        factor = _factor(node)
        if factor is None:
            continue
        weights = _weights_behind(node.outputs[0])
        if weights is None:
            continue
        for weight in weights:
            weight.const_value = ir.tensor(np.asarray(constant(weight), np.float32) * np.float32(factor))
        (source,) = (value for value in node.inputs if value is not None and constant(value) is None)
        ir.convenience.replace_all_uses_with(node.outputs[0], source)
        graph.remove(node, safe=True)


def _factor(node: ir.Node) -> float | None:
    if node.op_type != "Mul" or all(constant(value) is not None for value in node.inputs):
        return None
    factors = [number for number in map(scalar, node.inputs) if number is not None]
    return factors[0] if factors and factors[0] > 0.0 else None


def _weights_behind(scaled: ir.Value) -> list[ir.Value] | None:
    """The weights that a factor of `scaled` is multiplied with; None where it reaches anything else.

    Between it and them the factor passes through operators that only carry it on.
    """
    found: list[ir.Value] = []
    reached, waiting = {scaled}, [scaled]
    while waiting:
        value = waiting.pop()
        if value.is_graph_output():
            return None
        for node, index in value.uses():
            weight = _own_weight(node) if index == 0 else None
            if weight is not None:
                found.append(weight)
            elif _carries(node, index):
                reached.add(node.outputs[0])
                waiting.append(node.outputs[0])
            else:
                return None
    products = {user for value in reached for user, _ in value.uses() if user.op_type == "Mul"}
    # Both sides of a product would count the factor twice.
    return None if any(all(value in reached for value in node.inputs) for node in products) else found


def _carries(node: ir.Node, index: int) -> bool:
    pads_zeros = node.op_type == "Pad" and (len(node.inputs) < 3 or not node.inputs[2] or scalar(node.inputs[2]) == 0.0)
    return node.op_type == "Mul" or (index == 0 and (pads_zeros or node.op_type in _HOMOGENEOUS))


def _own_weight(node: ir.Node) -> ir.Value | None:
    weight = node.inputs[1] if node.op_type in _WEIGHTED else None
    return weight if weight is not None and constant(weight) is not None and len(weight.uses()) == 1 else None
