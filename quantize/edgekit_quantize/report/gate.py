"""The gates: is the drop small enough, is the agreement large enough, for certain?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from edgekit.errors import InputError
from edgekit_quantize.report.statistics import Estimate


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


def judge_drop(drop: Estimate, max_drop: float, images: int) -> Gate:
    """Hold the interval of the drop (points) against the limit; it passes when the **upper bound** is within."""
    outcome = _outcome(drop.high <= max_drop, drop.low > max_drop)
    return Gate(Measure.DROP, float(max_drop), outcome, _images_needed(drop, max_drop, images, outcome))


def judge_agreement(agreement: Estimate, min_agreement: float, images: int) -> Gate:
    """Hold the interval of the agreement (percent) against the limit; its **lower bound** must reach it."""
    outcome = _outcome(agreement.low >= min_agreement, agreement.high < min_agreement)
    return Gate(
        Measure.AGREEMENT, float(min_agreement), outcome, _images_needed(agreement, min_agreement, images, outcome)
    )


def round_up(count: float) -> int:
    """Two digits are all that a guess of a number of images can promise."""
    step = int(10 ** max(0, math.floor(math.log10(count)) - 1))
    return math.ceil(count / step) * step


def _outcome(is_within: bool, is_beyond: bool) -> Outcome:
    return Outcome.PASSED if is_within else Outcome.FAILED if is_beyond else Outcome.UNDECIDED


def _images_needed(estimate: Estimate, limit: float, images: int, outcome: Outcome) -> int | None:
    """An interval narrows with the square root of the number of images."""
    room = limit - estimate.value
    if outcome is not Outcome.UNDECIDED or room == 0.0:
        return None
    half = estimate.high - estimate.value if room > 0 else estimate.value - estimate.low
    return round_up(images * (half / room) ** 2)
