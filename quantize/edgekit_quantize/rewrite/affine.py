"""Factors and offsets per channel as depthwise 1×1 convolutions, whose int8 weights have a scale per channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnxscript.rewriter import RewriteRuleSet
from onnxscript.rewriter.pattern import RewriteRule

from edgekit_quantize.rewrite.values import attributes, constant, image_shape, per_channel, tensor

Vector = NDArray[np.float32]
# Number of channels and the values of a match to (factor, offset), each (channels,); None if they are no such thing.
_Factors = Callable[..., tuple[Vector, Vector] | None]


def _difference(op: Any, x: Any, c: Any) -> Any:
    return op.Sub(x, c)


def _sum_instead(op: Any, x: Any, c: ir.Value) -> Any:
    return op.Add(x, tensor(op, -np.asarray(constant(c))))


def _quotient(op: Any, x: Any, c: Any) -> Any:
    return op.Div(x, c)


def _product_instead(op: Any, x: Any, c: ir.Value) -> Any:
    return op.Mul(x, tensor(op, np.reciprocal(np.asarray(constant(c), np.float32))))


def _sum_of_two(op: Any, x: Any, y: Any) -> Any:
    return op.Sum(x, y)


def _addition(op: Any, x: Any, y: Any) -> Any:
    """What old exporters call a sum has no int8 form in TensorFlow Lite."""
    return op.Add(x, y)


def _has_constant(context: Any, x: ir.Value, c: ir.Value) -> bool:
    values = constant(c)
    return constant(x) is None and values is not None and values.dtype == np.float32


def _has_divisor(context: Any, x: ir.Value, c: ir.Value) -> bool:
    return _has_constant(context, x, c) and bool(np.all(np.asarray(constant(c))))


def _scaled_and_shifted(op: Any, x: Any, factor: Any, offset: Any) -> Any:
    return op.Add(op.Mul(x, factor), offset)


def _factors_of_scaled_and_shifted(channels: int, factor: ir.Value, offset: ir.Value) -> tuple[Vector, Vector] | None:
    first, second = per_channel(factor, channels), per_channel(offset, channels)
    return None if first is None or second is None else (first, second)


def _shifted_and_scaled(op: Any, x: Any, factor: Any, offset: Any) -> Any:
    return op.Mul(op.Add(x, offset), factor)


def _factors_of_shifted_and_scaled(channels: int, factor: ir.Value, offset: ir.Value) -> tuple[Vector, Vector] | None:
    found = _factors_of_scaled_and_shifted(channels, factor, offset)
    return None if found is None else (found[0], found[0] * found[1])


def _scaled(op: Any, x: Any, factor: Any) -> Any:
    return op.Mul(x, factor)


def _factors_of_scaled(channels: int, factor: ir.Value) -> tuple[Vector, Vector] | None:
    found = per_channel(factor, channels)
    return None if found is None else (found, np.zeros(channels, np.float32))


def _shifted(op: Any, x: Any, offset: Any) -> Any:
    return op.Add(x, offset)


def _factors_of_shifted(channels: int, offset: ir.Value) -> tuple[Vector, Vector] | None:
    found = per_channel(offset, channels)
    return None if found is None else (np.ones(channels, np.float32), found)


def _normalized(op: Any, x: Any, gamma: Any, beta: Any, mean: Any, variance: Any) -> Any:
    return op.BatchNormalization(x, gamma, beta, mean, variance, _allow_other_attributes=True, _outputs=["y"])


def _factors_of_normalized(channels: int, y: ir.Value, **values: ir.Value) -> tuple[Vector, Vector] | None:
    gamma, beta, mean, variance = (constant(values[name]) for name in ("gamma", "beta", "mean", "variance"))
    if gamma is None or beta is None or mean is None or variance is None:
        return None
    factor = gamma / np.sqrt(variance + attributes(y).get_float("epsilon", 1e-5))
    return factor.astype(np.float32), (beta - mean * factor).astype(np.float32)


def _affine(target: Callable[..., Any], factors: _Factors) -> RewriteRule:
    """The rule that makes a depthwise convolution of what `target` matches."""

    def is_affine(context: Any, x: ir.Value, **values: ir.Value) -> bool:
        shape = image_shape(x)
        return shape is not None and factors(shape[0], **values) is not None

    def convolution(op: Any, x: ir.Value, **values: ir.Value) -> Any:
        channels = (image_shape(x) or (0,))[0]
        factor, offset = factors(channels, **values) or (np.zeros(0), np.zeros(0))
        return op.Conv(x, tensor(op, factor.reshape(channels, 1, 1, 1)), tensor(op, offset), group=channels)

    return RewriteRule(target, convolution, is_affine)


ARITHMETIC = RewriteRuleSet(
    [
        RewriteRule(_sum_of_two, _addition),
        RewriteRule(_difference, _sum_instead, _has_constant),
        RewriteRule(_quotient, _product_instead, _has_divisor),
    ]
)
AFFINE_PAIRS = RewriteRuleSet(
    [
        _affine(_scaled_and_shifted, _factors_of_scaled_and_shifted),
        _affine(_shifted_and_scaled, _factors_of_shifted_and_scaled),
    ],
    commute=True,
)
AFFINE = RewriteRuleSet(
    [
        _affine(_scaled, _factors_of_scaled),
        _affine(_shifted, _factors_of_shifted),
        _affine(_normalized, _factors_of_normalized),
    ],
    commute=True,
)
