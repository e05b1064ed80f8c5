"""What training would see: images per class, unreadable files, sizes, and images that are in both sets."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.errors import InputError
from edgekit.images import FileSet, ImageSet
from edgekit.progress import tracked

# Shorter sides, in pixels: below each of these, and above the last.
SIZES = (32, 64, 128, 256, 512, 1024, 2048)
NAMED = 3
EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class Survey:
    """What a set holds.

    Attributes:
        counts: Images by class, unreadable ones included.
        unreadable: One line per image that cannot be read.
        sizes: Images by the smallest of SIZES that their shorter side is below; 0: below none of them.
        copies: How many images are copies of others in the same set.
    """

    counts: dict[str, int]
    unreadable: tuple[str, ...]
    sizes: dict[int, int]
    copies: int


def survey(images: ImageSet, title: str) -> Survey:
    """Decode every image once; nothing of them is kept.

    Args:
        images: The set.
        title: For the progress bar.
    """
    unreadable, sizes, digests = [], Counter[int](), Counter[str]()
    for index in tracked(title, range(len(images.names)), len(images.names)):
        try:
            height, width = images.image(index).shape[:2]
            digests[images.digest(index)] += 1
        except InputError as error:
            unreadable.append(error.message)
            continue
        sizes[next((size for size in SIZES if min(height, width) < size), 0)] += 1
    counts = np.bincount(images.targets, minlength=len(images.labels))
    copies = sum(count - 1 for count in digests.values())
    return Survey(dict(zip(images.labels, counts.tolist(), strict=True)), tuple(unreadable), dict(sizes), copies)


def leaked(train_set: ImageSet, val_set: ImageSet) -> list[tuple[str, str]]:
    """Validation images that training sees as well, byte for byte: (name there, name here) of each."""
    known, found = _by_digest(train_set, "Comparing"), _by_digest(val_set, "Comparing")
    # Once: a set makes its names anew each time.
    here, there = train_set.names, val_set.names
    pairs = ((digest, index) for digest in found if digest in known for index in found[digest])
    return [(here[known[digest][0]], there[index]) for digest, index in pairs]


def check_leaked(train_set: ImageSet, val_set: ImageSet) -> None:
    """Refuse to be judged by what was learned.

    Raises:
        InputError: Images are in both sets.
    """
    if pairs := leaked(train_set, val_set):
        shown = "; ".join(f"{val} is {train}" for train, val in pairs[:NAMED])
        raise InputError(
            f"Validation must have other images than training, got {len(pairs)} that are in both: {shown}.",
            "Remove them from one, or say --allow-leakage if you mean it.",
        )


def copies_together(train_set: FileSet, val_set: FileSet) -> tuple[FileSet, FileSet]:
    """A split of one set in which copies of an image are on one side: those in validation go over to training.

    Raises:
        InputError: A class has nothing but copies then.
    """
    known, found = _by_digest(train_set, "Comparing"), _by_digest(val_set, "Comparing")
    moved = sorted(index for digest in found if digest in known for index in found[digest])
    if not moved:
        return train_set, val_set
    stays = np.setdiff1d(np.arange(len(val_set.paths)), moved)
    kept = val_set.subset(stays)
    lost = [label for index, label in enumerate(val_set.labels) if not np.any(kept.targets == index)]
    if lost:
        raise InputError(
            f"Every class must have images for validation that training has not, got only copies of {lost[0]}.",
            "Add images, or make train/ and val/ folders.",
        )
    paths = (*train_set.paths, *(val_set.paths[index] for index in moved))
    targets = np.concatenate([train_set.targets, val_set.targets[moved]])
    return FileSet(paths, targets, train_set.labels, train_set.root), kept


def _by_digest(images: ImageSet, title: str) -> dict[str, Sequence[int]]:
    """Indices of readable images by their hash."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for index in tracked(title, range(len(images.names)), len(images.names)):
        try:
            found[images.digest(index)].append(index)
        except InputError:
            continue
    # Empty files are not copies of an image, they are none.
    found.pop(EMPTY, None)
    return dict(found)
