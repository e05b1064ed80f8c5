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


# Kornia draws operations once for all images that it is given; statistics should see several draws in a step.
ALIKE = 4
MOST_MAGNITUDE = 30.0
_Policy = list[list[tuple[str, float, float]]]


def policy_of(magnitude: int, direction: int) -> _Policy:
    """RandAugment's operations (arXiv:1909.13719, section 3, but for the identity) for kornia, as (name, from, to).

    In kornia's own list the magnitude leads from dark to light, from grey to colourful and from inverted to unchanged,
    so that a small one is a strong change. Here these begin with the image as it is: `from` and `to` are both the
    strength itself. Of rotations, shears and shifts kornia draws the direction.

    Args:
        magnitude: 1 to 29.
        direction: 1 for more colour, contrast, light and sharpness, -1 for less.
    """
    share = magnitude / MOST_MAGNITUDE
    factor = 1.0 + direction * 0.9 * share
    names = ("color", "contrast", "brightness", "sharpness")
    photometric: _Policy = [[(name, factor, factor)] for name in names]
    return [
        [("auto_contrast", 0, 1)],
        [("equalize", 0, 1)],
        [("rotate", -30.0, 30.0)],
        [("posterize", 4.0, 8.0)],
        [("solarize", 1.0 - share, 1.0 - share)],
        # Times 180 degrees: the 17 that a slope of 0.3 is.
        [("shear_x", -0.093, 0.093)],
        [("shear_y", -0.093, 0.093)],
        [("translate_x", -0.1, 0.1)],
        [("translate_y", -0.1, 0.1)],
        *photometric,
    ]


@functools.cache
def _kornia(count: int, magnitude: int, direction: int) -> nn.Module:
    from kornia.augmentation.auto import RandAugment

    operations: nn.Module = RandAugment(count, magnitude, policy_of(magnitude, direction))
    return operations


def random_operations(images: Tensor, count: int, magnitude: int) -> Tensor:
    """Kornia's RandAugment: the same operations for ALIKE images at a time; directions differ among these.

    Args:
        images: (N, 3, H, W) float32 in [0, 255].
        count: Operations.
        magnitude: 1 to 29; auto-contrast and equalization have no strength.

    Returns:
        As `images`.
    """
    parts = []
    for part in torch.split((images / 255.0).clamp(0.0, 1.0), ALIKE):
        direction = 2 * int(torch.randint(2, (1,))) - 1
        parts.append(_kornia(count, magnitude, direction)(part))
    return torch.cat(parts).clamp(0.0, 1.0) * 255.0


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
