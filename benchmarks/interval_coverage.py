"""How often the report's 95 % interval of the drop holds the true drop, by simulation.

Each experiment draws N images on which two networks are right or wrong, as a multinomial with known cells, and asks
whether Newcombe's paired interval holds the true difference. `python -m benchmarks.interval_coverage` prints a table.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from edgekit_quantize.report.statistics import PairedCounts, paired_drop

IMAGES = (500, 1_000, 2_000, 5_000, 10_000)
# Share of images on which both give the same answer.
AGREEMENTS = (0.90, 0.95, 0.97, 0.99, 0.995)


@dataclass(frozen=True)
class Truth:
    """What is true of a simulated pair of networks.

    Attributes:
        images: Their number in an experiment.
        top1: Accuracy of the first, in (0, 1).
        drop: How much the second is worse, in (0, 1).
        agreement: Share of images with the same answer, in (0, 1).
    """

    images: int
    top1: float
    drop: float
    agreement: float

    def cells(self) -> tuple[float, float, float, float]:
        """Chances of: both right, lost, gained, both wrong.

        Assumed: of five images with different answers one is wrong by both, which changes nothing about the accuracy.
        """
        changed = max(0.8 * (1.0 - self.agreement), self.drop)
        lost, gained = (changed + self.drop) / 2.0, (changed - self.drop) / 2.0
        return self.top1 - lost, lost, gained, 1.0 - self.top1 - gained


def draw_truths(count: int, seed: int) -> list[Truth]:
    """Pairs as one meets them: 500 to 10,000 images, drop 0 to 1 point, agreement 90 to 99 %, top-1 60 to 95 %."""
    random = np.random.default_rng(seed)
    return [
        Truth(
            images=int(random.choice(IMAGES)),
            top1=float(random.uniform(0.60, 0.95)),
            drop=float(random.uniform(0.0, 0.01)),
            agreement=float(random.uniform(0.90, 0.99)),
        )
        for _ in range(count)
    ]


def is_covered(truth: Truth, random: np.random.Generator) -> bool:
    """One experiment: whether the interval holds the true drop."""
    counts = PairedCounts(*(int(n) for n in random.multinomial(truth.images, truth.cells())))
    interval = paired_drop(counts)
    return interval.low <= 100.0 * truth.drop <= interval.high


def coverage(truths: list[Truth], seed: int) -> float:
    """Share of experiments, one for each of `truths`, whose interval holds the truth."""
    random = np.random.default_rng(seed)
    return float(np.mean([is_covered(truth, random) for truth in truths]))


def main() -> None:
    """Print the coverage overall, and where it comes from."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--experiments", type=int, default=2_000, help="for each figure")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    count, seed = options.experiments, options.seed
    print(f"Coverage of the 95 % interval of the paired drop, {count:,} experiments for each figure, seed {seed}")
    print(f"drawn at random: {100 * coverage(draw_truths(count, seed), seed + 1):.2f} %\n")
    print("drop 0.5 points, top-1 75 %:")
    print("  images " + "".join(f"  agree {100 * a:4.1f} %" for a in AGREEMENTS))
    for images in IMAGES:
        rates = [coverage([Truth(images, 0.75, 0.005, a)] * count, seed) for a in AGREEMENTS]
        print(f"  {images:6,} " + "".join(f"{100 * rate:14.2f}" for rate in rates))


if __name__ == "__main__":
    main()
