"""Images per second of the training loop beside a bare forward, backward and step on tensors that are there already.

    python -m benchmarks.training_speed

Both in one process, taking turns: the same network, batch, optimizer and allocator; ratios of medians. The bare loop
does what nobody can leave out. The whole is then repeated without `keep_memory`, in a process of its own, to see what
that saves.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import click
import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.support import RESULTS, machine, markdown, write_results
from edgekit.images import ArraySet
from edgekit.models import create
from edgekit.train.allocator import keep_memory
from edgekit.train.data import ROOM
from edgekit.train.loop import train
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
@click.option("--turns", default=7, show_default=True)
@click.option("--name", default="training_speed", show_default=True)
@click.option("--child", is_flag=True, hidden=True)
def main(steps: int, turns: int, name: str, child: bool) -> None:
    """Measure, and write benchmarks/results/NAME.json and .md."""
    if child:
        _disable()
        sys.stdout.write(json.dumps([measured(title, steps, turns, False) for title in CASES]))
        return
    words = [sys.executable, "-m", "benchmarks.training_speed", "--child", f"--steps={steps}", f"--turns={turns}"]
    plain = json.loads(subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout)
    kept = [measured(title, steps, turns, True) for title in CASES]
    rows = [
        (
            one["case"],
            f"{one['bare']:.0f}",
            f"{one['loop']:.0f}",
            f"{one['ratio']:.3f}",
            f"{other['loop']:.0f}",
            f"{one['loop'] / other['loop']:.2f}",
        )
        for one, other in zip(kept, plain, strict=True)
    ]
    header = ("images/s", "bare loop", "training loop", "ratio", "without keep_memory", "saves")
    write_results(
        RESULTS / f"{name}.json", {"machine": machine(), "kept": kept, "plain": plain}, markdown(header, rows)
    )


def _disable() -> None:
    """`loop` has the function under its own name."""
    from edgekit.train import loop

    loop.keep_memory = lambda: False  # type: ignore[assignment]


def measured(title: str, steps: int, turns: int, keep: bool) -> dict[str, Any]:
    """Images per second of both loops."""
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
        second = train(options, images).epochs[1]
        rates["loop"].append(second.images / second.seconds)
    middle = {name: statistics.median(values) for name, values in rates.items()}
    return {"case": title, **middle, "ratio": middle["loop"] / middle["bare"], "all": rates}


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
