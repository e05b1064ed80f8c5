"""Rounding to int8 codes inside PyTorch, with gradients: straight through the rounding, none beyond the range."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _Activation(torch.autograd.Function):
    """Learned step size after Esser et al. 2020, "Learned Step Size Quantization"; the zero point stays."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor, zero_point: int) -> Tensor:
        rounded, inside = torch.ops.aten.fake_quantize_per_tensor_affine_cachemask(
            values, float(scale), zero_point, -128, 127
        )
        ctx.save_for_backward(values, rounded, inside, scale)
        return torch.as_tensor(rounded)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        values, rounded, inside, scale = ctx.saved_tensors
        passed = gradient * inside
        # d rounded / d scale is (rounded - values) / scale inside the range and the outermost code beyond it.
        with_scale = (torch.sum(gradient * rounded) - torch.sum(passed * values)) / scale
        return passed, with_scale, None


def fake_quantize(values: Tensor, scale: Tensor, zero_point: int) -> Tensor:
    """Real values of the nearest int8 codes; gradients reach `values` and `scale`.

    Args:
        values: float32, any shape.
        scale: Scalar, positive.
        zero_point: In [-128, 127].
    """
    return torch.as_tensor(_Activation.apply(values, scale, zero_point))  # type: ignore[no-untyped-call]


def fake_round(codes: Tensor) -> Tensor:
    """The nearest whole numbers in [-127, 127], the codes of a weight; the gradient stops beyond that range."""
    return torch.fake_quantize_per_tensor_affine(codes, 1.0, 0, -127, 127)
