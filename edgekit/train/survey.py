"""What training would see: images per class, unreadable files, sizes, and images that are in both sets."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import InputError
from edgekit.images import ImageSet
from edgekit.progress import tracked
from edgekit.train.pool import by_all_cores
from edgekit.train.world import World

# Shorter sides, in pixels: below each of these, and above the last.
SIZES = (32, 64, 128, 256, 512, 1024, 2048)
NAMED = 3
EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class Survey:
    """What a set holds.

    Attributes:
        counts: Readable images by class.
        unreadable: One line per image that cannot be read.
        sizes: Images by the smallest of SIZES that their shorter side is below; 0: below none of them.
        copies: How many images are copies of others in the same set.
        conflicts: Pairs of names: the same image in two classes.
    """

    counts: dict[str, int]
    unreadable: tuple[str, ...]
    sizes: dict[int, int]
    copies: int
    conflicts: tuple[tuple[str, str], ...] = ()


def survey(images: ImageSet, title: str) -> Survey:
    """Decode every image once; nothing of them is kept.

    Args:
        images: The set.
        title: For the progress bar.
    """
    unreadable, conflicts, sizes, known = [], [], Counter[int](), dict[str, int]()
    counts, names, copies = dict.fromkeys(images.labels, 0), images.names, 0
    looks = by_all_cores(lambda index: _look(images, index), len(names))
    for index, found in enumerate(tracked(title, looks, len(names))):
        if isinstance(found, str):
            unreadable.append(found)
            continue
        height, width, digest = found
        first = known.setdefault(digest, index)
        copies += first != index
        if images.targets[first] != images.targets[index]:
            conflicts.append((names[first], names[index]))
        counts[images.labels[images.targets[index]]] += 1
        sizes[next((size for size in SIZES if min(height, width) < size), 0)] += 1
    return Survey(counts, tuple(unreadable), dict(sizes), copies, tuple(conflicts))


def _look(images: ImageSet, index: int) -> tuple[int, int, str] | str:
    """Height, width and hash of an image, or why it cannot be read."""
    try:
        height, width = images.image(index).shape[:2]
        return height, width, images.digest(index)
    except InputError as error:
        return error.message


def leaked(train_set: ImageSet, val_set: ImageSet) -> list[tuple[str, str]]:
    """Validation images that training sees as well, byte for byte: (name there, name here) of each."""
    known = _by_digest(digests(train_set, "Comparing training images"))
    found = _by_digest(digests(val_set, "Comparing validation images"))
    # Once: a set makes its names anew each time.
    here, there = train_set.names, val_set.names
    pairs = ((digest, index) for digest in found if digest in known for index in found[digest])
    return [(here[known[digest][0]], there[index]) for digest, index in pairs]


def leaked_in(train_set: ImageSet, val_set: ImageSet, world: World) -> list[tuple[str, str]]:
    """As `leaked`, looked for by the first process alone: every file is read. Every process must ask."""
    found = leaked(train_set, val_set) if world.is_first else []
    pairs = (line.split("\0") for line in world.gather("\0".join(pair) for pair in found))
    return [(mine, theirs) for mine, theirs in pairs]


def refuse_leaked(pairs: list[tuple[str, str]]) -> None:
    """Refuse to be judged by what was learned.

    Args:
        pairs: What `leaked` has found.

    Raises:
        InputError: Images are in both sets.
    """
    if pairs:
        shown = "; ".join(f"{val} is {train}" for train, val in pairs[:NAMED])
        raise InputError(
            f"Validation must have other images than training, got {len(pairs)} that are in both: {shown}.",
            "Remove them from one, or say --allow-leakage if you mean it.",
        )


def digests(images: ImageSet, title: str) -> list[str]:
    """The hash of each image's bytes; "" for those that cannot be read.

    Args:
        images: The set.
        title: For the progress bar.
    """
    found = []
    for index in tracked(title, range(len(images.names)), len(images.names)):
        try:
            digest = images.digest(index)
        except InputError:
            digest = ""
        # Empty files are not copies of an image, they are none.
        found.append("" if digest == EMPTY else digest)
    return found


def first_copies(found: Sequence[str]) -> NDArray[np.intp]:
    """(N,) For each image the index of the first one that is the same byte for byte, which may be itself.

    Args:
        found: What `digests` says.
    """
    first = np.arange(len(found))
    for same in _by_digest(found).values():
        first[same] = same[0]
    return first


def _by_digest(found: Sequence[str]) -> dict[str, list[int]]:
    """Indices of readable images by their hash."""
    indices: defaultdict[str, list[int]] = defaultdict(list)
    for index, digest in enumerate(found):
        if digest:
            indices[digest].append(index)
    return dict(indices)
