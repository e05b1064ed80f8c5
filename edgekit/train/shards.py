"""Sets that do not fit one machine: WebDataset's tar shards, read in order, each by one process and one worker.

`DATA/train/*.tar`, `DATA/val/*.tar` and `DATA/labels.txt` (a class name per line).
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from edgekit.card import InputSpec
from edgekit.errors import InputError
from edgekit.progress import console, tracked
from edgekit.runtime import available_cores
from edgekit.train.augment import Augmentation
from edgekit.train.data import PixelSet, with_room
from edgekit.train.feed import ahead, moved, pinned
from edgekit.train.memory import check_fitting
from edgekit.train.samples import Decoder, Fault, Part, look_into, samples_of
from edgekit.train.stop import SIGNALS
from edgekit.train.world import World

LABELS = "labels.txt"
# Samples that wait in a process's workers, together, for a random other one to come before them.
SHUFFLED = 2048
NAMED = 3


@dataclass(frozen=True)
class ShardSet:
    """Labelled images in tar files.

    Attributes:
        shards: The files.
        counts: Samples in each.
        digests: Of each one's contents, see `samples.look_into`.
        labels: Class names.
        spec: What images are brought to.
        skipped: One line per image that this process could not read so far.
    """

    shards: tuple[Path, ...]
    counts: tuple[int, ...]
    digests: tuple[str, ...]
    labels: tuple[str, ...]
    spec: InputSpec
    _unreadable: dict[str, None] = field(default_factory=dict, init=False, compare=False)

    def __len__(self) -> int:
        return sum(self.counts)

    @property
    def skipped(self) -> tuple[str, ...]:
        """Each was told when it was met."""
        return tuple(self._unreadable)

    @property
    def names(self) -> range:
        """Samples have no names that are worth keeping."""
        return range(len(self))

    def fingerprint(self) -> str:
        """SHA-256 over names, sizes and classes of all samples; the images' bytes are too many to read."""
        digest = hashlib.sha256("\n".join(self.labels).encode())
        for path, found in zip(self.shards, self.digests, strict=True):
            digest.update(f"{path.name}\0{found}\n".encode())
        return digest.hexdigest()

    def outline(self) -> str:
        """How many samples of what, and a part of the fingerprint."""
        held = f"{len(self):,} images of {len(self.labels)} classes"
        return f"{held} in {len(self.shards)} shards ({self.fingerprint()[:8]})"

    def workers(self, world: World) -> int:
        """Each has shards of its own, and their batches come in turns."""
        mine = len(self.shards[world.rank :: world.size])
        return min(mine, max(1, available_cores() // world.local_size))

    def batch(self, wanted: int, world: World) -> int:
        """As wanted, or all there are."""
        return min(wanted, len(self)) // world.size * world.size

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
        """This process's part of each batch after the first `done`; as `feed.PixelFeed.epoch`.

        In place of images that cannot be read others come once more: every process must have as many steps.

        Raises:
            InputError: A sample has no class of ours, or not a single image can be read.
        """
        import webdataset

        mine = [str(path) for path in self.shards[world.rank :: world.size]]
        np.random.default_rng(seed).shuffle(mine)
        workers = self.workers(world)
        waiting = max(1, SHUFFLED // workers)
        samples = webdataset.DataPipeline(
            webdataset.SimpleShardList(mine),
            webdataset.split_by_worker,
            webdataset.tarfile_to_samples(),
            # Before they wait: decoded and shrunk they have a size that is known, which files do not.
            webdataset.map(Decoder(self.spec, len(self.labels))),
            webdataset.shuffle(waiting, initial=-(-waiting // 4), seed=seed),
        )
        loader = DataLoader(
            samples,
            batch_size=batch // world.size,
            num_workers=workers,
            collate_fn=Part.of,
        )
        steps = self.steps(batch, world)
        batches = _whole_batches(self._readable(loader), batch // world.size, steps, done)
        if world.device.type == "cpu":
            yield from batches
        else:
            # One thread, since it asks one iterator.
            tasks = itertools.repeat(lambda: pinned(next(batches)), max(0, steps - done))
            yield from (moved(pair, world.device) for pair in ahead(tasks, 1))

    def share(self, world: World) -> PixelSet:
        """Every `world.size`-th image, in memory, for validation.

        Raises:
            InputError: They do not fit.
        """
        count = len(range(world.rank, len(self), world.size))
        # The machine's other processes take as many; all but the first do it when that one has what it needs.
        processes = world.local_size - (world.local_rank > 0)
        check_fitting(processes * count * self.spec.height * self.spec.width * 3)
        pixels = np.empty((count, self.spec.height, self.spec.width, 3), np.uint8)
        targets = np.empty(count, np.int64)
        decode = Decoder(self.spec, len(self.labels))
        shards = tracked("Reading shards", self.shards, len(self.shards), "shards")
        samples = itertools.chain.from_iterable(map(samples_of, shards))
        place = 0
        for sample in itertools.islice(samples, world.rank, None, world.size):
            decoded = decode(sample)
            if isinstance(decoded, Fault):
                self._tell(decoded)
                continue
            pixels[place], targets[place] = decoded
            place += 1
        return PixelSet(torch.from_numpy(pixels[:place]), torch.from_numpy(targets[:place]), self.labels, self.skipped)

    def _readable(self, loader: Any) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of any size, over and over."""
        while True:
            count = 0
            for part in _started(loader):
                for fault in part.faults:
                    self._tell(fault)
                count += len(part.targets)
                yield part.pixels, part.targets
            if not count:
                raise InputError("Shards must hold readable images, got none.", "See the lines above.")

    def _tell(self, fault: Fault) -> None:
        """Once of each; wrong classes are not gone on with."""
        if fault.is_grave:
            raise InputError(fault.message)
        if fault.message not in self._unreadable:
            self._unreadable[fault.message] = None
            console.print(f"Left out: {fault.message}", markup=False, soft_wrap=True)

    def _counts_of(self, rank: int, size: int) -> tuple[int, ...]:
        return self.counts[rank::size]


@contextlib.contextmanager
def living_workers() -> Iterator[None]:
    """Say in our words that a process which reads shards has ended.

    Around all that is done with an epoch: PyTorch hears of it by a signal, and raises wherever the main thread is.

    Raises:
        InputError: One has.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise InputError(
            f"The processes that read shards must stay alive, got: {str(error).strip().splitlines()[0]}",
            "They need memory, shared memory too (/dev/shm; docker run --shm-size). Have more, or a smaller --batch.",
        ) from error


def _started(loader: Any) -> Iterator[Any]:
    """With workers that signals do not end: what is sent to a whole group, as by Ctrl-C, comes to them too.

    Their process decides when to stop. They inherit what it holds back while it starts them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        return iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _whole_batches(
    parts: Iterator[tuple[Tensor, Tensor]], size: int, steps: int, done: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of `size` out of whatever the workers deliver: each worker's last one may be short."""
    left: list[tuple[Tensor, Tensor]] = []
    step = 0
    for part in parts:
        if not len(part[1]):
            continue
        left.append(part)
        while sum(len(targets) for _, targets in left) >= size and step < steps:
            pixels = torch.cat([pixels for pixels, _ in left])
            targets = torch.cat([targets for _, targets in left])
            left = [(pixels[size:], targets[size:])]
            if step >= done:
                yield pixels[:size], targets[:size]
            step += 1
        if step == steps:
            return


def has_shards(folder: Path) -> bool:
    """Does `folder` look like shards rather than like images?"""
    return any((folder / "train").glob("*.tar"))


def open_shards(folder: Path, spec: InputSpec, how: Augmentation) -> tuple[ShardSet, ShardSet]:
    """The training and the validation set.

    Args:
        folder: Holds train/*.tar, val/*.tar and labels.txt.
        spec: The network's input.
        how: What will be done to the images to train on.

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
    return _open(folder / "train", labels, with_room(spec, how)), _open(folder / "val", labels, spec)


def _open(folder: Path, labels: tuple[str, ...], spec: InputSpec) -> ShardSet:
    shards = tuple(sorted(folder.glob("*.tar")))
    if not shards:
        raise InputError(f"{folder} must hold tar files, got none.")
    counted = tracked(f"Counting in {folder.name}", shards, len(shards), "shards")
    found = [look_into(path, len(labels)) for path in counted]
    counts, digests = zip(*found, strict=True)
    if not sum(counts):
        raise InputError(
            f"{folder} must hold samples such as 000017.jpg and 000017.cls, got none in {len(shards)} tar files.",
            "WebDataset cuts names at their first dot.",
        )
    return ShardSet(shards, counts, digests, labels, spec)
