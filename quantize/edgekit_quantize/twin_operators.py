"""TFLite's float operators in PyTorch: each one a function of its options and inputs. Tensors are NHWC, batch first.

The meaning of every operator and option is the TFLite schema's; a test holds each against the interpreter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from ai_edge_litert import schema_py_generated as schema
from torch import Tensor
from torch.nn import functional

Operator = Callable[[Any, Sequence[Tensor | None]], Tensor]

_ACTIVATIONS: dict[int, Callable[[Tensor], Tensor]] = {
    schema.ActivationFunctionType.NONE: lambda x: x,
    schema.ActivationFunctionType.RELU: torch.relu,
    schema.ActivationFunctionType.RELU6: functional.relu6,
    schema.ActivationFunctionType.RELU_N1_TO_1: functional.hardtanh,
    schema.ActivationFunctionType.TANH: torch.tanh,
}


def _activate(x: Tensor, options: Any) -> Tensor:
    return _ACTIVATIONS[options.fusedActivationFunction](x)


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and after, as TensorFlow's SAME: the odd pixel goes to the end."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _pad(x: Tensor, options: Any, kernel: tuple[int, int], value: float = 0.0) -> Tensor:
    """`x` with the border that `options.padding` asks for; `kernel` is (height, width), dilation included."""
    if options.padding == schema.Padding.VALID:
        return x
    top, bottom = _same_padding(x.shape[1], kernel[0], options.strideH)
    left, right = _same_padding(x.shape[2], kernel[1], options.strideW)
    if not (top or bottom or left or right):
        return x
    return functional.pad(x, (0, 0, left, right, top, bottom), value=value)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, options: Any, groups: int) -> Tensor:
    """`weight` is (out, in, height, width). NHWC memory seen as NCHW is what PyTorch calls channels_last: no copy."""
    if weight.shape[2:] == (1, 1) and groups == 1 and (options.strideH, options.strideW) == (1, 1):
        # A pointwise convolution of NHWC values is a matrix product.
        return _activate(functional.linear(x, weight[:, :, 0, 0], bias), options)
    dilation = (options.dilationHFactor, options.dilationWFactor)
    height, width = (d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:], strict=True))
    x = _pad(x, options, (height, width)).permute(0, 3, 1, 2)
    stride = (options.strideH, options.strideW)
    y = functional.conv2d(x, weight, bias, stride, 0, dilation, groups)
    return _activate(y.permute(0, 2, 3, 1), options)


def _conv_2d(options: Any, inputs: Sequence[Any]) -> Tensor:
    x, weight, bias = _three(inputs)
    return _convolve(x, weight.permute(0, 3, 1, 2), bias, options, x.shape[3] // weight.shape[3])


def _depthwise_conv_2d(options: Any, inputs: Sequence[Any]) -> Tensor:
    x, weight, bias = _three(inputs)
    return _convolve(x, weight.permute(3, 0, 1, 2), bias, options, x.shape[3])


def _fully_connected(options: Any, inputs: Sequence[Any]) -> Tensor:
    x, weight, bias = _three(inputs)
    if not options.keepNumDims:
        x = x.reshape(-1, weight.shape[1])
    return _activate(functional.linear(x, weight, bias), options)


def _three(inputs: Sequence[Any]) -> tuple[Tensor, Tensor, Tensor | None]:
    return inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else None


def _average_pool(options: Any, inputs: Sequence[Any]) -> Tensor:
    """The border does not count in the mean."""
    kernel, stride = (options.filterHeight, options.filterWidth), (options.strideH, options.strideW)

    def pool(x: Tensor) -> Tensor:
        return functional.avg_pool2d(_pad(x, options, kernel).permute(0, 3, 1, 2), kernel, stride).permute(0, 2, 3, 1)

    return _activate(pool(inputs[0]) / pool(torch.ones_like(inputs[0][:1, :, :, :1])), options)


def _max_pool(options: Any, inputs: Sequence[Any]) -> Tensor:
    kernel, stride = (options.filterHeight, options.filterWidth), (options.strideH, options.strideW)
    x = _pad(inputs[0], options, kernel, value=-math.inf).permute(0, 3, 1, 2)
    return _activate(functional.max_pool2d(x, kernel, stride).permute(0, 2, 3, 1), options)


def _pad_constant(_: Any, inputs: Sequence[Any]) -> Tensor:
    borders = [side for pair in reversed(inputs[1].tolist()) for side in pair]
    value = float(inputs[2]) if len(inputs) > 2 else 0.0
    return functional.pad(inputs[0], borders, value=value)


def _mean(options: Any, inputs: Sequence[Any]) -> Tensor:
    axes = tuple(inputs[1].reshape(-1).tolist())
    return torch.as_tensor(inputs[0].mean(axes, keepdim=options.keepDims))


def _reshape(_: Any, inputs: Sequence[Any]) -> Tensor:
    # The file is made for a batch of 1; here it may be larger.
    return torch.as_tensor(inputs[0].reshape(inputs[0].shape[0], *inputs[1].tolist()[1:]))


def _squeeze(options: Any, inputs: Sequence[Any]) -> Tensor:
    return torch.as_tensor(inputs[0].squeeze(tuple(int(axis) for axis in options.squeezeDims)))


def _concatenation(options: Any, inputs: Sequence[Any]) -> Tensor:
    return _activate(torch.cat(list(inputs), options.axis), options)


def _softmax(options: Any, inputs: Sequence[Any]) -> Tensor:
    return torch.softmax(options.beta * inputs[0], -1)


def _elementwise(function: Callable[..., Tensor]) -> Operator:
    return lambda options, inputs: _activate(function(*inputs), options)


def _plain(function: Callable[..., Tensor]) -> Operator:
    return lambda _, inputs: function(*inputs)


OPERATORS: dict[str, Operator] = {
    "ADD": _elementwise(torch.add),
    "AVERAGE_POOL_2D": _average_pool,
    "CONCATENATION": _concatenation,
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "DIV": _elementwise(torch.div),
    "FULLY_CONNECTED": _fully_connected,
    "HARD_SWISH": _plain(functional.hardswish),
    "LEAKY_RELU": lambda options, inputs: functional.leaky_relu(inputs[0], options.alpha),  # type: ignore[arg-type]
    "LOGISTIC": _plain(torch.sigmoid),
    "MAXIMUM": _plain(torch.maximum),
    "MAX_POOL_2D": _max_pool,
    "MEAN": _mean,
    "MINIMUM": _plain(torch.minimum),
    "MUL": _elementwise(torch.mul),
    "PAD": _pad_constant,
    "PADV2": _pad_constant,
    "RELU": _plain(torch.relu),
    "RELU6": _plain(functional.relu6),
    "RELU_0_TO_1": _plain(lambda x: functional.hardtanh(x, 0.0, 1.0)),
    "RESHAPE": _reshape,
    "SOFTMAX": _softmax,
    "SQUEEZE": _squeeze,
    "SUB": _elementwise(torch.sub),
    "TANH": _plain(torch.tanh),
}
