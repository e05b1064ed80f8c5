"""Random variations of training images, in plain torch, one resampling per batch.

Zoom, stretch, shift and flip are one box per image, applied together with the change of resolution, so that an image is
interpolated once however many variations are on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from edgekit.train.mixing import random_operations


@dataclass(frozen=True)
class Augmentation:
    """How far training images vary. Zero everywhere (and `flip` off) leaves the images as they are.

    Attributes:
        flip: Mirror left to right with probability 1/2.
        zoom: The side of the box that is looked at, as a share of the image: uniform in [1 - zoom, 1].
        stretch: Aspect ratio of that box: log-uniform in [1 / (1 + stretch), 1 + stretch], then cut to what the image
            holds: by itself, without `zoom`, it reaches the square root of that.
        shift: How far beyond the border the box may reach, as a share of the side; the rest is mirrored image. Where
            nothing else changes the pixels' places, by whole ones, which leaves the images as sharp as they are.
        cutout: Side of a grey square at a random place, as a share of the image; applied to half of the images.
        randaugment: How many of kornia's random operations each image goes through (RandAugment, arXiv:1909.13719).
        magnitude: Their strength, 1 to 29.
        mixup: Alpha of the Beta distribution that pairs of images are blended by (arXiv:1710.09412).
        cutmix: Alpha of that for a box of one image pasted into another (arXiv:1905.04899). With both, each batch
            gets one or the other.
    """

    flip: bool = True
    zoom: float = 0.25
    stretch: float = 0.0
    shift: float = 0.0
    cutout: float = 0.0
    randaugment: int = 0
    magnitude: int = 10
    mixup: float = 0.0
    cutmix: float = 0.0

    @property
    def resizes(self) -> bool:
        """Whether a part of the image is enlarged; else its pixels may stay as they are."""
        return bool(self.zoom or self.stretch)


NONE = Augmentation(flip=False, zoom=0.0)


def augment(pixels: Tensor, size: tuple[int, int], how: Augmentation, generator: torch.Generator) -> Tensor:
    """Vary a batch and bring it to another size.

    Args:
        pixels: (N, H, W, 3) uint8, RGB.
        size: Height and width of the result in pixels.
        how: The amounts.
        generator: A CPU generator: the same state gives the same images on every device. (RandAugment draws from
            torch's global one.)

    Returns:
        (N, 3, height, width) float32 in [0, 255], RGB.
    """
    count = len(pixels)
    images = pixels.permute(0, 3, 1, 2).float()
    scales, offsets = _boxes(count, how, generator)
    if not how.resizes and images.shape[2:] == size:
        half = torch.tensor(size[::-1]) / 2.0
        offsets = (offsets * half).round() / half
    # Here and below: a GPU that is at work need not be waited for.
    scales, offsets = (values.to(images.device, non_blocking=True) for values in (scales, offsets))
    grid = _grid(scales, offsets, size)
    # Only shifts look beyond the edges; mirroring there takes a third longer.
    padding = "reflection" if how.shift else "border"
    varied = F.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=False)
    if how.randaugment:
        varied = random_operations(varied, how.randaugment, how.magnitude)
    if how.cutout:
        varied = _cutout(varied, how.cutout, generator)
    return varied


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) * (high - low) + low


def _boxes(count: int, how: Augmentation, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Scales and offsets, (N, 2) float32 each, of x and y: output coordinates in [-1, 1] to input coordinates there."""
    side = _uniform(count, 1.0 - how.zoom, 1.0, generator)
    aspect = torch.exp(_uniform(count, -1.0, 1.0, generator) * 0.5 * math.log1p(how.stretch))
    box = torch.stack([side * aspect, side / aspect], 1).clamp(max=1.0)
    mirror = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0) if how.flip else torch.ones(count)
    places = torch.stack([_uniform(count, -1.0, 1.0, generator) for _ in range(2)], 1)
    return box * torch.stack([mirror, torch.ones(count)], 1), places * (1.0 - box + 2.0 * how.shift)


def _grid(scales: Tensor, offsets: Tensor, size: tuple[int, int]) -> Tensor:
    """As `F.affine_grid` of upright boxes with align_corners=False, (N, height, width, 2), in a fifth of its time."""
    height, width = size
    grid = torch.empty(len(scales), height, width, 2, device=scales.device, dtype=scales.dtype)
    for axis, side in enumerate((width, height)):
        steps = (torch.arange(side, device=scales.device, dtype=scales.dtype) * 2.0 + 1.0) / side - 1.0
        along = scales[:, axis, None] * steps + offsets[:, axis, None]
        grid[..., axis] = along[:, None, :] if axis == 0 else along[:, :, None]
    return grid


def _cutout(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """In place."""
    count = len(images)
    places = torch.rand(count, 2, generator=generator)
    chosen = torch.rand(count, generator=generator) < 0.5
    rows, columns = (_within(middle, share, side) for middle, side in zip(places.T, images.shape[2:], strict=True))
    grey = chosen[:, None, None] & rows[:, :, None] & columns[:, None, :]
    return images.masked_fill_(grey[:, None].to(images.device, non_blocking=True), 127.5)


def _within(middle: Tensor, share: float, side: int) -> Tensor:
    """(N, side) bool: pixels whose centre is within half of `share` of the middle (N,), all as shares of the side."""
    centres = (torch.arange(side) + 0.5) / side
    return (centres - middle[:, None]).abs() <= share / 2
