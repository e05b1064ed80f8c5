"""The gate: is the drop small enough, for certain?"""

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


@dataclass(frozen=True)
class Gate:
    """The judgement.

    Attributes:
        max_drop: The limit, in percentage points.
        outcome: Only PASSED lets a pipeline go on.
        images_needed: When undecided: roughly how many images would decide if the drop stays as measured. None if
            it lies exactly on the limit, or when decided.
    """

    max_drop: float
    outcome: Outcome
    images_needed: int | None = None


def check_limit(max_drop: float) -> None:
    """Refuse a limit that no drop can be held against.

    Raises:
        InputError: Not between -100 and 100 points.
    """
    if not -100.0 <= max_drop <= 100.0:
        raise InputError(f"--max-drop must be between −100 and 100 points, got {max_drop:g}.")


def judge(drop: Estimate, max_drop: float, images: int) -> Gate:
    """Hold the interval of the drop (points) against the limit; it passes when the **upper bound** is within."""
    if drop.high <= max_drop:
        return Gate(max_drop, Outcome.PASSED)
    if drop.low > max_drop:
        return Gate(max_drop, Outcome.FAILED)
    return Gate(max_drop, Outcome.UNDECIDED, _images_needed(drop, max_drop, images))


def _images_needed(drop: Estimate, max_drop: float, images: int) -> int | None:
    """An interval narrows with the square root of the number of images; two digits are all that this can promise."""
    room = max_drop - drop.value
    if room == 0.0:
        return None
    half = drop.high - drop.value if room > 0 else drop.value - drop.low
    exact = images * (half / room) ** 2
    step = int(10 ** max(0, math.floor(math.log10(exact)) - 1))
    return math.ceil(exact / step) * step
