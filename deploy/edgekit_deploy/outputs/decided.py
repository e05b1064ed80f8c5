"""What outputs are told of each frame, and when that is news."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edgekit_deploy.classifier import Result
from edgekit_deploy.smoothing import Verdict
from edgekit_deploy.sources.frames import Frame


class Decided(Protocol):
    """What an output needs of a decision.

    Attributes:
        frame: The frame.
        result: The guesses for this frame alone.
        verdict: The answer, after smoothing, hysteresis and thresholds.
    """

    @property
    def frame(self) -> Frame:
        """The frame."""
        ...

    @property
    def result(self) -> Result:
        """The guesses for this frame alone."""
        ...

    @property
    def verdict(self) -> Verdict:
        """The answer."""
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """A new answer.

    Attributes:
        label: The answer; None: nothing is sure.
        probability: Its probability, 0 to 1; where nothing is sure, the leading class's.
        previous: The answer before it; None: nothing was sure, or there was none.
    """

    label: str | None
    probability: float
    previous: str | None


class Changes:
    """Picks the changes out of one verdict after another. Before the first verdict, nothing is sure."""

    def __init__(self) -> None:
        self._label: str | None = None

    def of(self, verdict: Verdict) -> Change | None:
        """The change that `verdict` makes, or None if the answer stays."""
        if verdict.label == self._label:
            return None
        previous, self._label = self._label, verdict.label
        return Change(verdict.label, verdict.probability, previous)
