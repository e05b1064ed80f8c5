"""`edgekit train --dry-run`: the data as training would see it, and how long it would take."""

from __future__ import annotations

import time

import torch
from rich.markup import escape
from rich.table import Table

from edgekit.images import ImageSet
from edgekit.progress import console
from edgekit.train.data import ROOM, PixelSet
from edgekit.train.feed import PixelFeed
from edgekit.train.options import Options
from edgekit.train.run import begin_epoch, one_step, start
from edgekit.train.survey import Survey, leaked, survey

LISTED = 10
# A class with so many times fewer images than the largest one is pointed out.
UNEVEN = 5.0
WARM_UP, MEASURED = 2, 5


def dry_run(options: Options, train_set: ImageSet, val_set: ImageSet) -> int:
    """Look at all images, and print what there is to know; nothing is trained or written.

    Returns:
        How many validation images training would see as well.
    """
    surveys = (survey(train_set, "Reading training images"), survey(val_set, "Reading validation images"))
    console.print(_classes(*surveys))
    console.print(_sizes(*surveys))
    for line in _remarks(*surveys):
        console.print(line, markup=False, soft_wrap=True)
    pairs = leaked(train_set, val_set)
    for train, val in pairs[:LISTED]:
        console.print(f"In both: {val} is {train}", markup=False, soft_wrap=True)
    rate = images_per_second(options, len(train_set.labels))
    seconds = options.epochs * len(train_set.names) / rate
    console.print(f"About {_duration(seconds)} for {options.epochs} epochs ({rate:.0f} images/s on this machine).")
    return len(pairs)


def images_per_second(options: Options, classes: int) -> float:
    """How fast this machine trains: the median of some steps on noise, augmentation included."""
    with torch.random.fork_rng(devices=[]):
        generator = torch.Generator().manual_seed(0)
        side = round(options.size * ROOM)
        pixels = torch.randint(0, 256, (options.batch, side, side, 3), dtype=torch.uint8, generator=generator)
        targets = torch.randint(0, classes, (options.batch,), generator=generator)
        noise = PixelSet(pixels, targets, tuple(map(str, range(classes))))
        # Its weights do not change the time, and need not be fetched.
        run = start(options, PixelFeed(noise), None, restored=True)
        begin_epoch(run, 0)
        seconds = []
        for step in range(WARM_UP + MEASURED):
            started = time.perf_counter()
            one_step(run, pixels, targets, 0, step)
            seconds.append(time.perf_counter() - started)
    return options.batch / sorted(seconds[WARM_UP:])[MEASURED // 2]


def _classes(train: Survey, val: Survey) -> Table:
    table = Table("class", "train", "validation")
    for name, count in train.counts.items():
        table.add_row(escape(name), f"{count:,}", f"{val.counts[name]:,}")
    table.add_section()
    table.add_row("together", f"{sum(train.counts.values()):,}", f"{sum(val.counts.values()):,}")
    return table


def _sizes(train: Survey, val: Survey) -> Table:
    table = Table("shorter side, pixels", "train", "validation")
    for size in sorted({*train.sizes, *val.sizes}, key=lambda size: size or float("inf")):
        name = f"below {size}" if size else "larger"
        table.add_row(name, f"{train.sizes.get(size, 0):,}", f"{val.sizes.get(size, 0):,}")
    return table


def _remarks(train: Survey, val: Survey) -> list[str]:
    lines = []
    for title, found in (("training", train), ("validation", val)):
        lines += [f"Unreadable: {line}" for line in found.unreadable[:LISTED]]
        if len(found.unreadable) > LISTED:
            lines.append(f"  and {len(found.unreadable) - LISTED} more in {title}")
        if found.copies:
            lines.append(f"{found.copies} images in {title} are copies of others there.")
    largest = max(train.counts.values())
    small = [name for name, count in train.counts.items() if count * UNEVEN < largest]
    if small:
        lines.append(f"Uneven: {', '.join(small[:LISTED])} with less than a fifth of the largest class's images.")
    return lines


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
