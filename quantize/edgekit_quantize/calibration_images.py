"""The images that calibration sees: a seeded choice, prepared as the network will see them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.card import InputSpec
from edgekit.errors import InputError
from edgekit.images import ImageSet, Prepared
from edgekit.preprocess import Image

VERIFY_IMAGES = 64
GOLDEN_IMAGES = 4
FEW_IMAGES = 32


@dataclass(frozen=True)
class CalibrationImages:
    """Calibration images in memory.

    Attributes:
        pixels: (N, height, width, 3) RGB uint8, cropped and resized for the network.
        originals: A few of them as they were, for golden samples.
        skipped: One line per image that could not be read.
    """

    pixels: NDArray[np.uint8]
    originals: tuple[Image, ...]
    skipped: tuple[str, ...]

    @property
    def fitting(self) -> NDArray[np.uint8]:
        """Those from which ranges and weights are learned."""
        kept = np.ones(len(self.pixels), bool)
        kept[self._held_back()] = False
        return self.pixels[kept] if kept.any() else self.pixels

    @property
    def verification(self) -> NDArray[np.uint8]:
        """Those on which the result is judged: a fifth, held back from `fitting`; all where there are too few."""
        return self.pixels[self._held_back()]

    def _held_back(self) -> NDArray[np.int64]:
        # Spread evenly: files of one class lie side by side.
        count = len(self.pixels)
        return _spread(count, count if count < FEW_IMAGES else min(count // 5, VERIFY_IMAGES))

    @property
    def are_few(self) -> bool:
        """Whether ranges from them are little more than guesses."""
        return len(self.pixels) < FEW_IMAGES

    def sha256(self) -> str:
        """Hash over the prepared pixels, in order."""
        return hashlib.sha256(self.pixels.tobytes()).hexdigest()


def read_calibration_images(images: ImageSet, spec: InputSpec, most: int, seed: int) -> CalibrationImages:
    """Draw at most `most` images with `seed` and prepare them for `spec`.

    Raises:
        InputError: No image, none that can be read, or all the same.
    """
    available = len(images.names)
    if not available:
        raise InputError("Calibration must have at least one image, got none.", "Check --calibration.")
    # Sorted: the choice is a set, and the disk is read in order.
    chosen = np.sort(np.random.default_rng(seed).permutation(available)[:most])
    subset = images.subset(chosen)
    prepared = Prepared(subset, spec)
    readable, crops = zip(*prepared, strict=True)
    pixels = np.stack(crops)
    if len(pixels) > 1 and (pixels == pixels[0]).all():
        raise InputError(f"Calibration images must differ, got {len(pixels)} identical ones.")
    originals = tuple(subset.image(readable[i]) for i in _spread(len(readable), GOLDEN_IMAGES))
    return CalibrationImages(pixels, originals, tuple(prepared.skipped))


def _spread(available: int, wanted: int) -> NDArray[np.int64]:
    """Indices of at most `wanted` of `available` things, evenly spaced."""
    return np.unique(np.linspace(0, available - 1, min(available, wanted)).round().astype(np.int64))
