"""What the rules need to know of values, and the small pieces they build from."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray


def constant(value: ir.Value | None) -> NDArray[Any] | None:
    """The array behind an initializer; None for what is computed."""
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    return None if tensor is None else np.asarray(tensor.numpy())


def scalar(value: ir.Value | None) -> float | None:
    """The number behind an initializer of one element, else None."""
    array = constant(value)
    return None if array is None or array.size != 1 else float(array.reshape(()))


def per_channel(value: ir.Value | None, channels: int) -> NDArray[np.float32] | None:
    """(channels,) from an initializer that broadcasts along the channels of an image, else None; no scalars."""
    array = constant(value)
    if array is None or channels == 1 or array.size != channels or array.shape[-3:] != (channels, 1, 1):
        return None
    return array.reshape(channels).astype(np.float32)


def image_shape(value: ir.Value) -> tuple[int, int, int] | None:
    """(channels, height, width) of an activation (1, channels, height, width), else None."""
    shape = value.shape
    if shape is None or len(shape) != 4 or not all(isinstance(n, int) for n in shape):
        return None
    _, channels, height, width = (int(n) for n in shape)  # type: ignore[arg-type]
    return channels, height, width


def attributes(output: ir.Value) -> Any:
    """Of the node that computes `output`: a mapping with `get_int` and the like."""
    node: Any = output.producer()
    return node.attributes


def tensor(op: Any, values: NDArray[Any]) -> Any:
    """A constant of the rewritten graph."""
    return op.Constant(value=ir.tensor(values))


def relu6(op: Any, x: Any) -> Any:
    """The function clip(x, 0, 6)."""
    return op.Clip(x, op.Constant(value_float=0.0), op.Constant(value_float=6.0))


def times(op: Any, x: Any, factor: float) -> Any:
    """A product with a number."""
    return x if abs(factor - 1.0) < 1e-6 else op.Mul(x, op.Constant(value_float=factor))


def plus(op: Any, x: Any, offset: float) -> Any:
    """A sum with a number."""
    return x if offset == 0.0 else op.Add(x, op.Constant(value_float=offset))
