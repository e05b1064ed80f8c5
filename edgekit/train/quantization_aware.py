"""Training with int8's rounding: weights per channel, activations per tensor, gradients straight through.

Modules change their class in place, so that names and shapes in the `state_dict` stay what they are. Only in training
mode do they round, frozen ones too: what is validated and saved is the float network. Normalizations keep their
statistics meanwhile: folded into the kernels they scale whole output channels, and rounding per channel commutes with
that.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit.models.mobilenet_v2 import InvertedResidual

CODES = 255
SIX = 6.0


class _RoundedConv2d(nn.Conv2d):
    def forward(self, images: Tensor) -> Tensor:
        weight = round_weight(self.weight) if self.training else self.weight
        result: Tensor = self._conv_forward(images, weight, self.bias)
        return result


class _RoundedLinear(nn.Linear):
    def forward(self, features: Tensor) -> Tensor:
        return F.linear(features, round_weight(self.weight) if self.training else self.weight, self.bias)


class _RoundedReLU6(nn.ReLU6):
    def forward(self, images: Tensor) -> Tensor:
        clipped = super().forward(images)
        return (
            torch.fake_quantize_per_tensor_affine(clipped, SIX / CODES, -128, -128, 127) if self.training else clipped
        )


_ROUNDED: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: _RoundedConv2d,
    nn.Linear: _RoundedLinear,
    nn.ReLU6: _RoundedReLU6,
}


def round_weight(weight: Tensor) -> Tensor:
    """To the nearest of 255 codes, symmetric about zero, one scale for each output channel; same shape."""
    largest = weight.detach().abs().flatten(1).amax(1).clamp(min=torch.finfo(torch.float32).tiny * 256)
    zero = torch.zeros_like(largest, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, largest / 127.0, zero, 0, -127, 127)


def round_activation(images: Tensor) -> Tensor:
    """To the nearest of 256 codes between the batch's smallest and largest value (zero among them); same shape."""
    low, high = images.detach().amin().clamp(max=0.0), images.detach().amax().clamp(min=0.0)
    scale = ((high - low) / CODES).clamp(min=1e-8)
    zero = (-128 - torch.round(low / scale)).to(torch.int32)
    return torch.fake_quantize_per_tensor_affine(images, scale, zero, -128, 127)


def make_aware(network: nn.Module) -> None:
    """From now on `network` rounds in training mode; doing it again changes nothing."""
    for module in network.modules():
        if type(module) in _ROUNDED:
            module.__class__ = _ROUNDED[type(module)]
        elif isinstance(module, InvertedResidual) and not module._forward_hooks:
            # Linear bottlenecks have no ReLU6 behind them: what they give is rounded here, and the sum if there is one.
            module.register_forward_hook(_round_output)
            if module.has_residual:
                module.conv.register_forward_hook(_round_output)


def keep_statistics(network: nn.Module) -> None:
    """Normalizations stay as they are."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def _round_output(module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    return round_activation(output) if module.training else output
