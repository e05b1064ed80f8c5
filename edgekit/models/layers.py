"""What both networks are made of."""

from __future__ import annotations

from torch import nn
from torch.nn.utils import fuse_conv_bn_eval


class ConvBNReLU6(nn.Sequential):
    """Convolution without bias, batch normalization, ReLU6."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU6(inplace=True),
        )


def initialize(network: nn.Module) -> None:
    """Random weights to train from."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01)
            nn.init.zeros_(module.bias)


def folded(network: nn.Module) -> nn.Module:
    """`network` with each batch normalization put into the convolution before it: the same answers with less work.

    It is changed, must be in evaluation mode, and cannot be trained afterwards.
    """
    for parent in list(network.modules()):
        before: tuple[str, nn.Module] | None = None
        for name, module in list(parent.named_children()):
            if before and isinstance(module, nn.BatchNorm2d) and isinstance(before[1], nn.Conv2d):
                setattr(parent, before[0], fuse_conv_bn_eval(before[1], module))
                setattr(parent, name, nn.Identity())
            before = (name, module)
    return network
