"""`edgekit train --dry-run`: the data as training would see it, and how long it would take."""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from edgekit.allocator import keep_memory
from edgekit.errors import InputError
from edgekit.images import ImageSet
from edgekit.progress import console
from edgekit.train.data import PixelSet, with_room
from edgekit.train.feed import PixelFeed, even_batch
from edgekit.train.memory import enough_memory
from edgekit.train.options import Options
from edgekit.train.run import Run, start
from edgekit.train.step import begin_epoch, frozen_blocks, one_step
from edgekit.train.survey import SIZES, Survey, survey
from edgekit.train.world import World

LISTED = 10
# A class with so many times fewer images than the largest one is pointed out.
UNEVEN = 5.0
# Fewer images to train on than this make no class.
FEW = 10
WARM_UP, MEASURED = 2, 5


def dry_run(
    options: Options, train_set: ImageSet, val_set: ImageSet, pairs: list[tuple[str, str]], world: World
) -> None:
    """Look at all images, and print what there is to know; nothing is trained or written.

    Args:
        options: Of the run to be.
        train_set: Images.
        val_set: Likewise.
        pairs: Images in both, see `survey.leaked`.
        world: The processes.
    """
    surveys = (survey(train_set, "Reading training images"), survey(val_set, "Reading validation images"))
    console.print(_classes(*surveys))
    console.print(_sizes(*surveys))
    for line in _remarks(*surveys):
        console.print(line, markup=False, soft_wrap=True)
    for train, val in pairs[:LISTED]:
        console.print(f"In both: {val} is {train}", markup=False, soft_wrap=True)
    if len(pairs) > LISTED:
        console.print(f"  and {len(pairs) - LISTED} more")
    images = sum(surveys[0].counts.values())
    if not images:
        raise InputError("At least one image to train on must be readable, got none.", "See the lines above.")
    options = replace(options, batch=max(2, even_batch(images, options.batch, world.size)))
    with enough_memory(options.batch, world.size):
        rates = images_per_second(options, train_set.labels, world)
    seconds = sum(images / rate for rate in rates)
    rate = options.epochs * images / seconds
    took = f"{_duration(seconds)} for {options.epochs} epoch{'s'[: options.epochs - 1]} without validation"
    console.print(f"About {took} ({rate:.0f} images/s on this machine).", soft_wrap=True)


def images_per_second(options: Options, labels: tuple[str, ...], world: World) -> list[float]:
    """How fast this machine trains in each epoch: the median of some steps on noise, augmentation included.

    Epochs differ by how many blocks are frozen, and by int8's rounding.
    """
    keep_memory()
    rates: list[float] = []
    count = options.batch // world.size
    with torch.random.fork_rng(devices=[]):
        generator = torch.Generator().manual_seed(0)
        side = with_room(options.spec, options.augmentation).height
        pixels = torch.randint(0, 256, (options.batch, side, side, 3), dtype=torch.uint8, generator=generator)
        targets = torch.randint(0, len(labels), (options.batch,), generator=generator)
        noise = PixelSet(pixels, targets, labels)
        mine = pixels[:count].to(world.device), targets[:count].to(world.device)
        # Its weights do not change the time, and need not be fetched.
        run = start(options, PixelFeed(noise), None, world=world, restored=True)
        seconds: dict[tuple[int, bool], float] = {}
        for epoch in range(options.epochs):
            kind = frozen_blocks(options, epoch), options.is_aware(epoch)
            if kind not in seconds:
                seconds[kind] = _seconds_per_step(run, *mine, epoch)
            rates.append(count * world.size / seconds[kind])
    return rates


def _seconds_per_step(run: Run, pixels: Tensor, targets: Tensor, epoch: int) -> float:
    begin_epoch(run, epoch)
    seconds = []
    for step in range(WARM_UP + MEASURED):
        started = time.perf_counter()
        loss, _ = one_step(run, pixels, targets, epoch, step)
        loss.item()  # a GPU may still be at it
        seconds.append(time.perf_counter() - started)
    return sorted(seconds[WARM_UP:])[MEASURED // 2]


def _classes(train: Survey, val: Survey) -> Table:
    table = Table("class", "train", "validation")
    for name, count in train.counts.items():
        table.add_row(escape(name), f"{count:,}", f"{val.counts[name]:,}")
    if train.unreadable or val.unreadable:
        table.add_row("(unreadable)", f"{len(train.unreadable):,}", f"{len(val.unreadable):,}")
    table.add_section()
    table.add_row("together", f"{sum(train.counts.values()):,}", f"{sum(val.counts.values()):,}")
    return table


def _sizes(train: Survey, val: Survey) -> Table:
    table = Table("shorter side, pixels", "train", "validation")
    for size in sorted({*train.sizes, *val.sizes}, key=lambda size: size or float("inf")):
        least = max((smaller for smaller in SIZES if smaller < size), default=0)
        name = f"{least} … {size - 1}" if size else f"{SIZES[-1]} and more"
        table.add_row(name, f"{train.sizes.get(size, 0):,}", f"{val.sizes.get(size, 0):,}")
    return table


def _remarks(train: Survey, val: Survey) -> list[str]:
    lines = []
    for title, found in (("training", train), ("validation", val)):
        lines += [f"Unreadable: {line}" for line in found.unreadable[:LISTED]]
        if len(found.unreadable) > LISTED:
            lines.append(f"  and {len(found.unreadable) - LISTED} more in {title}")
        if found.copies:
            lines.append(f"Copies in {title}: {found.copies} of others there.")
        lines += [f"In two classes: {there} is {here}" for here, there in found.conflicts[:LISTED]]
        if len(found.conflicts) > LISTED:
            lines.append(f"  and {len(found.conflicts) - LISTED} more in {title}")
    largest = max(train.counts.values())
    small = [name for name, count in train.counts.items() if count * UNEVEN < largest]
    if small:
        words = "with less than a fifth of the largest class's images; --balanced shows all classes equally often."
        lines.append(f"Uneven: {', '.join(small[:LISTED])} {words}")
    few = [f"{name} ({count})" for name, count in train.counts.items() if count < FEW]
    if few:
        lines.append(f"Few images: {', '.join(few[:LISTED])}. A network learns these by heart; take {FEW} at least.")
    return lines


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1.0, seconds):.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
