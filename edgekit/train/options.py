"""Every choice of a training run in one frozen, plain value, so that a resumed run can prove that it is the same."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

from edgekit.card import Architecture, InputSpec
from edgekit.errors import InputError
from edgekit.models import MODELS
from edgekit.train.augment import Augmentation

STRIDE = 32


@dataclass(frozen=True)
class Options:
    """What to train and how.

    Attributes:
        arch: "mobilenet_v1" or "mobilenet_v2".
        width: Channel multiplier.
        size: Side of the square input in pixels, a multiple of 32.
        stem_stride: Stride of the first convolution; 1 for small inputs.
        weights: "imagenet" or "none".
        epochs: Passes over the training set.
        batch: Images per step.
        lr: Peak learning rate of the backbone.
        head_lr: Peak learning rate of the classifier.
        weight_decay: AdamW's, on convolutions and the classifier's matrix only.
        warmup: Share of all steps in which the rate rises; it then falls to zero along a cosine.
        smoothing: Label smoothing in [0, 1).
        dropout: Before the classifier.
        freeze: How many of the first blocks of `features` keep their weights and statistics.
        seed: Of everything random.
        augmentation: How far training images vary.
    """

    arch: str = "mobilenet_v2"
    width: float = 1.0
    size: int = 96
    stem_stride: int = 2
    weights: str = "none"
    epochs: int = 30
    batch: int = 32
    lr: float = 2e-3
    head_lr: float = 2e-3
    weight_decay: float = 0.01
    warmup: float = 0.2
    smoothing: float = 0.1
    dropout: float = 0.0
    freeze: int = 0
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)

    @property
    def architecture(self) -> Architecture:
        """Name and width, as the checkpoint and the card have them."""
        return Architecture(self.arch, float(self.width))

    @property
    def spec(self) -> InputSpec:
        """The network's input: square, mean = std = 0.5, so that the int8 input will be pixel - 128 exactly."""
        return InputSpec(height=self.size, width=self.size)

    def __post_init__(self) -> None:
        if self.arch not in MODELS:
            raise InputError(f"--arch must be one of {', '.join(sorted(MODELS))}, got {self.arch!r}.")
        if not 0 < self.width <= 4:
            raise InputError(f"--width must be in (0, 4], got {self.width}.")
        if self.size % STRIDE or self.size < STRIDE:
            raise InputError(
                f"--size must be a multiple of {STRIDE}, got {self.size}.", f"Use {_nearest_size(self.size)}."
            )
        if self.stem_stride not in (1, 2):
            raise InputError(f"--stem-stride must be 1 or 2, got {self.stem_stride}.")
        if self.weights not in ("imagenet", "none"):
            raise InputError(f"--weights must be imagenet or none, got {self.weights!r}.")
        if self.epochs < 1 or self.batch < 2:
            raise InputError(f"--epochs must be ≥ 1 and --batch ≥ 2, got {self.epochs} and {self.batch}.")
        if self.freeze < 0 or not 0 < self.warmup < 1 or self.weight_decay < 0:
            raise InputError(
                "freeze must be ≥ 0, warmup in (0, 1) and weight_decay ≥ 0, got "
                f"{self.freeze}, {self.warmup} and {self.weight_decay}."
            )
        for name in ("lr", "head_lr"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"--{name.replace('_', '-')} must be positive, got {getattr(self, name)}.")
        for name in ("smoothing", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must be in [0, 1), got {getattr(self, name)}.")

    def differences(self, other: Options) -> list[str]:
        """One "name this → other" per field that differs."""
        pairs = [(item.name, getattr(self, item.name), getattr(other, item.name)) for item in fields(self)]
        return [f"{name} {mine!r} → {theirs!r}" for name, mine, theirs in pairs if mine != theirs]


def _nearest_size(size: int) -> int:
    return max(STRIDE, round(size / STRIDE) * STRIDE)
