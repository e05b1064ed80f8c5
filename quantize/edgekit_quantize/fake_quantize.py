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
        # Four plain passes: PyTorch's own fake_quantize operator was measured to take several times as long on CPU.
        codes = torch.mul(values, 1.0 / float(scale)).round_()
        rounded = codes.clamp_(-128 - zero_point, 127 - zero_point).mul_(scale)
        ctx.save_for_backward(values, rounded, scale)
        ctx.zero_point = zero_point
        return rounded

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        values, rounded, scale = ctx.saved_tensors
        low, high = (float((code - ctx.zero_point) * scale) for code in (-128.5, 127.5))
        # Zero outside of [low, high], in one pass.
        passed = torch.ops.aten.hardtanh_backward(gradient, values, low, high)
        # d rounded / d scale is (rounded - values) / scale inside the range and the outermost code beyond it.
        with_scale = torch.dot(gradient.flatten(), rounded.flatten()) - torch.dot(passed.flatten(), values.flatten())
        return passed, with_scale / scale, None


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
    inside = codes.clamp(-127.0, 127.0)
    return inside + (inside.round() - inside).detach()
