"""Sets that do not fit one machine: WebDataset's tar shards, read in order, each by one process and one worker.

`DATA/train/*.tar`, `DATA/val/*.tar` and `DATA/labels.txt` (a class name per line). A sample is an image and a class
number under one name: `000017.jpg`, `000017.cls`.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from edgekit.card import InputSpec
from edgekit.errors import InputError
from edgekit.preprocess import IMAGE_SUFFIXES, Image, crop_and_resize, decode_image
from edgekit.progress import tracked
from edgekit.train.data import ROOM, PixelSet
from edgekit.train.world import World

LABELS = "labels.txt"
CLASS = ".cls"
# Samples that wait in each worker for a random other one to come before them.
SHUFFLED = 2048
NAMED = 3


@dataclass(frozen=True)
class ShardSet:
    """Labelled images in tar files.

    Attributes:
        shards: The files.
        counts: Samples in each.
        labels: Class names.
        spec: What images are brought to.
    """

    shards: tuple[Path, ...]
    counts: tuple[int, ...]
    labels: tuple[str, ...]
    spec: InputSpec
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return sum(self.counts)

    @property
    def names(self) -> range:
        """Samples have no names that are worth keeping."""
        return range(len(self))

    def fingerprint(self) -> str:
        """SHA-256 over the shards' names, sizes and counts; their bytes are too many to read."""
        digest = hashlib.sha256("\n".join(self.labels).encode())
        for path, count in zip(self.shards, self.counts, strict=True):
            digest.update(f"{path.name}\0{path.stat().st_size}\0{count}\n".encode())
        return digest.hexdigest()

    def steps(self, batch: int, world: World) -> int:
        """As many as the process with the fewest samples has.

        Raises:
            InputError: Fewer shards than processes, or one has not enough for a batch.
        """
        if len(self.shards) < world.size:
            raise InputError(
                f"There must be a shard for each of {world.size} processes, got {len(self.shards)}.",
                "Cut the set into more shards.",
            )
        fewest = min(sum(self._counts_of(rank, world.size)) for rank in range(world.size))
        if fewest < batch // world.size:
            raise InputError(f"Each process must have samples for a batch, got {fewest}.", "Use a smaller --batch.")
        return fewest // (batch // world.size)

    def epoch(self, seed: int, batch: int, done: int, world: World) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's part of each batch after the first `done`; as `feed.PixelFeed.epoch`."""
        import webdataset

        mine = [str(path) for path in self.shards[world.rank :: world.size]]
        np.random.default_rng(seed).shuffle(mine)
        workers = min(len(mine), max(1, (os.cpu_count() or 1) // max(1, world.size)))
        samples = webdataset.DataPipeline(
            webdataset.SimpleShardList(mine),
            webdataset.split_by_worker,
            webdataset.tarfile_to_samples(),
            webdataset.shuffle(SHUFFLED, initial=SHUFFLED // 4, seed=seed),
            webdataset.map(_Decoder(self.spec, len(self.labels))),
        )
        loader = DataLoader(
            samples,
            batch_size=batch // world.size,
            num_workers=workers,
            drop_last=False,
            pin_memory=world.device.type == "cuda",
        )
        yield from _whole_batches(loader, batch // world.size, self.steps(batch, world), done, world.device)

    def whole(self) -> PixelSet:
        """All images in memory, for validation."""
        pixels = np.empty((len(self), self.spec.height, self.spec.width, 3), np.uint8)
        targets = np.empty(len(self), np.int64)
        decode, place = _Decoder(self.spec, len(self.labels)), 0
        for path in tracked("Reading shards", self.shards, len(self.shards), "shards"):
            for sample in samples_of(path):
                pixels[place], targets[place] = decode(sample)
                place += 1
        return PixelSet(torch.from_numpy(pixels), torch.from_numpy(targets), self.labels)

    def _counts_of(self, rank: int, size: int) -> tuple[int, ...]:
        return self.counts[rank::size]


def _whole_batches(
    loader: Any, size: int, steps: int, done: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of `size` out of whatever the workers deliver: each worker's last one may be short."""
    left: list[tuple[Tensor, Tensor]] = []
    step = 0
    for part in loader:
        left.append(part)
        while sum(len(targets) for _, targets in left) >= size and step < steps:
            pixels = torch.cat([pixels for pixels, _ in left])
            targets = torch.cat([targets for _, targets in left])
            left = [(pixels[size:], targets[size:])]
            if step >= done:
                yield pixels[:size].to(device, non_blocking=True), targets[:size].to(device, non_blocking=True)
            step += 1
        if step == steps:
            return


class _Decoder:
    """A sample's bytes to (pixels (H, W, 3) uint8 RGB, class number)."""

    def __init__(self, spec: InputSpec, classes: int) -> None:
        self.spec = spec
        self.classes = classes

    def __call__(self, sample: dict[str, Any]) -> tuple[Image, int]:
        name = f"{Path(str(sample['__url__'])).name}: {sample['__key__']}"
        data = next((value for key, value in sample.items() if f".{key.lower()}" in IMAGE_SUFFIXES), None)
        try:
            target = int(sample["cls"])
        except (KeyError, ValueError) as error:
            raise InputError(f"{name} must have a class number (.cls), got {sample.get('cls')!r}.") from error
        if data is None or not 0 <= target < self.classes:
            got = "no image" if data is None else f"class {target}"
            raise InputError(f"{name} must be an image of one of {self.classes} classes, got {got}.")
        return crop_and_resize(decode_image(data, name), self.spec), target


def samples_of(path: Path) -> Iterator[dict[str, Any]]:
    """Samples of one shard, as webdataset gives them."""
    import webdataset

    yield from webdataset.DataPipeline(webdataset.SimpleShardList([str(path)]), webdataset.tarfile_to_samples())


def has_shards(folder: Path) -> bool:
    """Does `folder` look like shards rather than like images?"""
    return any((folder / "train").glob("*.tar"))


def open_shards(folder: Path, spec: InputSpec) -> tuple[ShardSet, ShardSet]:
    """The training and the validation set.

    Args:
        folder: Holds train/*.tar, val/*.tar and labels.txt.
        spec: The network's input; images to train on are kept with room to zoom.

    Raises:
        InputError: Something of it is not there, or no tar file.
    """
    try:
        labels = tuple((folder / LABELS).read_text(encoding="utf-8").split("\n"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{folder} must have a class name per line in {LABELS}, got none.") from error
    labels = labels[:-1] if labels[-1] == "" else labels
    if len(labels) < 2 or len(set(labels)) < len(labels) or "" in labels:
        raise InputError(f"{folder / LABELS} must hold at least two different names, got {', '.join(labels[:NAMED])}.")
    side = round(spec.height * ROOM)
    return (
        _open(folder / "train", labels, replace(spec, height=side, width=side)),
        _open(folder / "val", labels, spec),
    )


def _open(folder: Path, labels: tuple[str, ...], spec: InputSpec) -> ShardSet:
    shards = tuple(sorted(folder.glob("*.tar")))
    if not shards:
        raise InputError(f"{folder} must hold tar files, got none.")
    counts = [_count(path) for path in tracked(f"Counting in {folder.name}", shards, len(shards), "shards")]
    return ShardSet(shards, tuple(counts), labels, spec)


def _count(path: Path) -> int:
    """Samples of a shard, from the headers alone."""
    try:
        with tarfile.open(path) as tar:
            return sum(member.name.endswith(CLASS) for member in tar)
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{path} must be a tar file, got a damaged or another one: {error}.") from error
