"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381), with torchvision's `state_dict` keys.

Its weight file loads strictly, hence the names `features.N.conv.M` and the layout of the blocks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgekit.models.layers import ConvBNReLU6, initialize

# (expansion ratio, output channels at width 1, repeats, stride of the first): Table 2 of the paper.
STAGES = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]


def round_channels(channels: float, divisor: int = 8) -> int:
    """Nearest multiple of `divisor`, at least `divisor`, never more than 10 % below `channels` (the paper's code)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


class InvertedResidual(nn.Module):
    """1×1 expansion (left out at ratio 1) → 3×3 depthwise → 1×1 linear projection.

    The input is added to the result only when the stride is 1 and the channel counts are equal.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.has_residual = stride == 1 and inputs == outputs
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(ConvBNReLU6(inputs, hidden, kernel=1))
        layers += [
            ConvBNReLU6(hidden, hidden, stride=stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        projected: Tensor = self.conv(images)
        return images + projected if self.has_residual else projected


class MobileNetV2(nn.Module):
    """The network.

    Args:
        classes: Length of the logits vector.
        width: Multiplier of every channel count but that of the last 1×1 convolution, which never shrinks below 1280.
        stem_stride: Stride of the first convolution; 1 for small inputs such as 32×32.
        dropout: Before the classifier.
    """

    def __init__(self, classes: int = 1000, width: float = 1.0, stem_stride: int = 2, dropout: float = 0.2) -> None:
        super().__init__()
        channels = round_channels(32 * width)
        blocks: list[nn.Module] = [ConvBNReLU6(3, channels, stride=stem_stride)]
        for expansion, base, repeats, stride in STAGES:
            outputs = round_channels(base * width)
            for index in range(repeats):
                blocks.append(InvertedResidual(channels, outputs, stride if index == 0 else 1, expansion))
                channels = outputs
        last = round_channels(1280 * max(1.0, width))
        blocks.append(ConvBNReLU6(channels, last, kernel=1))
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, classes))
        initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of normalized images (N, 3, H, W)."""
        pooled = nn.functional.adaptive_avg_pool2d(self.features(images), 1)
        logits: Tensor = self.classifier(torch.flatten(pooled, 1))
        return logits
