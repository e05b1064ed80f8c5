"""The images that calibration sees: a seeded choice, prepared as the network will see them.

Choice and order follow from the content, never from names or places: the same images under other names, or in another
order, give the same model file.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.card import InputSpec
from edgekit.errors import InputError
from edgekit.images import FileSet, ImageSet, Prepared
from edgekit.preprocess import Image
from edgekit_quantize.report.labels import targets_by_name

VERIFY_IMAGES = 64
GOLDEN_IMAGES = 4
FEW_IMAGES = 32
# A file is known by its length and some of its bytes: 50,000 photos need not be read as a whole. Pixels lie in the
# middle and at the end; of uncompressed pictures with an even border the end alone would be the same.
_SAMPLE_BYTES = 4096


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
        sha256: Hash over the sorted SHA-256 of each image's prepared pixels.
        duplicates: How many more were drawn that look the same to the network as one of these.
    """

    fitting: NDArray[np.uint8]
    targets: NDArray[np.int64]
    verification: NDArray[np.uint8]
    originals: tuple[Image, ...]
    skipped: tuple[str, ...]
    count: int
    sha256: str
    duplicates: int = 0

    @property
    def are_few(self) -> bool:
        """Whether ranges from them are little more than guesses."""
        return self.count < FEW_IMAGES


def read_calibration_images(
    images: ImageSet, spec: InputSpec, labels: tuple[str, ...], most: int, seed: int
) -> CalibrationImages:
    """Draw at most `most` images with `seed` and prepare them for `spec`; what is there twice is used once.

    Args:
        images: Labelled ones are matched to the network's classes by name.
        spec: The network's input.
        labels: The network's classes.
        most: At least 1.
        seed: Of the choice.

    Raises:
        InputError: No image, none that can be read, all the same, or labelled with classes that the network lacks.
    """
    if not images.names:
        raise InputError("Calibration must have at least one image, got none.", "Check --calibration.")
    subset = images.subset(_draw(images, most, seed))
    targets = targets_by_name(subset, labels) if subset.labels else np.full(len(subset.names), -1, np.int64)
    prepared = Prepared(subset, spec)
    crops: dict[bytes, Image] = {}
    places: dict[bytes, list[int]] = defaultdict(list)
    for index, crop in prepared:
        digest = hashlib.sha256(crop.tobytes()).digest()
        crops.setdefault(digest, crop)
        places[digest].append(index)
    readable = sum(map(len, places.values()))
    if len(crops) == 1 < readable:
        raise InputError(
            f"Calibration images must differ, got {readable} identical ones.", "Take 100 or more typical images."
        )
    ordered = sorted(crops)[:most]
    few = len(ordered) < FEW_IMAGES
    held_back = 0 if few else min(len(ordered) // 5, VERIFY_IMAGES)
    fitting = ordered[held_back:]
    return CalibrationImages(
        fitting=np.stack([crops[digest] for digest in fitting]),
        targets=np.asarray([targets[places[digest]].min() for digest in fitting]),
        verification=np.stack([crops[digest] for digest in ordered[: held_back or None]]),
        originals=tuple(_original(subset, places[digest]) for digest in ordered[:GOLDEN_IMAGES]),
        skipped=tuple(prepared.skipped),
        count=len(ordered),
        sha256=hashlib.sha256(b"".join(ordered)).hexdigest(),
        duplicates=readable - len(crops),
    )


def _draw(images: ImageSet, most: int, seed: int) -> NDArray[np.int64]:
    """Indices, ascending, of at least `most` images where there are as many: those with the lowest seeded hashes.

    Images with the same hash as the last one are all there, so that their order does not decide.
    """
    available = len(images.names)
    if available <= most:
        return np.arange(available)
    salt = str(seed).encode()
    hashes = [hashlib.sha256(salt + _content(images, index)).digest() for index in range(available)]
    distinct = sorted(set(hashes))
    last = distinct[min(most, len(distinct)) - 1]
    return np.asarray([index for index, value in enumerate(hashes) if value <= last], np.int64)


def _content(images: ImageSet, index: int) -> bytes:
    """What tells an image from others; next to nothing where it cannot be read, as preparing it will report."""
    return _length_and_samples(images.paths[index]) if isinstance(images, FileSet) else images.image(index).tobytes()


def _length_and_samples(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            length = file.seek(0, os.SEEK_END)
            samples = []
            for place in (length // 3, 2 * length // 3, length - _SAMPLE_BYTES):
                file.seek(max(0, place))
                samples.append(file.read(_SAMPLE_BYTES))
            return b"%d " % length + b"".join(samples)
    except OSError:
        return b""


def _original(images: ImageSet, places: list[int]) -> Image:
    """One of several images that look the same to the network, whichever comes first."""
    return min((images.image(place) for place in places), key=lambda image: (image.shape, image.tobytes()))
