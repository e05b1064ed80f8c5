"""Images of one size: every file is decoded, cropped and resized once, before the first epoch."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekit.card import InputSpec
from edgekit.errors import InputError
from edgekit.images import ArraySet, FileSet, ImageSet, Prepared, labelled_folder
from edgekit.progress import progress_bar
from edgekit.train import pixel_cache
from edgekit.train.augment import Augmentation
from edgekit.train.memory import check_fitting
from edgekit.train.survey import digests, first_copies
from edgekit.train.world import World

# How much larger than the input photos are kept, so that zooming in while training does not blur them: at most, for 224
# pixels, as large as ImageNet's mostly are.
LEAST_ROOM, MOST_ROOM = 1.25, 1.6
FINGERPRINT_BLOCK, LONG_FINGERPRINT = 256, 2 * 2**30

T = TypeVar("T")


@dataclass(frozen=True)
class PixelSet:
    """Images of one size with their classes.

    Attributes:
        pixels: (N, side, side, 3) uint8, RGB; those of files are mapped from the cache's disk, see `pixel_cache`.
        targets: (N,) int64 class indices.
        labels: Class names.
        skipped: One line per image that could not be read and is not among them.
    """

    pixels: Tensor
    targets: Tensor
    labels: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    def share(self, world: World) -> PixelSet:
        """Every `world.size`-th image, for validation."""
        mine = slice(world.rank, None, world.size)
        return replace(self, pixels=self.pixels[mine], targets=self.targets[mine])

    def fingerprint(self) -> str:
        """SHA-256 over pixels, classes and names: tells whether a resumed run sees the same data."""
        digest = hashlib.sha256()
        # Two seconds of it or more.
        is_long = self.pixels.numel() > LONG_FINGERPRINT
        blocks = torch.split(self.pixels, FINGERPRINT_BLOCK)
        for block in counted(blocks, "Comparing images", len(self.pixels), is_long, size=len):
            digest.update(block.numpy().tobytes())
        digest.update(self.targets.numpy().tobytes())
        digest.update("\n".join(self.labels).encode())
        return digest.hexdigest()

    def outline(self) -> str:
        """How many images of what, and a digest of names and numbers of their classes: no pixel is read for it."""
        digest = hashlib.sha256("\n".join(self.labels).encode())
        digest.update(self.targets.numpy().tobytes())
        return f"{len(self):,} images of {len(self.labels)} classes ({digest.hexdigest()[:8]})"


def with_room(spec: InputSpec, how: Augmentation) -> InputSpec:
    """The size that images to train on are kept at: larger than the input where only a part of them may be shown."""
    room = min(MOST_ROOM, max(LEAST_ROOM, 1.0 / (1.0 - how.zoom))) if how.resizes else 1.0
    side = round(spec.height * room)
    return replace(spec, height=side, width=side)


def for_training(images: ImageSet, spec: InputSpec, how: Augmentation, progress: bool = True) -> PixelSet:
    """Images with room to zoom, or as small as they are.

    Small images of one size (CIFAR-10) are kept unchanged; augmentation enlarges them in its one resampling.

    Args:
        images: The set.
        spec: The network's input.
        how: What will be done to them.
        progress: Show a bar.

    Raises:
        InputError: No image can be read, a class has none left, or they do not fit into memory or onto the disk.
    """
    if isinstance(images, ArraySet):
        height, width = images.pixels.shape[1:3]
        if height == width <= spec.height:
            return PixelSet(torch.from_numpy(np.array(images.pixels)), _targets(images.targets), images.labels)
    return for_evaluation(images, with_room(spec, how), progress)


def for_evaluation(images: ImageSet, spec: InputSpec, progress: bool = True) -> PixelSet:
    """Images exactly as the model will be given them: `edgekit.preprocess`, up to normalization.

    Raises:
        InputError: As `for_training`.
    """
    if isinstance(images, FileSet):
        found = pixel_cache.prepare(images, spec, progress)
        with warnings.catch_warnings():
            # Nobody writes to these.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
            pixels_read = torch.from_numpy(found.pixels)
        return _whole(images, pixels_read, found.kept, found.skipped)
    count = len(images.names)
    check_fitting(count * spec.height * spec.width * 3)
    pixels = np.empty((count, spec.height, spec.width, 3), np.uint8)
    prepared = Prepared(images, spec)
    kept: list[int] = []
    for index, image in counted(prepared, "Reading images", count, progress):
        pixels[len(kept)] = image
        kept.append(index)
    # The slice is contiguous and shares memory: skipped images cost only address space.
    return _whole(images, torch.from_numpy(pixels[: len(kept)]), np.asarray(kept, np.int64), tuple(prepared.skipped))


def _whole(images: ImageSet, pixels: Tensor, kept: NDArray[np.int64], skipped: tuple[str, ...]) -> PixelSet:
    targets = images.targets[kept]
    empty = [label for index, label in enumerate(images.labels) if not np.any(targets == index)]
    if empty and skipped:
        raise InputError(f"Every class must have a readable image, got none for {', '.join(empty[:5])}.")
    return PixelSet(pixels, _targets(targets), images.labels, skipped)


def counted(
    items: Iterable[T], title: str, total: int, shown: bool, size: Callable[[T], int] = lambda _: 1
) -> Iterator[T]:
    """The same items, behind a progress bar if `shown`; each moves it on by its `size` images."""
    if not shown:
        yield from items
        return
    with progress_bar(unit="images") as bar:
        task = bar.add_task(title, total=total)
        for item in items:
            yield item
            bar.update(task, advance=size(item))
        bar.update(task, completed=total)  # images that were skipped count as done


def normalizer(spec: InputSpec, device: torch.device | None = None) -> Callable[[Tensor], Tensor]:
    """A function from (N, 3, H, W) float32 pixels in [0, 255] to the network's input; see `preprocess.normalize`."""
    mean, std = np.asarray(spec.mean, np.float64), np.asarray(spec.std, np.float64)
    gain = torch.from_numpy((1.0 / (255.0 * std)).astype(np.float32)).view(1, 3, 1, 1).to(device)
    offset = torch.from_numpy((-mean / std).astype(np.float32)).view(1, 3, 1, 1).to(device)
    return lambda images: images * gain + offset


