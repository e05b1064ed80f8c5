"""Sets of images: a folder with a sub-folder per class, a folder of plain images, or an array (CIFAR-10)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.card import InputSpec
from edgekit.errors import InputError
from edgekit.files import sha256
from edgekit.listing import existing_folder, list_images
from edgekit.preprocess import Image, crop_and_resize, read_image


class ImageSet(Protocol):
    """Images with classes.

    Attributes:
        labels: Class names in index order; empty if the images are unlabelled.
        targets: (N,) int64 class index of each image; -1 where unlabelled.
        names: What to call each image in messages: a path or "test/17".
    """

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names."""
        ...

    @property
    def targets(self) -> NDArray[np.int64]:
        """Class indices."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """Names of the images."""
        ...

    def image(self, index: int) -> Image:
        """RGB uint8 (H, W, 3).

        Raises:
            InputError: The file cannot be read as an image.
        """
        ...

    def digest(self, index: int) -> str:
        """SHA-256 of what the image is decoded from, which is cheaper than decoding it.

        Raises:
            InputError: The file cannot be read.
        """
        ...

    def subset(self, indices: NDArray[np.integer[Any]]) -> ImageSet:
        """The chosen images, in that order."""
        ...


@dataclass(frozen=True)
class ArraySet:
    """Images of one size in memory: `pixels` is (N, H, W, 3) RGB uint8."""

    pixels: NDArray[np.uint8]
    targets: NDArray[np.int64]
    labels: tuple[str, ...]
    name: str = "image"

    @property
    def names(self) -> Sequence[str]:
        """One per image: name/index."""
        return [f"{self.name}/{index}" for index in range(len(self.pixels))]

    def image(self, index: int) -> Image:
        """The image itself, a view."""
        return np.asarray(self.pixels[index], np.uint8)

    def digest(self, index: int) -> str:
        """Of size and pixels."""
        image = self.image(index)
        return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()

    def subset(self, indices: NDArray[np.integer[Any]]) -> ArraySet:
        """The chosen images, in that order."""
        return ArraySet(self.pixels[indices], self.targets[indices], self.labels, self.name)


@dataclass(frozen=True)
class FileSet:
    """Image files, decoded one at a time; names are relative to `root` if it is given."""

    paths: tuple[Path, ...]
    targets: NDArray[np.int64]
    labels: tuple[str, ...]
    root: Path | None = None

    @property
    def names(self) -> Sequence[str]:
        """The paths."""
        return [str(path if self.root is None else path.relative_to(self.root)) for path in self.paths]

    def image(self, index: int) -> Image:
        """Decode one file."""
        return read_image(self.paths[index])

    def digest(self, index: int) -> str:
        """Of the file's bytes."""
        try:
            return sha256(self.paths[index])
        except OSError as error:
            raise InputError(f"{self.paths[index]} must be a readable image, got: {error.strerror}.") from error

    def subset(self, indices: NDArray[np.integer[Any]]) -> FileSet:
        """The chosen images, in that order."""
        return replace(self, paths=tuple(self.paths[int(i)] for i in indices), targets=self.targets[indices])


def labelled_folder(folder: str | Path, *, keep_empty: bool = False) -> FileSet:
    """`folder/<class>/*.jpg` as a labelled set; classes in alphabetical order.

    Args:
        folder: Where.
        keep_empty: A class whose folder holds nothing is a class without images.

    Raises:
        InputError: No such folder, fewer than two classes, or a class without an image directly in its folder.
    """
    folder = existing_folder(folder)
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(classes) < 2:
        raise InputError(
            f"{folder} must hold one sub-folder per class, at least two, got {len(classes)}.",
            "Sort the images as <folder>/<class>/*.jpg.",
        )
    for entry in classes:
        try:
            entry.name.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"A class name must be UTF-8, got {entry.name!r}.", "Rename its folder.") from error
        # As the card has it, whose labels stand in a file line by line.
        if "\n" in entry.name or "\r" in entry.name:
            raise InputError(f"A class name must be one line of text, got {entry.name!r}.", "Rename its folder.")
    paths: list[Path] = []
    targets: list[int] = []
    for index, entry in enumerate(classes):
        found = [] if keep_empty and not any(entry.iterdir()) else _images_of_class(entry)
        paths += found
        targets += [index] * len(found)
    return FileSet(tuple(paths), np.asarray(targets, np.int64), tuple(entry.name for entry in classes))


def unlabelled_folder(folder: str | Path) -> FileSet:
    """All images below a folder, without classes.

    Raises:
        InputError: As `list_images`.
    """
    paths = list_images(folder)
    return FileSet(tuple(paths), np.full(len(paths), -1, np.int64), ())


@dataclass
class Prepared:
    """Iterates over the images of a set, cropped and resized; unreadable ones are skipped and remembered.

    Attributes:
        skipped: One "X must be an image, got Y" line per image that could not be read; grows while iterating.
    """

    images: ImageSet
    spec: InputSpec
    skipped: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[tuple[int, Image]]:
        """(index in the set, (height, width, 3) RGB uint8).

        Raises:
            InputError: After the last image, if not one of them could be read.
        """
        readable = 0
        for index in range(len(self.images.names)):
            try:
                image = self.images.image(index)
            except InputError as error:
                self.skipped.append(error.message)
                continue
            readable += 1
            yield index, crop_and_resize(image, self.spec)
        if not readable:
            first = f" (the first: {self.skipped[0].rstrip('.')})" if self.skipped else ""
            raise InputError(f"At least one image must be readable, got none of {len(self.images.names)}{first}.")


def _images_of_class(folder: Path) -> list[Path]:
    """As `list_images`; but a folder of folders is no class, it is a split under a name that nobody looks for."""
    found = list_images(folder)
    if not any(path.parent == folder for path in found):
        below = sorted({path.relative_to(folder).parts[0] for path in found})
        raise InputError(
            f"{folder} must hold images directly, got only folders: {', '.join(below[:5])}.",
            "For a split, name the folders train/ and val/.",
        )
    return found
