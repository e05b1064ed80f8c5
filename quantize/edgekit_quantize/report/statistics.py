"""The report's numbers: accuracies with intervals, the paired drop, agreement, calibration.

Proportions are given in percent and their differences in percentage points; all intervals are at 95 %.
Both models see the same images, so their difference is judged **paired**: images on which both are right or both are
wrong tell nothing about it, and an unpaired interval would be several times too wide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from edgekit.errors import InputError

CONFIDENCE = 0.95

Logits = NDArray[np.float32]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval, in percent or percentage points."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedCounts:
    """How often each of two models is right on the same images.

    Attributes:
        both_right: Both are right.
        lost: The first is right, the second wrong.
        gained: The first is wrong, the second right.
        both_wrong: Neither is right.
    """

    both_right: int
    lost: int
    gained: int
    both_wrong: int

    @property
    def images(self) -> int:
        """Number of images."""
        return self.both_right + self.lost + self.gained + self.both_wrong


@dataclass(frozen=True)
class Bin:
    """One bar of a reliability diagram: the images whose confidence lies in (low, high], in percent.

    Attributes:
        images: Their number; never 0.
        confidence: Their mean confidence, in percent.
        accuracy: How many of them are right, in percent.
    """

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float


def paired_counts(first_right: Flags, second_right: Flags) -> PairedCounts:
    """Count the four outcomes of two (N,) arrays of "is right"."""
    return PairedCounts(
        both_right=int(np.sum(first_right & second_right)),
        lost=int(np.sum(first_right & ~second_right)),
        gained=int(np.sum(~first_right & second_right)),
        both_wrong=int(np.sum(~first_right & ~second_right)),
    )


def scaled(counts: PairedCounts, times: float) -> PairedCounts:
    """What so many times as many images would show if they went as these did."""
    cells = (counts.both_right, counts.lost, counts.gained, counts.both_wrong)
    return PairedCounts(*(round(times * cell) for cell in cells))


def wilson(hits: int, images: int) -> Estimate:
    """A proportion in percent with Wilson's score interval (Wilson 1927, without continuity correction).

    Raises:
        InputError: There is no image.
    """
    low, high = _wilson_limits(hits, images)
    return Estimate(100.0 * hits / images, 100.0 * low, 100.0 * high)


def paired_drop(counts: PairedCounts) -> Estimate:
    """Accuracy of the first model minus that of the second, in points; a positive value means the second is worse.

    The interval is Newcombe's for paired proportions: "Improved confidence intervals for the difference between
    binomial proportions based on paired data", Statistics in Medicine 17 (1998), pp. 2635–2650, method 10. It puts
    together the Wilson limits of both proportions with their correlation phi, which is corrected for continuity when
    positive.

    Raises:
        InputError: There is no image.
    """
    n, first, second = counts.images, counts.both_right + counts.lost, counts.both_right + counts.gained
    first_low, first_high = _wilson_limits(first, n)
    second_low, second_high = _wilson_limits(second, n)
    p_first, p_second, phi = first / n, second / n, _correlation(counts)
    below = _combine(p_first - first_low, second_high - p_second, phi)
    above = _combine(p_second - second_low, first_high - p_first, phi)
    drop = (counts.lost - counts.gained) / n
    return Estimate(100.0 * drop, 100.0 * (drop - below), 100.0 * (drop + above))


def mcnemar(counts: PairedCounts) -> float:
    """Two-sided p-value of McNemar's exact test: are lost and gained images equally likely? 1 if there are none."""
    changed = counts.lost + counts.gained
    return float(stats.binomtest(counts.lost, changed, 0.5).pvalue) if changed else 1.0


def adjust(p_values: Sequence[float]) -> list[float]:
    """p-values of many tests, adjusted after Benjamini and Hochberg (1995): below 0.05, 5 % are false alarms."""
    return [float(p) for p in stats.false_discovery_control(p_values, method="bh")] if p_values else []


def reliability(confidence: NDArray[np.float64], right: Flags, bins: int = 15) -> list[Bin]:
    """Reliability diagram with bins of equal width (Guo et al. 2017, arXiv:1706.04599); empty bins are left out.

    Args:
        confidence: (N,) softmax of the best class, in [0, 1].
        right: (N,) whether the best class is the true one.
        bins: Their number.
    """
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    rows = []
    for index in np.unique(place):
        inside = place == index
        rows.append(
            Bin(
                low=100.0 * index / bins,
                high=100.0 * (index + 1) / bins,
                images=int(inside.sum()),
                confidence=100.0 * float(confidence[inside].mean()),
                accuracy=100.0 * float(right[inside].mean()),
            )
        )
    return rows


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error in points: mean gap between confidence and accuracy, weighted by images."""
    return sum(b.images * abs(b.confidence - b.accuracy) for b in bins) / sum(b.images for b in bins)


def confusion(predicted: NDArray[np.integer[Any]], targets: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """(classes, classes) counts: row = true class, column = answer."""
    counts = np.bincount(targets * classes + predicted, minlength=classes * classes)
    return np.asarray(counts.reshape(classes, classes), np.int64)


def _wilson_limits(hits: int, images: int) -> tuple[float, float]:
    if images < 1:
        raise InputError("A proportion must come from at least one image, got none.")
    interval = stats.binomtest(hits, images).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def _correlation(counts: PairedCounts) -> float:
    """Newcombe's phi: 0 where a margin is empty."""
    right_right, lost, gained, wrong_wrong = counts.both_right, counts.lost, counts.gained, counts.both_wrong
    # Python's integers: the product of four margins overflows 64 bits from 100,000 images on.
    margins = (right_right + lost) * (gained + wrong_wrong) * (right_right + gained) * (lost + wrong_wrong)
    if margins == 0:
        return 0.0
    cross = float(right_right * wrong_wrong - lost * gained)
    if cross > 0:
        cross = max(cross - counts.images / 2, 0.0)
    return cross / math.sqrt(margins)


def _combine(first: float, second: float, phi: float) -> float:
    return math.sqrt(max(0.0, first**2 - 2.0 * phi * first * second + second**2))
