"""What stands behind a convolution and is linear per channel becomes part of its weights and bias.

TensorFlow would do that too, but onnx2tf lays out a constant (1, channels, 1, 1) wrongly behind an image of one pixel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleSet
from onnxscript.rewriter.pattern import RewriteRule
from onnxscript.rewriter.rules.common import fuse_batchnorm_into_conv_rule, fuse_batchnorm_into_gemm_rule

from edgekit_quantize.rewrite.values import constant, image_shape, per_channel, tensor


def _convolution(op: Any, x: Any, weight: Any) -> Any:
    return op.Conv(x, weight, _allow_other_inputs=True, _allow_other_attributes=True, _outputs=["y"])


def _shifted(op: Any, x: Any, weight: Any, c: Any) -> Any:
    return op.Add(_convolution(op, x, weight), c)


def _scaled(op: Any, x: Any, weight: Any, c: Any) -> Any:
    return op.Mul(_convolution(op, x, weight), c)


def _is_per_channel(context: Any, weight: ir.Value, c: ir.Value, y: ir.Value, **_: Any) -> bool:
    shape = image_shape(y)
    return shape is not None and per_channel(c, shape[0]) is not None and _bias(weight, y) is not None


def _with_offset(op: Any, x: Any, weight: ir.Value, c: ir.Value, y: ir.Value) -> Any:
    return _convolve(op, x, y, weight, _bias(weight, y) + _vector(weight, c))


def _with_factor(op: Any, x: Any, weight: ir.Value, c: ir.Value, y: ir.Value) -> Any:
    factor = _vector(weight, c)
    scaled = np.asarray(constant(weight)) * factor.reshape(-1, 1, 1, 1)
    return _convolve(op, x, y, tensor(op, scaled.astype(np.float32)), _bias(weight, y) * factor)


def _convolve(op: Any, x: Any, y: ir.Value, weight: Any, bias: Any) -> Any:
    node: Any = y.producer()
    return op.op("Conv", x, weight, tensor(op, bias.astype(np.float32)), **node.attributes)


def _vector(weight: ir.Value, c: ir.Value) -> Any:
    return per_channel(c, len(np.asarray(constant(weight))))


def _bias(weight: ir.Value, y: ir.Value) -> Any:
    """(channels,); None where weight or bias are computed."""
    values, node = constant(weight), y.producer()
    if values is None or node is None:
        return None
    return constant(node.inputs[2]) if len(node.inputs) > 2 else np.zeros(len(values), np.float32)


FUSIONS = RewriteRuleSet(
    [
        fuse_batchnorm_into_conv_rule,
        fuse_batchnorm_into_gemm_rule,
        RewriteRule(_shifted, _with_offset, _is_per_channel),
        RewriteRule(_scaled, _with_factor, _is_per_channel),
    ],
    commute=True,
)
