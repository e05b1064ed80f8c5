"""Every choice of a training run in one frozen, plain value, so that a resumed run can prove that it is the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn

from edgekit.card import Architecture, InputSpec
from edgekit.errors import InputError
from edgekit.models import MODELS
from edgekit.train.augment import Augmentation

STRIDE = 32
# Words that `weights` may be; all else is a file.
NO_FILES = ("imagenet", "none")

_Range = tuple[Callable[[Any], bool], str]
_SHARE: _Range = (lambda value: 0 <= value < 1, "in [0, 1)")
_POSITIVE: _Range = (lambda value: 0 < value < math.inf, "positive")
_NOT_NEGATIVE: _Range = (lambda value: 0 <= value < math.inf, "at least 0")

_CHOICES: dict[str, tuple[Any, ...]] = {
    "arch": tuple(sorted(MODELS)),
    "stem_stride": (1, 2),
    "optimizer": ("adamw", "sgd"),
    "amp": ("auto", "off", "bf16", "fp16"),
}
_RANGES: dict[str, _Range] = {
    "width": (lambda value: 0 < value <= 4, "in (0, 4]"),
    "epochs": (lambda value: value >= 1, "at least 1"),
    "batch": (lambda value: value >= 2, "at least 2"),
    "lr": _POSITIVE,
    "head_lr": _POSITIVE,
    "weight_decay": _NOT_NEGATIVE,
    "warmup": (lambda value: 0 < value < 1, "in (0, 1)"),
    "smoothing": _SHARE,
    "dropout": _SHARE,
    "freeze": _NOT_NEGATIVE,
    "unfreeze": _NOT_NEGATIVE,
    "ema": _SHARE,
    "distill": (lambda value: 0 <= value <= 1, "in [0, 1]"),
    "temperature": _POSITIVE,
    "range_penalty": _NOT_NEGATIVE,
    "qat_epochs": _NOT_NEGATIVE,
}
_VARIATIONS: dict[str, _Range] = {
    "zoom": _SHARE,
    "stretch": _NOT_NEGATIVE,
    "shift": _SHARE,
    "cutout": (lambda value: 0 <= value <= 1, "in [0, 1]"),
    # As many as there are.
    "randaugment": (lambda value: 0 <= value <= 13, "in [0, 13]"),
    "magnitude": (lambda value: 1 <= value <= 29, "in [1, 29]"),
    "mixup": _NOT_NEGATIVE,
    "cutmix": _NOT_NEGATIVE,
}


@dataclass(frozen=True)
class Options:
    """What to train and how.

    Attributes:
        arch: "mobilenet_v1" or "mobilenet_v2".
        width: Channel multiplier.
        size: Side of the square input in pixels, a multiple of 32.
        stem_stride: Stride of the first convolution; 1 for small inputs.
        weights: "imagenet", "none", or an edgekit checkpoint's path: what fits of it is taken, see `weights`.
        weights_sha256: Of that file.
        epochs: Passes over the training set.
        batch: Images per step.
        optimizer: "adamw" or "sgd" (Nesterov, momentum 0.9).
        lr: Peak learning rate of the backbone.
        head_lr: Peak learning rate of the classifier.
        weight_decay: On convolutions and the classifier's matrix only.
        warmup: Share of all steps in which the rate rises; it then falls to zero along a cosine.
        smoothing: Label smoothing in [0, 1).
        dropout: Before the classifier.
        freeze: How many of the first blocks of `features` keep their weights and statistics.
        unfreeze: Epochs over which these are let go, the last blocks first; 0: never. Fewer than `epochs`.
        ema: Decay of the averaged weights that are judged and kept in the end; 0: none are.
        balanced: Draw every class equally often, however many images it has.
        teacher: A checkpoint whose answers are learned as well ("" for none), see `objective`.
        teacher_sha256: Of that file: a resumed run must have the same.
        distill: Share of the teacher's answers in the loss, in [0, 1]; the labels have the rest.
        temperature: That both logits are divided by before they are compared.
        range_penalty: Weight of the largest absolute weight of each layer in the loss, see `objective`.
        qat_epochs: Last epochs that train with int8's rounding, see `quantization_aware`; all of them only from a
            checkpoint's weights.
        amp: "off", "bf16", "fp16", or "auto": bf16 on a GPU that has it.
        compile: Whether torch.compile makes kernels for the network first.
        seed: Of everything random.
        augmentation: How far training images vary.
    """

    arch: str = "mobilenet_v2"
    width: float = 1.0
    size: int = 96
    stem_stride: int = 2
    weights: str = "none"
    weights_sha256: str = ""
    epochs: int = 30
    batch: int = 32
    optimizer: str = "adamw"
    lr: float = 2e-3
    head_lr: float = 2e-3
    weight_decay: float = 0.01
    warmup: float = 0.2
    smoothing: float = 0.1
    dropout: float = 0.0
    freeze: int = 0
    unfreeze: int = 0
    ema: float = 0.0
    balanced: bool = False
    teacher: str = ""
    teacher_sha256: str = ""
    distill: float = 0.9
    temperature: float = 1.0
    range_penalty: float = 0.0
    qat_epochs: int = 0
    amp: str = "auto"
    compile: bool = False
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

    def is_aware(self, epoch: int) -> bool:
        """Whether int8's rounding is on in an epoch, counted from 0."""
        return epoch >= self.epochs - self.qat_epochs

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                _refuse(name, f"one of {', '.join(map(str, allowed))}", getattr(self, name))
        if self.size % STRIDE or self.size < STRIDE:
            raise InputError(
                f"--size must be a multiple of {STRIDE}, got {self.size}.", f"Use {_nearest_size(self.size)}."
            )
        for name, (is_fine, words) in _RANGES.items():
            if not is_fine(getattr(self, name)):
                _refuse(name, words, getattr(self, name))
        for name, (is_fine, words) in _VARIATIONS.items():
            if not is_fine(getattr(self.augmentation, name)):
                _refuse(name, words, getattr(self.augmentation, name))
        # Statistics rest in int8's epochs: they must have been learned before.
        if self.qat_epochs > self.epochs - (self.weights in NO_FILES):
            words = f"fewer than all {self.epochs} epochs" if self.weights in NO_FILES else f"at most {self.epochs}"
            _refuse("qat_epochs", words, self.qat_epochs)
        if self.freeze and self.unfreeze >= self.epochs:
            _refuse("unfreeze", f"fewer than all {self.epochs} epochs", self.unfreeze)

    def flat(self) -> dict[str, Any]:
        """All values by name, augmentation's among them."""
        values = asdict(self)
        augmentation: dict[str, Any] = values.pop("augmentation")
        return values | augmentation

    def differences(self, other: Options) -> list[str]:
        """One "name this → other" per value that differs."""
        mine, theirs = self.flat(), other.flat()
        return [f"{name} {mine[name]!r} → {theirs[name]!r}" for name in mine if mine[name] != theirs[name]]


def _refuse(name: str, words: str, value: object) -> NoReturn:
    raise InputError(f"--{name.replace('_', '-')} must be {words}, got {value!r}.")


def _nearest_size(size: int) -> int:
    return max(STRIDE, round(size / STRIDE) * STRIDE)
