"""Images per second of the training loop beside a bare forward, backward and step on tensors that are there already.

    python -m benchmarks.training_speed

Both in one process, taking turns: the same network, batch, optimizer and allocator; the median of the ratios. The bare
loop does what nobody can leave out. A second process without `keep_memory` shows what it saves.
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
from scipy.stats import bootstrap
from torch.nn import functional as F

from benchmarks.support import RESULTS, machine, markdown, write_results
from edgekit.allocator import keep_memory
from edgekit.images import ArraySet
from edgekit.models import create
from edgekit.train import loop
from edgekit.train.data import with_room
from edgekit.train.log import Log
from edgekit.train.optimizer import make_optimizer, set_rates
from edgekit.train.options import Options
from edgekit.train.recipes import NATIVE, SCRATCH, TRANSFER
from edgekit.train.resume import Epoch
from edgekit.train.step import precision
from edgekit.train.world import World, choose_device

CLASSES = 10
CASES = {
    "V2 1.0, 96 px, all layers": SCRATCH,
    "V2 1.0, 96 px, 7 blocks frozen": replace(TRANSFER, weights="none"),
    "V2 0.5, 96 px": replace(SCRATCH, width=0.5),
    "V1 0.5, 96 px": replace(SCRATCH, arch="mobilenet_v1", width=0.5),
    "V2 1.0, 32 px, stem stride 1, batch 128": NATIVE,
}


@click.command()
@click.option("--steps", default=10, show_default=True, help="In each turn.")
@click.option("--turns", default=31, show_default=True, help="Of each loop.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--name", default="training_speed", show_default=True)
@click.option("--child", hidden=True)
@click.option("--keep/--no-keep", default=True, hidden=True)
def main(steps: int, turns: int, device: str, name: str, child: str | None, keep: bool) -> None:
    """Measure, and write benchmarks/results/NAME.json and .md."""
    if child is not None:
        if not keep:
            loop.keep_memory = lambda: False  # type: ignore[assignment]
        sys.stdout.write(json.dumps(measured(child, steps, turns, keep, device)))
        return
    found = {title: [_rates(title, steps, turns, device, flag) for flag in ("--keep", "--no-keep")] for title in CASES}
    header = ("images/s", "bare loop", "training loop", "ratio", "without keep_memory", "it saves")
    raw = {title: {"kept": asdict(kept), "plain": asdict(plain)} for title, (kept, plain) in found.items()}
    table = markdown(header, [_line(title, kept, plain) for title, (kept, plain) in found.items()])
    facts = {"machine": machine(), "device": device, "turns": turns, "images_per_second": raw}
    write_results(RESULTS / f"{name}.json", facts, table)


@dataclass(frozen=True)
class _Rates:
    """Images per second of each turn."""

    bare: list[float]
    loop: list[float]


def _rates(title: str, steps: int, turns: int, device: str, flag: str) -> _Rates:
    options = [f"--steps={steps}", f"--turns={turns}", f"--device={device}", flag]
    words = [sys.executable, "-m", "benchmarks.training_speed", "--child", title, *options]
    done = subprocess.run(words, stdout=subprocess.PIPE, check=True)
    return _Rates(**json.loads(done.stdout))


def _line(title: str, kept: _Rates, plain: _Rates) -> tuple[str, ...]:
    ratios = [second / first for first, second in zip(kept.bare, kept.loop, strict=True)]
    interval = bootstrap((ratios,), np.median, rng=np.random.default_rng(0)).confidence_interval
    loop_kept, loop_plain = statistics.median(kept.loop), statistics.median(plain.loop)
    return (
        title,
        f"{statistics.median(kept.bare):.0f}",
        f"{loop_kept:.0f}",
        f"{statistics.median(ratios):.2f} ({interval.low:.2f} … {interval.high:.2f})",
        f"{loop_plain:.0f}",
        f"{100 * (loop_kept / loop_plain - 1):+.0f} %",
    )


def measured(title: str, steps: int, turns: int, keep: bool, device: str = "cpu") -> dict[str, list[float]]:
    """Images per second of both loops, in turns: after each epoch of the training loop comes a bare one."""
    # The first epoch does not count: it makes kernels for the shapes.
    options = replace(CASES[title], epochs=turns + 1)
    random = np.random.default_rng(0)
    side = with_room(options.spec, options.augmentation).height
    count = options.batch * steps
    pixels = random.integers(0, 256, (count, side, side, 3), np.uint8)
    images = ArraySet(pixels, random.integers(0, CLASSES, count), tuple(map(str, range(CLASSES))))
    world = World(device=choose_device(device))
    bare = _Bare(options, world.device)
    if keep:
        keep_memory()
    bare.run(3)
    between = _Between(bare, steps)
    epochs = loop.train(options, images, log=between, world=world).epochs
    loop_rates = [epoch.images / epoch.seconds for epoch in epochs]
    return {"bare": between.rates[1:], "loop": loop_rates[1:]}


class _Between(Log):
    """Runs the bare loop when an epoch has ended, and keeps its images per second."""

    def __init__(self, bare: _Bare, steps: int) -> None:
        super().__init__()
        self._bare, self._steps = bare, steps
        self.rates: list[float] = []

    def epoch(self, number: int, epoch: Epoch, rate: float) -> None:
        """Its turn."""
        self.rates.append(self._steps * self._bare.options.batch / self._bare.run(self._steps))


class _Bare:
    """The shortest loop there is."""

    def __init__(self, options: Options, device: torch.device) -> None:
        torch.manual_seed(0)
        self.options = options
        self.network = create(options.arch, classes=CLASSES, width=options.width, stem_stride=options.stem_stride)
        self.network = self.network.to(device, memory_format=torch.channels_last).train()
        for block in self.network.features[: options.freeze]:
            block.requires_grad_(False).eval()
        self.optimizer = make_optimizer(self.network, options)
        set_rates(self.optimizer, 0.2, 0.5)
        side = options.size
        images = torch.randn(options.batch, 3, side, side).to(device, memory_format=torch.channels_last)
        self.images, self.targets = images, torch.randint(0, CLASSES, (options.batch,)).to(device)

    def run(self, steps: int) -> float:
        """Seconds."""
        started = time.perf_counter()
        for _ in range(steps):
            with precision(self.options, self.images.device, 0):
                answers = self.network(self.images)
            loss = F.cross_entropy(answers.float(), self.targets)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
        loss.item()  # a GPU may still be at it
        return time.perf_counter() - started


if __name__ == "__main__":
    main()
