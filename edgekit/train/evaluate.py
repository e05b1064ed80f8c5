"""Answers of a float network, normalized as `edgekit.preprocess` does it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgekit.card import InputSpec
from edgekit.train.data import counted, normalizer

BATCH = 100


@dataclass(frozen=True)
class ClassScore:
    """How often a class was known.

    Attributes:
        correct: Images of it that were called by its name.
        images: Of it.
        mistaken_for: The class that it was most often taken for instead; "" if never.
    """

    correct: int
    images: int
    mistaken_for: str


def confusion(logits: Tensor, targets: Tensor, classes: int) -> Tensor:
    """(classes, classes) int64: how often each class (row) was called each (column)."""
    return torch.bincount(targets * classes + logits.argmax(1), minlength=classes**2).view(classes, classes)


def by_class(found: Tensor, labels: tuple[str, ...]) -> dict[str, ClassScore]:
    """Top-1 of each class.

    Args:
        found: As `confusion` counts.
        labels: Names of the classes.
    """
    scores = {}
    for index, label in enumerate(labels):
        row = found[index].clone()
        correct, images = int(row[index]), int(row.sum())
        row[index] = 0
        scores[label] = ClassScore(correct, images, labels[int(row.argmax())] if images > correct else "")
    return scores


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """A GPU's convolutions keep all 23 bits of a float32, where cuDNN takes 10 by default (TF32)."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@full_float32()
@torch.inference_mode()
def predict(
    network: nn.Module,
    pixels: Tensor,
    spec: InputSpec,
    progress: bool = False,
    device: torch.device | None = None,
    *,
    batch: int = BATCH,
    is_stopped: Callable[[], bool] = bool,
) -> Tensor:
    """Logits (N, classes) float32, on the CPU, of prepared images (N, H, W, 3) uint8 RGB.

    Args:
        network: Is left in evaluation mode.
        pixels: On the CPU.
        spec: Normalization.
        progress: Show a bar.
        device: Where the network is; the CPU by default.
        batch: Images at a time.
        is_stopped: Asked after each batch; if so, the answers end there.
    """
    network.eval()
    normalize = normalizer(spec, device)
    answers: list[Tensor] = []
    for part in counted(torch.split(pixels, batch), "Evaluating", len(pixels), progress, size=len):
        # A permuted NHWC batch is channels-last as it is: nothing is copied.
        answers.append(network(normalize(part.to(device).permute(0, 3, 1, 2).float())).float().cpu())
        if is_stopped():
            break
    return torch.cat(answers)
