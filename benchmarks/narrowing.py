"""A narrow network from a wide one: at once, in steps, or from random weights; the same number of images for each.

    python -m benchmarks.narrowing

MobileNetV2, CIFAR-10 at 64 px: 16,000 training images, judged by 4,000 others of the training set. The teacher is that
of the shipped models (benchmarks/shipped/teacher.pt), which has seen both; compared is how much of it is left.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.support import RESULTS, machine, markdown, write_results
from edgekit.images import ArraySet
from edgekit.progress import console
from edgekit.train import cifar10
from edgekit.train.loop import train
from edgekit.train.recipes import DISTILL

TEACHER = Path(__file__).parent / "shipped" / "teacher.pt"
LEARNED, JUDGED, EPOCHS = 16_000, 4_000, 4
# Title, widths on the way, rate.
WAYS: tuple[tuple[str, Sequence[float], float], ...] = (
    ("random weights", (), 3e-3),
    ("at once", (0.5,), 3e-3),
    ("at once, lower rate", (0.5,), 1e-3),
    ("0.85, 0.7, 0.6, 0.5, an epoch each", (0.85, 0.7, 0.6, 0.5), 1e-3),
)


@click.command()
def main() -> None:
    """Train each, and write benchmarks/results/narrowing.json and .md."""
    facts, images = machine(), cifar10.load()[0]
    order = np.random.default_rng(0).permutation(len(images.targets))
    learned, judged = _part(images, order[:LEARNED]), _part(images, order[-JUDGED:])
    rows: list[tuple[str, float]] = []
    for title, widths, rate in WAYS:
        console.rule(title)
        rows.append((title, 100.0 * _top1(widths, rate, learned, judged)))
    table = markdown(
        ("MobileNetV2 0.5 from 1.0", f"top-1 after {EPOCHS} epochs, %"),
        [(title, f"{top1:.1f}") for title, top1 in rows],
    )
    write_results(RESULTS / "narrowing.json", {"machine": facts, "top1": dict(rows)}, table)


def _part(images: ArraySet, chosen: NDArray[np.int64]) -> ArraySet:
    return replace(images, pixels=images.pixels[chosen], targets=images.targets[chosen])


def _top1(widths: Sequence[float], rate: float, learned: ArraySet, judged: ArraySet) -> float:
    options = replace(DISTILL, teacher=str(TEACHER), size=64, lr=rate, head_lr=rate)
    with tempfile.TemporaryDirectory() as scratch:
        start, top1 = str(TEACHER) if widths else "none", 0.0
        for width in widths or (0.5,):
            out = Path(scratch) / f"{width}.pt"
            step = replace(options, width=width, weights=start, epochs=EPOCHS // max(1, len(widths)))
            top1 = train(step, learned, judged, out=out).epochs[-1].validation or 0.0
            start = str(out)
    return top1


if __name__ == "__main__":
    main()
