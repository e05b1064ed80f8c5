"""`edgekit train --find-lr`: the loss while the learning rate grows (Smith, arXiv:1506.01186)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from rich.table import Table
from torch import Tensor

from edgekit.allocator import keep_memory
from edgekit.errors import InputError
from edgekit.files import write_whole
from edgekit.images import ImageSet
from edgekit.progress import console, tracked
from edgekit.train.feed import Feed, seed_of
from edgekit.train.loop import as_feed
from edgekit.train.memory import enough_memory
from edgekit.train.options import Options
from edgekit.train.run import Run, start
from edgekit.train.shards import ShardSet, living_workers
from edgekit.train.step import begin_epoch, one_step
from edgekit.train.world import World

STEPS = 100
LOWEST, HIGHEST = 1e-6, 1.0
SMOOTH = 0.9
# Where the loss is this many times its best, training has burst.
BURST = 4.0
SHOWN = 8
# Of the curve, at either end: a lowest loss there is no valley.
EDGE = 0.1


def find_rate(options: Options, train_set: ImageSet | ShardSet, out: Path | None, world: World) -> float:
    """Try rates, print what to use, and write the curve beside `out`, if that is given, as `<stem>.lr.csv`.

    Args:
        options: Of the run to be; `head_lr` keeps its ratio to `lr`.
        train_set: Images.
        out: The checkpoint to be.
        world: The processes.

    Returns:
        The proposed `lr`.

    Raises:
        InputError: As `train`; or not even the first loss is finite.
    """
    with world.one_after_another():
        feed = as_feed(train_set, options)
    keep_memory()
    with torch.random.fork_rng(devices=[]), enough_memory(options.batch, world.size), living_workers():
        rates, losses = curve(replace(options, qat_epochs=0), feed, world)
    if not losses:
        raise InputError(
            "The loss must be finite at the lowest rate, got NaN or infinity in the first step.",
            "The weights may be damaged, or too large for --amp.",
        )
    best = propose(rates, losses)
    if world.is_first:
        console.print(_table(rates, losses))
        if len(rates) < STEPS:
            console.print(f"Ended after {len(rates)} of {STEPS} steps: from there on the loss bursts.")
        if not has_valley(losses):
            console.print(
                "No rate stands out: the loss is lowest where the curve begins or ends. These images or weights (which "
                "may know the classes already) do not tell; keep the recipe's rate.",
                style="yellow",
                soft_wrap=True,
            )
        else:
            ratio = options.head_lr / options.lr
            console.print(f"Try --lr {best:.2g} --head-lr {best * ratio:.2g}.", soft_wrap=True)
        if out is not None:
            path = out.with_name(f"{out.stem}.lr.csv")
            write_whole(path, "lr,loss\n" + "".join(f"{a:.6g},{b:.6g}\n" for a, b in zip(rates, losses, strict=True)))
            console.print(f"The curve is in {path}.", soft_wrap=True)
    return best


def curve(options: Options, feed: Feed, world: World) -> tuple[list[float], list[float]]:
    """Rates, and the smoothed loss before each step; ends where training bursts."""
    run = start(options, feed, None, world=world)
    begin_epoch(run, 0)
    rates: list[float] = []
    losses: list[float] = []
    mean = 0.0
    batches = zip(tracked("Trying rates", range(STEPS), STEPS, "steps"), _endless(run), strict=False)
    for step, (pixels, targets) in batches:
        rate = LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1))
        for group in run.optimizer.param_groups:
            group["lr"] = rate * group["peak"] / options.lr
        loss, _ = one_step(run, pixels, targets, 0, step)
        value = world.total(loss.double()).item() / world.size
        mean = SMOOTH * mean + (1.0 - SMOOTH) * value
        smoothed = mean / (1.0 - SMOOTH ** (step + 1))
        if not math.isfinite(smoothed) or (losses and smoothed > BURST * min(losses)):
            break
        rates.append(rate)
        losses.append(smoothed)
    return rates, losses


def _endless(run: Run) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches; small sets are gone through as often as it takes."""
    for index in itertools.count():
        yield from run.train_set.epoch(seed_of(run.options.seed, index), run.batch, 0, run.world)


def has_valley(losses: Sequence[float]) -> bool:
    """Whether the loss has fallen, and risen again or burst; else the lowest one says nothing."""
    lowest = losses.index(min(losses))
    return lowest >= EDGE * STEPS and (lowest < (1.0 - EDGE) * STEPS or len(losses) < STEPS)


def propose(rates: Sequence[float], losses: Sequence[float]) -> float:
    """A tenth of the rate with the lowest loss: the usual rule for a peak that training can bear for long."""
    return rates[min(range(len(losses)), key=lambda index: losses[index])] / 10.0


def _table(rates: Sequence[float], losses: Sequence[float]) -> Table:
    table = Table("learning rate", "loss", "")
    high, low = max(losses), min(losses)
    for index in range(0, len(rates), max(1, len(rates) // SHOWN)):
        share = (losses[index] - low) / max(high - low, 1e-9)
        table.add_row(f"{rates[index]:.1e}", f"{losses[index]:.3f}", "█" * round(30 * share))
    return table
