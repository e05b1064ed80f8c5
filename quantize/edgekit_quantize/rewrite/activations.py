"""Activations without an int8 form, by ADD, SUB and MUL with a fused RELU6 or RELU, which XNNPACK has."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleSet
from onnxscript.rewriter.pattern import RewriteRule

from edgekit_quantize.rewrite.values import attributes, constant, image_shape, plus, relu6, scalar, tensor, times


def _hard_swish(op: Any, x: Any) -> Any:
    return op.HardSwish(x)


def _hard_swish_parts(op: Any, x: ir.Value) -> Any:
    """(x / 6) · relu6(x + 3). TensorFlow would fuse the division behind the product to HARD_SWISH again.

    For a vector x - (-3), since TensorFlow would compute a matrix product twice to take an addition into its bias.
    """
    is_vector = x.shape is not None and len(x.shape) == 2
    shifted = op.Sub(x, op.Constant(value_float=-3.0)) if is_vector else plus(op, x, 3.0)
    return op.Mul(times(op, x, 1.0 / 6.0), relu6(op, shifted))


def _hard_sigmoid(op: Any, x: Any) -> Any:
    return op.HardSigmoid(x, _allow_other_attributes=True, _outputs=["y"])


def _hard_sigmoid_parts(op: Any, x: Any, y: ir.Value) -> Any:
    """clip(αx + β, 0, 1) = relu6(6αx + 6β) / 6."""
    alpha, beta = attributes(y).get_float("alpha", 0.2), attributes(y).get_float("beta", 0.5)
    return times(op, relu6(op, plus(op, times(op, x, 6.0 * alpha), 6.0 * beta)), 1.0 / 6.0)


def _clip(op: Any, x: Any, low: Any, high: Any) -> Any:
    return op.Clip(x, low, high)


def _has_bounds_of_its_own(context: Any, low: ir.Value, high: ir.Value, **_: Any) -> bool:
    bounds = scalar(low), scalar(high)
    if bounds[0] is None or bounds[1] is None or bounds == (0.0, 6.0):
        return False
    # Exporters write "unbounded" as the largest float32.
    return -1e30 < bounds[0] < bounds[1] < 1e30


def _clip_parts(op: Any, x: Any, low: ir.Value, high: ir.Value) -> Any:
    start, end = scalar(low) or 0.0, scalar(high) or 0.0
    inside = relu6(op, times(op, plus(op, x, -start), 6.0 / (end - start)))
    return plus(op, times(op, inside, (end - start) / 6.0), start)


def _leaky_relu(op: Any, x: Any) -> Any:
    return op.LeakyRelu(x, _allow_other_attributes=True, _outputs=["y"])


def _leaks_at_most_all(context: Any, y: ir.Value, **_: Any) -> bool:
    return bool(attributes(y).get_float("alpha", 0.01) <= 1.0)


def _leaky_relu_parts(op: Any, x: Any, y: ir.Value) -> Any:
    """αx + relu((1 - α)x), for α ≤ 1."""
    alpha = attributes(y).get_float("alpha", 0.01)
    return op.Add(times(op, x, alpha), op.Relu(times(op, x, 1.0 - alpha)))


def _prelu(op: Any, x: Any, slope: Any) -> Any:
    return op.PRelu(x, slope)


def _slopes_are_at_most_one(context: Any, slope: ir.Value, **_: Any) -> bool:
    values = constant(slope)
    return values is not None and bool((values <= 1.0).all())


def _prelu_parts(op: Any, x: Any, slope: ir.Value) -> Any:
    """As for leaky ReLU, with a slope per channel."""
    values = np.asarray(constant(slope), np.float32)
    rest = np.float32(1.0) - values
    return op.Add(op.Mul(x, tensor(op, values)), op.Relu(op.Mul(x, tensor(op, rest))))


def _stands_alone(context: Any, x: ir.Value, low: ir.Value, high: ir.Value) -> bool:
    node = x.producer()
    is_fused = node is not None and node.op_type in {"Conv", "Add", "Sub", "Mul"} and len(x.uses()) == 1
    return (scalar(low), scalar(high)) == (0.0, 6.0) and image_shape(x) is not None and not is_fused


def _fused_to_a_copy(op: Any, x: ir.Value, **_: Any) -> Any:
    """A RELU6 of its own has no int8 form in ai-edge-quantizer; a copy by convolution loses nothing."""
    channels = (image_shape(x) or (0,))[0]
    return relu6(op, op.Conv(x, tensor(op, np.ones((channels, 1, 1, 1), np.float32)), group=channels))


ACTIVATIONS = RewriteRuleSet(
    [
        RewriteRule(_hard_swish, _hard_swish_parts),
        RewriteRule(_hard_sigmoid, _hard_sigmoid_parts),
        RewriteRule(_clip, _clip_parts, _has_bounds_of_its_own),
        RewriteRule(_leaky_relu, _leaky_relu_parts, _leaks_at_most_all),
        RewriteRule(_prelu, _prelu_parts, _slopes_are_at_most_one),
    ]
)
LONE_ACTIVATIONS = RewriteRuleSet([RewriteRule(_clip, _fused_to_a_copy, _stands_alone)])
