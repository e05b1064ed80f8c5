"""The two networks, by name."""

from __future__ import annotations

from torch import nn

from edgekit.errors import InputError
from edgekit.models.mobilenet_v1 import MobileNetV1
from edgekit.models.mobilenet_v2 import MobileNetV2

MODELS = {"mobilenet_v1": MobileNetV1, "mobilenet_v2": MobileNetV2}


def create(name: str, *, classes: int, width: float = 1.0, stem_stride: int = 2) -> nn.Module:
    """A freshly initialized network.

    Args:
        name: "mobilenet_v1" or "mobilenet_v2".
        classes: Length of the logits vector, at least 1.
        width: Channel multiplier, > 0.
        stem_stride: Stride of the first convolution, 1 or 2.

    Raises:
        InputError: Unknown name, or a number out of range.
    """
    if name not in MODELS:
        raise InputError(f"The architecture must be one of {', '.join(sorted(MODELS))}, got {name!r}.")
    if classes < 1 or not 0 < width <= 4 or stem_stride not in (1, 2):
        raise InputError(
            f"classes must be ≥ 1, width in (0, 4] and stem stride 1 or 2, got {classes}, {width} and {stem_stride}."
        )
    return MODELS[name](classes=classes, width=width, stem_stride=stem_stride)
