"""Which images come in which step, to which process, and where their chance comes from.

Everything random is drawn anew for each step, from numbers that name the step: it does not depend on what came before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from edgekit.train.data import PixelSet
from edgekit.train.world import World

# Ahead of a GPU: batches that are gathered and copied while it works.
AHEAD, WORKERS = 6, 3


def seed_of(*numbers: int) -> int:
    """One seed out of several numbers, in [0, 2^63): near ones give unlike seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1


def epoch_order(images: PixelSet, count: int, *, balanced: bool, seed: int) -> Tensor:
    """(count,) indices of an epoch.

    Args:
        images: The set.
        count: How many; at most all.
        balanced: Every class equally often, by drawing again from those with few images.
        seed: Of the epoch.
    """
    generator = torch.Generator().manual_seed(seed)
    if not balanced:
        return torch.randperm(len(images), generator=generator)[:count]
    sizes = torch.bincount(images.targets, minlength=len(images.labels))
    chances = 1.0 / sizes[images.targets].double()
    return torch.multinomial(chances, count, replacement=True, generator=generator)


def batches(images: PixelSet, order: Tensor, batch: int, done: int, world: World) -> Iterator[tuple[Tensor, Tensor]]:
    """This process's part of each batch after the first `done`: pixels (N, H, W, 3) uint8 and (N,) targets."""
    parts = [whole[world.rank :: world.size] for whole in torch.split(order, batch)[done:]]
    if world.device.type == "cpu":
        # Another thread would take from the network what it saves.
        yield from ((images.pixels[part], images.targets[part]) for part in parts)
        return

    def fetch(part: Tensor) -> tuple[Tensor, Tensor]:
        return images.pixels[part].pin_memory(), images.targets[part].pin_memory()

    waiting: deque[Future[tuple[Tensor, Tensor]]] = deque()
    with ThreadPoolExecutor(WORKERS) as pool:
        for part in parts:
            waiting.append(pool.submit(fetch, part))
            if len(waiting) > AHEAD:
                yield _moved(waiting.popleft().result(), world.device)
        while waiting:
            yield _moved(waiting.popleft().result(), world.device)


def _moved(pair: tuple[Tensor, Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    return pair[0].to(device, non_blocking=True), pair[1].to(device, non_blocking=True)
