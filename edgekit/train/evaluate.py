"""Scores of a float network on a labelled set, through `edgekit.preprocess` and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekit.card import InputSpec
from edgekit.errors import InputError
from edgekit.images import ImageSet
from edgekit.train.data import counted, for_evaluation, normalizer

BATCH = 100


@dataclass(frozen=True)
class Scores:
    """Answers of a network.

    Attributes:
        logits: (N, classes) float32, in the order of the set, unreadable images left out.
        targets: (N,) int64.
        skipped: One line per image that could not be read.
    """

    logits: NDArray[np.float32]
    targets: NDArray[np.int64]
    skipped: tuple[str, ...] = ()

    @property
    def top1(self) -> float:
        """Share of images whose class has the largest logit, in [0, 1]."""
        return self.top(1)

    @property
    def top5(self) -> float:
        """Share of images whose class is among the five largest logits, in [0, 1]."""
        return self.top(5)

    def top(self, count: int) -> float:
        """Share of images whose class is among the `count` largest logits; ties go to the lower index."""
        order = np.argsort(-self.logits, axis=1, kind="stable")[:, :count]
        return float((order == self.targets[:, None]).any(1).mean())


def evaluate(network: nn.Module, images: ImageSet, spec: InputSpec, progress: bool = True) -> Scores:
    """Run a network over a labelled set.

    Args:
        network: Takes (N, 3, H, W) normalized images, gives (N, classes) logits; put into evaluation mode.
        images: With the classes that the network was trained on.
        spec: The network's input.
        progress: Show bars.

    Raises:
        InputError: The set has another number of classes, no labels, or no readable image.
    """
    if not len(images.targets) or int(images.targets.min()) < 0:
        raise InputError("The images must be labelled, got some without a class.")
    pixels = for_evaluation(images, spec, progress)
    logits = predict(network, pixels.pixels, spec, progress)
    if logits.shape[1] != len(images.labels):
        raise InputError(
            f"The images must have the model's {logits.shape[1]} classes, got {len(images.labels)}.",
            "Use the data set that it was trained on.",
        )
    return Scores(logits.numpy(), pixels.targets.numpy(), pixels.skipped)


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
