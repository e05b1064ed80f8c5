"""Variations that need a library or a second image: RandAugment, mixup and cutmix."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from edgekit.train.augment import Augmentation


@functools.cache
def _kornia(count: int, magnitude: int) -> nn.Module:
    from kornia.augmentation.auto import RandAugment

    operations: nn.Module = RandAugment(count, magnitude)
    return operations


def random_operations(images: Tensor, count: int, magnitude: int) -> Tensor:
    """Kornia's RandAugment: the same operations with the same strength for all images of the batch; directions differ.

    Args:
        images: (N, 3, H, W) float32 in [0, 255].
        count: Operations.
        magnitude: 1 to 29.

    Returns:
        As `images`.
    """
    varied: Tensor = _kornia(count, magnitude)((images / 255.0).clamp(0.0, 1.0))
    return varied.clamp(0.0, 1.0) * 255.0


def soft_targets(targets: Tensor, classes: int) -> Tensor:
    """(N,) class indices as (N, classes) float32 probabilities."""
    return F.one_hot(targets, classes).float()


def mix(images: Tensor, targets: Tensor, how: Augmentation, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Blend each image with another one of the batch, and their classes likewise.

    Args:
        images: (N, 3, H, W) float32.
        targets: (N, classes) float32 probabilities.
        how: `mixup` and `cutmix`; with neither nothing changes.
        generator: A CPU generator.

    Returns:
        The same shapes; new tensors if anything changed.
    """
    if not (how.mixup or how.cutmix):
        return images, targets
    draw = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
    other = torch.randperm(len(images), generator=generator).to(images.device, non_blocking=True)
    is_cut = how.cutmix > 0 and (not how.mixup or draw.random() < 0.5)
    if is_cut:
        return _paste(images, targets, other, float(draw.beta(how.cutmix, how.cutmix)), draw)
    share = float(draw.beta(how.mixup, how.mixup))
    return images.lerp(images[other], share), targets.lerp(targets[other], share)


def _paste(
    images: Tensor, targets: Tensor, other: Tensor, share: float, draw: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """A box of `share` of the area, cut off at the border; what lies within it decides the classes."""
    height, width = images.shape[2:]
    rows, columns = round(height * share**0.5), round(width * share**0.5)
    row, column = int(draw.integers(height)), int(draw.integers(width))
    top, bottom = max(0, row - rows // 2), min(height, row - rows // 2 + rows)
    left, right = max(0, column - columns // 2), min(width, column - columns // 2 + columns)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[other][:, :, top:bottom, left:right]
    return mixed, targets.lerp(targets[other], (bottom - top) * (right - left) / (height * width))
