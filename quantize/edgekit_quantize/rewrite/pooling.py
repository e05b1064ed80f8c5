"""Pooling in forms that XNNPACK has in int8, and that onnx2tf does not transpose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleSet
from onnxscript.rewriter.pattern import RewriteRule

from edgekit_quantize.rewrite.values import attributes, constant, image_shape, scalar, tensor

_NO_PADS = (0, 0, 0, 0)
_TO_THE_END = int(np.iinfo(np.int64).max)


def _mean(op: Any, x: Any, axes: Any) -> Any:
    return op.ReduceMean(x, axes, _allow_other_attributes=True, _outputs=["y"])


def _is_over_height_and_width(context: Any, x: ir.Value, axes: ir.Value, **_: Any) -> bool:
    chosen = constant(axes)
    return image_shape(x) is not None and chosen is not None and sorted(int(a) % 4 for a in chosen) == [2, 3]


def _global_pool(op: Any, x: Any, y: ir.Value, **_: Any) -> Any:
    """Before a mean onnx2tf may leave a transpose, before a global pool not."""
    pooled = op.GlobalAveragePool(x)
    return pooled if attributes(y).get_int("keepdims", 1) else op.Flatten(pooled)


def _average_pool(op: Any, x: Any) -> Any:
    return op.AveragePool(x, _allow_other_attributes=True, _outputs=["y"])


def _weighs_all_alike(context: Any, x: ir.Value, y: ir.Value) -> bool:
    given = attributes(y)
    counts_pads = given.get_int("count_include_pad", 0) or not any(given.get_ints("pads", _NO_PADS))
    return bool(counts_pads) and image_shape(x) is not None and _is_plain(given)


def _equal_weights(op: Any, x: ir.Value, y: ir.Value) -> Any:
    """A depthwise convolution, or a global pool: XNNPACK has no average pool in int8."""
    channels, height, width = image_shape(x) or (0, 0, 0)
    given = attributes(y)
    kernel, pads = given.get_ints("kernel_shape"), given.get_ints("pads", _NO_PADS)
    if list(kernel) == [height, width] and not any(pads):
        return op.GlobalAveragePool(x)
    weight = np.full((channels, 1, *kernel), 1.0 / np.prod(kernel), np.float32)
    return op.Conv(x, tensor(op, weight), group=channels, strides=given.get_ints("strides", [1, 1]), pads=pads)


def _max_pool(op: Any, x: Any) -> Any:
    return op.MaxPool(x, _allow_other_attributes=True, _outputs=["y"])


def _is_padded_unlike_same(context: Any, x: ir.Value, y: ir.Value) -> bool:
    given, shape = attributes(y), image_shape(x)
    pads = list(given.get_ints("pads", _NO_PADS))
    if shape is None or not any(pads) or not _is_plain(given):
        return False
    return pads != _same_padding(shape[1:], given.get_ints("kernel_shape"), given.get_ints("strides", [1, 1]))


def _pad_without_winning(op: Any, x: ir.Value, y: ir.Value) -> Any:
    """Zeros around what is never negative, else the edge once more: neither is the only largest of a window.

    onnx2tf would pad by minus infinity, for which there is no int8 code, unless the padding is TensorFlow's SAME.
    """
    given = attributes(y)
    top, left, bottom, right = given.get_ints("pads")
    if _is_never_negative(x):
        padded = op.Pad(x, tensor(op, np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)))
    else:
        padded = _repeat_edge(op, _repeat_edge(op, x, 2, top, bottom), 3, left, right)
    return op.MaxPool(padded, kernel_shape=given.get_ints("kernel_shape"), strides=given.get_ints("strides", [1, 1]))


def _is_plain(given: Any) -> bool:
    return (
        given.get_string("auto_pad", "NOTSET") == "NOTSET"
        and not given.get_int("ceil_mode", 0)
        and max(given.get_ints("dilations", [1])) == 1
    )


def _same_padding(sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int]) -> list[int]:
    """TensorFlow's SAME as ONNX pads: (top, left, bottom, right)."""
    total = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(sizes, kernel, strides, strict=True)]
    return [t // 2 for t in total] + [t - t // 2 for t in total]


def _is_never_negative(value: ir.Value | None) -> bool:
    node = value.producer() if value is not None else None
    if node is None:
        return False
    if node.op_type in {"Concat", "MaxPool"}:
        return all(_is_never_negative(part) for part in node.inputs)
    low = scalar(node.inputs[1]) if node.op_type == "Clip" and len(node.inputs) > 1 else None
    return node.op_type in {"Relu", "Sigmoid"} or (low is not None and low >= 0.0)


def _repeat_edge(op: Any, x: Any, axis: int, before: int, after: int) -> Any:
    def edge(start: int, end: int) -> Any:
        return op.Slice(x, *(op.Constant(value_ints=[n]) for n in (start, end, axis)))

    pieces = [edge(0, 1) for _ in range(before)] + [x] + [edge(-1, _TO_THE_END) for _ in range(after)]
    return op.Concat(*pieces, axis=axis) if len(pieces) > 1 else x


POOLING = RewriteRuleSet(
    [
        RewriteRule(_mean, _global_pool, _is_over_height_and_width),
        RewriteRule(_average_pool, _equal_weights, _weighs_all_alike),
        RewriteRule(_max_pool, _pad_without_winning, _is_padded_unlike_same),
    ]
)
