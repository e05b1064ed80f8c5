"""Answers of a float network, normalized as `edgekit.preprocess` does it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgekit.card import InputSpec
from edgekit.train.data import counted, normalizer

BATCH = 100


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
