"""Decisions as outputs get them, without a model; and waiting for what other threads do."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from edgekit_deploy.classifier import Guess, Result, Timings
from edgekit_deploy.smoothing import Verdict
from edgekit_deploy.sources.frames import Frame

PICTURE = np.zeros((2, 2, 3), np.uint8)
# Long enough for a loaded machine; a wait ends as soon as it can.
WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Decision:
    frame: Frame
    result: Result
    verdict: Verdict


def decision(
    label: str | None, probability: float = 0.75, index: int = 0, timestamp: float | None = None, name: str = ""
) -> Decision:
    """A verdict for frame `index`, captured now or at the monotonic `timestamp`; the guesses are always cat and dog."""
    captured = time.monotonic() if timestamp is None else timestamp
    top = (Guess(0, "cat", 0.6, 100), Guess(1, "dog", 0.3, 80))
    verdict = Verdict(None if label is None else 0, label, probability)
    frame = Frame(PICTURE, captured, index, index / 10, name)
    return Decision(frame, Result(top, Timings(0.0, 0.0, 0.0)), verdict)


def wait_for(condition, what: str = ""):
    """What `condition` gives as soon as it is true.

    Raises:
        AssertionError: It does not become true.
    """
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"waited in vain for {what or condition}")
