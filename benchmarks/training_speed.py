"""Images per second of the training loop beside a bare forward, backward and step on tensors that are there already.

    python -m benchmarks.training_speed

Both in one process, taking turns: the same network, batch, optimizer and allocator; the median of the ratios. The bare
loop does what nobody can leave out. Processes with and without `keep_memory` take turns as well, to see what it saves.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace

import click
import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.support import RESULTS, machine, markdown, write_results
from edgekit.images import ArraySet
from edgekit.models import create
from edgekit.train import loop
from edgekit.train.allocator import keep_memory
from edgekit.train.data import ROOM
from edgekit.train.optimizer import make_optimizer, set_rates
from edgekit.train.options import Options
from edgekit.train.recipes import NATIVE, SCRATCH, TRANSFER

CLASSES = 10
CASES = {
    "V2 1.0, 96 px, all layers": SCRATCH,
    "V2 1.0, 96 px, 7 blocks frozen": replace(TRANSFER, weights="none"),
    "V2 0.5, 96 px": replace(SCRATCH, width=0.5),
    "V1 0.5, 96 px": replace(SCRATCH, arch="mobilenet_v1", width=0.5),
    "V2 1.0, 32 px, stem stride 1, batch 128": NATIVE,
}


@click.command()
@click.option("--steps", default=20, show_default=True, help="In each turn.")
@click.option("--turns", default=3, show_default=True, help="Of each loop in a process.")
@click.option("--rounds", default=3, show_default=True, help="Processes of each kind, one after another.")
@click.option("--name", default="training_speed", show_default=True)
@click.option("--child", hidden=True)
@click.option("--keep/--no-keep", default=True, hidden=True)
def main(steps: int, turns: int, rounds: int, name: str, child: str | None, keep: bool) -> None:
    """Measure, and write benchmarks/results/NAME.json and .md."""
    if child is not None:
        if not keep:
            loop.keep_memory = lambda: False  # type: ignore[assignment]
        sys.stdout.write(json.dumps(measured(child, steps, turns, keep)))
        return
    found = {title: {True: _Rates([], []), False: _Rates([], [])} for title in CASES}
    for title in CASES:
        for kept in [True, False] * rounds:
            words = [sys.executable, "-m", "benchmarks.training_speed", "--child", title, f"--steps={steps}"]
            more = [f"--turns={turns}", "--keep" if kept else "--no-keep"]
            rates = json.loads(subprocess.run([*words, *more], stdout=subprocess.PIPE, check=True).stdout)
            found[title][kept].bare.extend(rates["bare"])
            found[title][kept].loop.extend(rates["loop"])
    header = ("images/s", "bare loop", "training loop", "ratio", "without keep_memory", "it saves")
    raw = {title: {"kept": asdict(rates[True]), "plain": asdict(rates[False])} for title, rates in found.items()}
    table = markdown(header, [_line(title, rates[True], rates[False]) for title, rates in found.items()])
    write_results(RESULTS / f"{name}.json", {"machine": machine(), "images_per_second": raw}, table)


@dataclass(frozen=True)
class _Rates:
    """Images per second of each turn."""

    bare: list[float]
    loop: list[float]


def _line(title: str, kept: _Rates, plain: _Rates) -> tuple[str, ...]:
    ratio = statistics.median(second / first for first, second in zip(kept.bare, kept.loop, strict=True))
    loop_kept, loop_plain = statistics.median(kept.loop), statistics.median(plain.loop)
    return (
        title,
        f"{statistics.median(kept.bare):.0f}",
        f"{loop_kept:.0f}",
        f"{ratio:.3f}",
        f"{loop_plain:.0f}",
        f"{100 * (loop_kept / loop_plain - 1):+.0f} %",
    )


def measured(title: str, steps: int, turns: int, keep: bool) -> dict[str, list[float]]:
    """Images per second of both loops, in turns."""
    options = replace(CASES[title], epochs=2)
    random = np.random.default_rng(0)
    side = round(options.size * ROOM)
    count = options.batch * steps
    pixels = random.integers(0, 256, (count, side, side, 3), np.uint8)
    images = ArraySet(pixels, random.integers(0, CLASSES, count), tuple(map(str, range(CLASSES))))
    bare = _Bare(options)
    if keep:
        keep_memory()
    bare.run(3)
    rates: dict[str, list[float]] = {"bare": [], "loop": []}
    for _ in range(turns):
        rates["bare"].append(count / bare.run(steps))
        # The second epoch: the first one makes kernels for the shapes.
        second = loop.train(options, images).epochs[1]
        rates["loop"].append(second.images / second.seconds)
    return rates


class _Bare:
    """The shortest loop there is."""

    def __init__(self, options: Options) -> None:
        torch.manual_seed(0)
        self.options = options
        self.network = create(options.arch, classes=CLASSES, width=options.width, stem_stride=options.stem_stride)
        self.network = self.network.to(memory_format=torch.channels_last).train()
        for block in self.network.features[: options.freeze]:
            block.requires_grad_(False).eval()
        self.optimizer = make_optimizer(self.network, options)
        set_rates(self.optimizer, 0.2, 0.5)
        side = options.size
        self.images = torch.randn(options.batch, 3, side, side).contiguous(memory_format=torch.channels_last)
        self.targets = torch.randint(0, CLASSES, (options.batch,))

    def run(self, steps: int) -> float:
        """Seconds."""
        started = time.perf_counter()
        for _ in range(steps):
            loss = F.cross_entropy(self.network(self.images), self.targets)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
        return time.perf_counter() - started


if __name__ == "__main__":
    main()
