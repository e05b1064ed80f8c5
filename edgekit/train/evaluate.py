"""Answers of a float network, normalized as `edgekit.preprocess` does it."""

from __future__ import annotations

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


def by_class(logits: Tensor, targets: Tensor, labels: tuple[str, ...]) -> dict[str, ClassScore]:
    """Top-1 of each class.

    Args:
        logits: (N, classes) float32.
        targets: (N,) int64.
        labels: Names of the classes.
    """
    answers, scores = logits.argmax(1), {}
    for index, label in enumerate(labels):
        found = torch.bincount(answers[targets == index], minlength=len(labels))
        correct, images = int(found[index]), int(found.sum())
        found[index] = 0
        scores[label] = ClassScore(correct, images, labels[int(found.argmax())] if images > correct else "")
    return scores


@torch.inference_mode()
def predict(network: nn.Module, pixels: Tensor, spec: InputSpec, progress: bool = False) -> Tensor:
    """Logits (N, classes) float32 of prepared images (N, H, W, 3) uint8 RGB; leaves the network in evaluation mode."""
    network.eval()
    normalize = normalizer(spec)
    answers: list[Tensor] = []
    for batch in counted(torch.split(pixels, BATCH), "Evaluating", len(pixels), progress, size=len):
        # A permuted NHWC batch is channels-last as it is: nothing is copied.
        answers.append(network(normalize(batch.permute(0, 3, 1, 2).float())))
    return torch.cat(answers)
