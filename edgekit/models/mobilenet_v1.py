"""MobileNetV1 (Howard et al. 2017, arXiv:1704.04861): 3×3 stem, 13 depthwise-separable layers, pooling, classifier."""

from __future__ import annotations

from torch import Tensor, nn

from edgekit.models.layers import ConvBNReLU6, initialize

# (output channels at width 1, stride) of the 13 depthwise-separable layers: Table 1 of the paper.
LAYERS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)] + [(512, 1)] * 5 + [(1024, 2), (1024, 1)]


class DepthwiseSeparable(nn.Sequential):
    """3×3 depthwise + BN + ReLU6, then 1×1 pointwise + BN + ReLU6."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(
            *ConvBNReLU6(inputs, inputs, stride=stride, groups=inputs),
            *ConvBNReLU6(inputs, outputs, kernel=1),
        )


class MobileNetV1(nn.Module):
    """The network.

    Args:
        classes: Length of the logits vector.
        width: Multiplier of every channel count (the paper's alpha).
        stem_stride: Stride of the first convolution; 1 for small inputs such as 32×32.
        dropout: Before the classifier.
    """

    def __init__(self, classes: int = 1000, width: float = 1.0, stem_stride: int = 2, dropout: float = 0.001) -> None:
        super().__init__()
        channels = max(8, int(32 * width))
        blocks: list[nn.Module] = [ConvBNReLU6(3, channels, stride=stem_stride)]
        for base, stride in LAYERS:
            outputs = max(8, int(base * width))
            blocks.append(DepthwiseSeparable(channels, outputs, stride))
            channels = outputs
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, classes))
        initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of normalized images (N, 3, H, W)."""
        logits: Tensor = self.classifier(self.features(images).mean((2, 3)))
        return logits
