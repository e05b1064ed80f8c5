"""The gates: is the drop small enough, is the agreement large enough, for certain?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from edgekit.errors import InputError
from edgekit_quantize.report.statistics import PairedCounts, paired_drop, scaled, wilson

_MOST_IMAGES = 10_000_000


class Outcome(StrEnum):
    """PASSED: the whole interval is within the limit. FAILED: the whole interval is beyond. UNDECIDED: it straddles."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"


class Measure(StrEnum):
    """What a gate is on: the drop of top-1 (at most) or the agreement with the reference (at least)."""

    DROP = "drop"
    AGREEMENT = "agreement"


@dataclass(frozen=True)
class Gate:
    """The judgement.

    Attributes:
        measure: What is judged.
        limit: In percentage points (drop) or percent (agreement).
        outcome: Only PASSED lets a pipeline go on.
        images_needed: When undecided: roughly how many images would decide if the figure stays as measured. None if
            it lies exactly on the limit, or when decided.
    """

    measure: Measure
    limit: float
    outcome: Outcome
    images_needed: int | None = None


def check_limit(max_drop: float) -> None:
    """Refuse a limit that no drop can be held against.

    Raises:
        InputError: Not between -100 and 100 points.
    """
    if not -100.0 <= max_drop <= 100.0:
        raise InputError(f"--max-drop must be between −100 and 100 points, got {max_drop:g}.")


def check_agreement(min_agreement: float) -> None:
    """Refuse a limit that no agreement can be held against.

    Raises:
        InputError: Not between 0 and 100 percent.
    """
    if not 0.0 <= min_agreement <= 100.0:
        raise InputError(f"--min-agreement must be between 0 and 100 percent, got {min_agreement:g}.")


def judge_drop(counts: PairedCounts, max_drop: float) -> Gate:
    """Hold the interval of the drop (points) against the limit; it passes when the **upper bound** is within."""

    def outcome(times: float) -> Outcome:
        drop = paired_drop(scaled(counts, times))
        return _outcome(drop.high <= max_drop, drop.low > max_drop)

    return _gate(Measure.DROP, max_drop, outcome, counts.images)


def judge_agreement(same: int, images: int, min_agreement: float) -> Gate:
    """Hold the interval of the agreement (percent) against the limit; its **lower bound** must reach it.

    Args:
        same: Images with the reference's answer.
        images: All.
        min_agreement: The limit, in percent.
    """

    def outcome(times: float) -> Outcome:
        agreement = wilson(round(same * times), round(images * times))
        return _outcome(agreement.low >= min_agreement, agreement.high < min_agreement)

    return _gate(Measure.AGREEMENT, min_agreement, outcome, images)


def least_images(images: int, is_enough: Callable[[float], bool]) -> int | None:
    """About how many images would be enough if they went as these did; None if not ten million would.

    How fast an interval narrows depends on how many answers change: with few, nearly as the number of images grows;
    with many, as its square root.

    Args:
        images: How many there are.
        is_enough: Whether so many times as many would be.
    """
    low, high = 1.0, 2.0
    while not is_enough(high):
        low, high = high, 2.0 * high
        if images * high > _MOST_IMAGES:
            return None
    while high / low > 1.01:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return round_up(images * high)


def round_up(count: float) -> int:
    """Two digits are all that a guess of a number of images can promise."""
    step = int(10 ** max(0, math.floor(math.log10(count)) - 1))
    return math.ceil(count / step) * step


def _outcome(is_within: bool, is_beyond: bool) -> Outcome:
    return Outcome.PASSED if is_within else Outcome.FAILED if is_beyond else Outcome.UNDECIDED


def _gate(measure: Measure, limit: float, outcome: Callable[[float], Outcome], images: int) -> Gate:
    """`outcome` of so many times as many images."""
    now = outcome(1.0)
    if now is not Outcome.UNDECIDED:
        return Gate(measure, float(limit), now)
    return Gate(measure, float(limit), now, least_images(images, lambda times: outcome(times) is not Outcome.UNDECIDED))
