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
from edgekit_quantize.report.labels import targets_by_name

VERIFY_IMAGES = 64
GOLDEN_IMAGES = 4
FEW_IMAGES = 32


@dataclass(frozen=True)
class CalibrationImages:
    """Calibration images in memory, cropped and resized for the network; N and M of them, RGB uint8.

    Attributes:
        fitting: (N, height, width, 3); ranges and weights are learned from these.
        targets: (N,) int64 class of each, -1 where unknown.
        verification: (M, height, width, 3); the result is judged by these: a fifth, held back from `fitting`, or all
            where there are too few.
        originals: A few images as they were, for golden samples.
        skipped: One line per image that could not be read.
        count: How many there are in all.
        sha256: Hash over all prepared pixels, in order.
    """

    fitting: NDArray[np.uint8]
    targets: NDArray[np.int64]
    verification: NDArray[np.uint8]
    originals: tuple[Image, ...]
    skipped: tuple[str, ...]
    count: int
    sha256: str

    @property
    def are_few(self) -> bool:
        """Whether ranges from them are little more than guesses."""
        return self.count < FEW_IMAGES


def read_calibration_images(
    images: ImageSet, spec: InputSpec, labels: tuple[str, ...], most: int, seed: int
) -> CalibrationImages:
    """Draw at most `most` images with `seed` and prepare them for `spec`.

    Args:
        images: Labelled ones are matched to the network's classes by name.
        spec: The network's input.
        labels: The network's classes.
        most: At least 1.
        seed: Of the choice.

    Raises:
        InputError: No image, none that can be read, all the same, or labelled with classes that the network lacks.
    """
    available = len(images.names)
    if not available:
        raise InputError("Calibration must have at least one image, got none.", "Check --calibration.")
    # Sorted: the choice is a set, and the disk is read in order.
    chosen = np.sort(np.random.default_rng(seed).permutation(available)[:most])
    subset = images.subset(chosen)
    targets = targets_by_name(subset, labels) if subset.labels else np.full(len(chosen), -1, np.int64)
    prepared = Prepared(subset, spec)
    readable, crops = zip(*prepared, strict=True)
    if len(crops) > 1 and all(np.array_equal(crop, crops[0]) for crop in crops):
        raise InputError(f"Calibration images must differ, got {len(crops)} identical ones.")
    originals = tuple(subset.image(readable[i]) for i in _spread(len(readable), GOLDEN_IMAGES))
    # Spread evenly: files of one class lie side by side.
    few = len(crops) < FEW_IMAGES
    judging = _spread(len(crops), len(crops) if few else min(len(crops) // 5, VERIFY_IMAGES))
    fitting = np.arange(len(crops)) if few else np.setdiff1d(np.arange(len(crops)), judging)
    digest = hashlib.sha256()
    for crop in crops:
        digest.update(crop.tobytes())
    return CalibrationImages(
        fitting=np.stack([crops[i] for i in fitting]),
        targets=targets[[readable[i] for i in fitting]],
        verification=np.stack([crops[i] for i in judging]),
        originals=originals,
        skipped=tuple(prepared.skipped),
        count=len(crops),
        sha256=digest.hexdigest(),
    )


def _spread(available: int, wanted: int) -> NDArray[np.int64]:
    """Indices of at most `wanted` of `available` things, evenly spaced."""
    return np.unique(np.linspace(0, available - 1, min(available, wanted)).round().astype(np.int64))
