"""What a step makes smaller: cross-entropy with the labels, distance from a teacher's answers, and wide weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit.errors import InputError
from edgekit.models.layers import folded
from edgekit.train import checkpoint as checkpoints
from edgekit.train.data import normalizer
from edgekit.train.options import Options


@dataclass(frozen=True)
class Teacher:
    """A trained network that is asked and not changed.

    Attributes:
        network: In evaluation mode.
        size: Height and width of its input.
        normalize: (N, 3, H, W) float32 pixels in [0, 255] to its input.
    """

    network: nn.Module
    size: tuple[int, int]
    normalize: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def answers(self, views: Tensor) -> Tensor:
        """Its logits (N, classes) for the very pixels that the student sees ("consistent", arXiv:2106.05237)."""
        if views.shape[2:] != self.size:
            views = F.interpolate(views, self.size, mode="bilinear", antialias=True, align_corners=False)
        logits: Tensor = self.network(self.normalize(views).contiguous(memory_format=torch.channels_last))
        return logits


def load_teacher(path: str, labels: tuple[str, ...], device: torch.device) -> Teacher:
    """A checkpoint as a teacher.

    Raises:
        InputError: Not a checkpoint, or one of other classes.
    """
    found = checkpoints.load(path)
    if found.labels != labels:
        raise InputError(
            f"--teacher must know the same classes in the same order, got {len(found.labels)} ({_few(found.labels)}) "
            f"instead of {len(labels)} ({_few(labels)}).",
            "Train the teacher on the same folders.",
        )
    network = folded(found.network()).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Teacher(network, (found.input.height, found.input.width), normalizer(found.input, device))


def loss_of(logits: Tensor, targets: Tensor, answers: Tensor | None, network: nn.Module, options: Options) -> Tensor:
    """The mean loss over a batch.

    (1 - d) * cross-entropy + d * T^2 * KL(teacher || student) at temperature T (Hinton et al., arXiv:1503.02531), plus
    the range penalty.

    Args:
        logits: (N, classes) float32.
        targets: (N, classes) float32 probabilities.
        answers: The teacher's logits, if there is one.
        network: For the penalty.
        options: d, T, label smoothing, weight of the penalty.
    """
    loss = F.cross_entropy(logits, targets, label_smoothing=options.smoothing)
    if answers is not None:
        heat = options.temperature
        student, teacher = F.log_softmax(logits / heat, 1), F.log_softmax(answers / heat, 1)
        apart = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
        loss = (1.0 - options.distill) * loss + options.distill * heat**2 * apart
    if options.range_penalty:
        loss = loss + options.range_penalty * range_penalty(network)
    return loss


def range_penalty(network: nn.Module) -> Tensor:
    """Sum over layers of the largest absolute weight: outliers waste int8's codes (R2 loss, arXiv:2303.08253)."""
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    return torch.stack([layer.weight.abs().amax() for layer in layers]).sum()


def _few(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:3]) + (", …" if len(labels) > 3 else "")
