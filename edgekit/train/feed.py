"""Which images come in which step, to which process, and where their chance comes from.

Everything random is drawn anew for each step, from numbers that name the step: it does not depend on what came before.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from edgekit.errors import InputError
from edgekit.train.data import PixelSet
from edgekit.train.options import Options
from edgekit.train.world import World

# Of a set, by an epoch of whole batches: one more step, of smaller batches, is tried where it were more.
MOST_LEFT_OUT = 0.05
# Ahead of a GPU: batches that are gathered and copied while it works.
AHEAD, WORKERS = 6, 3

_T = TypeVar("_T")
Batch = tuple[Tensor, Tensor]


def seed_of(*numbers: int) -> int:
    """One seed out of several numbers, in [0, 2^63): near ones give unlike seeds."""
    # Their number as well: NumPy takes (0, 3) and (0, 3, 0, 0) for the same.
    return int(np.random.SeedSequence((len(numbers), *numbers)).generate_state(1, np.uint64)[0]) >> 1


def even_batch(images: int, batch: int, processes: int = 1) -> int:
    """Images per step that do not leave much of a small set out of each epoch.

    Args:
        images: In the set.
        batch: As asked for; the most that there will be.
        processes: It must be a multiple of.
    """
    batch = min(batch, images) // processes * processes
    if not batch:
        return 0
    steps, left = divmod(images, batch)
    smaller = images // (steps + 1) // processes * processes
    # Batch normalization needs two images in each process.
    is_better = smaller >= 2 * processes and images % smaller < left
    return smaller if left > MOST_LEFT_OUT * images and is_better else batch


def check_same_options(world: World, options: Options) -> None:
    """Each process is given its own command line.

    Args:
        world: The processes; every one of them must call this.
        options: Of this one.

    Raises:
        InputError: Some have others.
    """
    # Files are the same by their hashes, wherever each machine has them.
    plain = options.flat()
    plain |= {name: "" for name in ("weights", "teacher") if plain[f"{name}_sha256"]}
    found = [json.loads(line) for line in world.gather([json.dumps(plain)])]
    given = {name: sorted({str(each[name]) for each in found}) for name in plain}
    differ = [
        f"--{name.removesuffix('_sha256').replace('_', '-')} {' and '.join(values)}"
        for name, values in given.items()
        if len(values) > 1
    ]
    if differ:
        raise InputError(
            f"All processes must be given the same options, got {'; '.join(differ)}.", "Give the same on each machine."
        )


def check_same_everywhere(world: World, outlines: list[str]) -> None:
    """Each process takes its part of a batch by numbers, which must be the same images' on all machines.

    Args:
        world: The processes; every one of them must call this.
        outlines: Of this one's sets.

    Raises:
        InputError: Some have others.
    """
    found = world.gather([" to train and ".join(outlines)])
    if len(found) > 1:
        raise InputError(
            f"All processes must have the same images, got {'; '.join(f'{each} to validate' for each in found)}.",
            "Copy the folder anew to each machine, or share it.",
        )


class Feed(Protocol):
    """Where training images come from.

    Attributes:
        labels: Class names.
        skipped: One line per image that could not be read.
    """

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names."""
        ...

    @property
    def skipped(self) -> tuple[str, ...]:
        """Images left out."""
        ...

    def __len__(self) -> int: ...

    def fingerprint(self) -> str:
        """Tells whether a resumed run sees the same data."""
        ...

    def outline(self) -> str:
        """In a line: what the processes of a run must agree on, as far as it costs nothing to tell."""
        ...

    def workers(self, world: World) -> int:
        """On how many of a process's workers it depends which images come when; 0: on none."""
        ...

    def batch(self, wanted: int, world: World) -> int:
        """Images per step, over all processes."""
        ...

    def steps(self, batch: int, world: World) -> int:
        """Batches in an epoch; what is left over waits for the next shuffle."""
        ...

    def epoch(self, seed: int, batch: int, done: int, world: World) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's part of each batch.

        Args:
            seed: Of the epoch.
            batch: Images per step, over all processes.
            done: How many batches to leave out.
            world: The processes.

        Yields:
            Pixels (N, H, W, 3) uint8 RGB and targets (N,) int64, on the world's device.
        """
        ...


@dataclass(frozen=True)
class PixelFeed:
    """A `PixelSet` in random order; `balanced`: every class equally often, by repeating those with few images."""

    images: PixelSet
    balanced: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names."""
        return self.images.labels

    @property
    def skipped(self) -> tuple[str, ...]:
        """Images left out."""
        return self.images.skipped

    def __len__(self) -> int:
        return len(self.images)

    def fingerprint(self) -> str:
        """Of all pixels."""
        return self.images.fingerprint()

    def outline(self) -> str:
        """See `PixelSet.outline`."""
        return self.images.outline()

    def workers(self, world: World) -> int:
        """None: one thread reads what others have decoded."""
        return 0

    def batch(self, wanted: int, world: World) -> int:
        """As wanted, or less: see `even_batch`."""
        return even_batch(len(self), wanted, world.size)

    def steps(self, batch: int, world: World) -> int:
        """Whole batches."""
        return len(self) // batch

    def order(self, seed: int) -> Tensor:
        """(N,) indices of an epoch."""
        generator = torch.Generator().manual_seed(seed)
        if not self.balanced:
            return torch.randperm(len(self), generator=generator)
        targets = self.images.targets
        chances = 1.0 / torch.bincount(targets, minlength=len(self.labels))[targets].double()
        return torch.multinomial(chances, len(self), replacement=True, generator=generator)

    def epoch(self, seed: int, batch: int, done: int, world: World) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Feed`."""
        wanted = self.order(seed)[: self.steps(batch, world) * batch]
        parts = [whole[world.rank :: world.size] for whole in torch.split(wanted, batch)[done:]]
        if world.device.type == "cpu":
            # Another thread would take from the network what it saves.
            yield from map(self._batch, parts)
        else:
            tasks = (partial(self._pinned, part) for part in parts)
            yield from (moved(pair, world.device) for pair in ahead(tasks, WORKERS))

    def _batch(self, part: Tensor) -> Batch:
        # Image by image: indexing with [] goes pixel by pixel, in six times the time.
        return self.images.pixels.index_select(0, part), self.images.targets[part]

    def _pinned(self, part: Tensor) -> Batch:
        return pinned(self._batch(part))


def ahead(tasks: Iterable[Callable[[], _T]], workers: int) -> Iterator[_T]:
    """What they give, in their order, made by threads while the caller is at work on what came before."""
    waiting: deque[Future[_T]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for task in tasks:
            waiting.append(pool.submit(task))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Who stops wants no more of them.
        pool.shutdown(cancel_futures=True)


def pinned(pair: Batch) -> Batch:
    """Where a GPU can fetch it from by itself."""
    return pair[0].pin_memory(), pair[1].pin_memory()


def moved(pair: Batch, device: torch.device) -> Batch:
    """On its way to a device."""
    return pair[0].to(device, non_blocking=True), pair[1].to(device, non_blocking=True)