def has_validation(folder: Path) -> bool:
    """Does a user's folder bring validation images of its own?"""
    return (folder / "train").is_dir() and (folder / "val").is_dir()


def open_folder(folder: Path, val_fraction: float) -> tuple[FileSet, FileSet]:
    """The training and the validation set of a user's folder.

    `folder/train/<class>` and `folder/val/<class>` if both are there; otherwise `folder/<class>`, see
    `stratified_split`.

    Raises:
        InputError: No folder, fewer than two classes, class sets that differ, or a class too small to be split.
    """
    train_folder, val_folder = folder / "train", folder / "val"
    if train_folder.is_dir() and set(_folders_in(folder)) <= {"train", "test"}:
        raise InputError(f"{folder} must have val/ beside train/, got none.", f"Give {train_folder} to split it.")
    if not has_validation(folder):
        return stratified_split(labelled_folder(folder), val_fraction)
    train_set, val_set = labelled_folder(train_folder), labelled_folder(val_folder)
    if differ := sorted(set(train_set.labels) ^ set(val_set.labels)):
        raise InputError(
            f"{train_folder} and {val_folder} must have the same classes, got {', '.join(differ[:5])} in one only.",
            "Add or remove those folders.",
        )
    return train_set, val_set


def _folders_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]


def stratified_split(images: FileSet, val_fraction: float) -> tuple[FileSet, FileSet]:
    """Split every class by the same share of its different images, at least one on either side.

    Those with the lowest hashes validate. So nearly all stay on their side when images join or leave, and a network
    that goes on from an earlier one is hardly judged by what that has learned: only where the border between the two
    moves, by as many as validation gains or loses, do images change sides. Copies go where the first of them goes,
    whatever their class.

    Raises:
        InputError: The share is not in (0, 1), or a class has a single image of its own.
    """
    if not 0 < val_fraction < 1:
        raise InputError(f"--val-fraction must be between 0 and 1, got {val_fraction}.")
    found = digests(images, "Looking for copies")
    first = first_copies(found)
    chosen: list[NDArray[np.intp]] = []
    for index, label in enumerate(images.labels):
        own = np.flatnonzero((images.targets == index) & (first == np.arange(len(first))))
        # Those that cannot be read come last.
        members = np.asarray(sorted(own, key=lambda image: (not found[image], found[image])), np.intp)
        if len(members) < 2:
            raise InputError(
                f"Class {label} must have at least two different images of its own to be split, got {len(members)}.",
                "Add images, or make train/ and val/ folders.",
            )
        cut = min(max(1, round(len(members) * val_fraction)), len(members) - 1)
        chosen.append(members[:cut])
    is_val = np.isin(first, np.concatenate(chosen))
    return images.subset(np.flatnonzero(~is_val)), images.subset(np.flatnonzero(is_val))


def _targets(targets: NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(np.array(targets, np.int64))
