"""From the probabilities of each frame to an answer that does not flicker: smoothing, hysteresis, thresholds.

Smoothing is an exponentially weighted average in time: with p the probabilities of a frame, dt the seconds since the
frame before and T the time constant,

    s = s + (1 - exp(-dt / T)) · (p - s),        s = p at the first frame.

It is the exact answer of a first-order low-pass filter to probabilities that stay as they are between frames, so the
frame rate does not matter: after T seconds of a new picture, 63 % of the average is the new picture's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import InputError

MOST_SECONDS = 3600.0
MOST_LABELS_TOLD = 12


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer after smoothing, hysteresis and thresholds.

    Attributes:
        index: Class index; None: nothing is sure.
        label: Its name; None likewise.
        probability: Smoothed, 0 to 1, of that class; where nothing is sure, of the leading one.
    """

    index: int | None
    label: str | None
    probability: float


@dataclass(frozen=True, slots=True)
class Rules:
    """How a verdict is reached; every rule is off at 0, and with all of them off the verdict is the best guess.

    Attributes:
        smoothing: Time constant T of the average in seconds.
        margin: How far (probability, 0 to 1) another class must lead the current answer to replace it. The current
            answer also stays until it is `margin` below its threshold, so it does not flicker there either.
        hold: Seconds for which a change must be called for, without a break, until it is made; the first answer too.
        threshold: Probability (0 to 1) that the leading class needs, or nothing is sure.

    Raises:
        InputError: A value is out of its range.
    """

    smoothing: float = 0.0
    margin: float = 0.0
    hold: float = 0.0
    threshold: float = 0.0

    def __post_init__(self) -> None:
        for name, most in (("smoothing", MOST_SECONDS), ("margin", 1.0), ("hold", MOST_SECONDS), ("threshold", 1.0)):
            _check_range(name, getattr(self, name), most)


class Decider:
    """Turns the probabilities of one frame after another into verdicts. Not thread-safe, but for `set_threshold`.

    Per frame:
    1. The average s is brought up to date (see the module).
    2. Leading is the class with the greatest s (the first of equals); the current answer counts as leading until
       another class leads it by `margin`.
    3. A leading class below its threshold means "nothing sure": a second guess is never promoted instead. For the
       current answer the threshold is lower by `margin`.
    4. What this calls for becomes the answer once it was called for during `hold` seconds.

    Args:
        labels: Of all classes, by index.
        rules: How to decide.
        thresholds: By label; they replace `rules.threshold` for these.

    Attributes:
        threshold: Of the labels that have none of their own.

    Raises:
        InputError: A threshold for a label that is not in `labels`, or not 0 to 1.
    """

    def __init__(self, labels: Sequence[str], rules: Rules, thresholds: Mapping[str, float] | None = None) -> None:
        self._labels = tuple(labels)
        self._rules = rules
        self._own = _by_index(thresholds or {}, self._labels, "The thresholds")
        self.set_threshold(rules.threshold)
        self._average: NDArray[np.float32] = np.zeros(len(self._labels), np.float32)
        self._scratch = np.empty_like(self._average)
        self._time: float | None = None
        self._answer: int | None = None
        self._wish: int | None = None
        self._wished_since = 0.0

    def set_threshold(self, threshold: float) -> None:
        """Use another threshold (0 to 1) from the next frame on; labels with one of their own keep it. Any thread.

        Raises:
            InputError: It is out of range.
        """
        _check_range("threshold", threshold, 1.0)
        self.threshold = threshold
        # Rounded as the average is: a probability of exactly 0.7 in float32 reaches a threshold of 0.7.
        self._thresholds = [float(np.float32(self._own.get(i, threshold))) for i in range(len(self._labels))]

    def update(self, probabilities: NDArray[np.float32], time: float) -> Verdict:
        """Take the probabilities of the next frame.

        Args:
            probabilities: (classes,) float32, each 0 to 1; read, not kept.
            time: Seconds of a clock that rises. A frame with the time of the one before adds nothing to a smoothed
                average; a time before it starts a new average.

        Raises:
            InputError: Another shape.
        """
        if probabilities.shape != self._average.shape:
            raise InputError(
                f"The probabilities must be of shape {self._average.shape}, got {probabilities.shape}.",
                "Use a decider with the labels of this model.",
            )
        average = self._smooth(probabilities, time)
        wish, leading = self._called_for(average)
        if wish == self._answer:
            self._wish = wish
        elif wish != self._wish:
            self._wish, self._wished_since = wish, time
        if wish != self._answer and time - self._wished_since >= self._rules.hold:
            self._answer = wish
        answer = self._answer
        if answer is None:
            return Verdict(None, None, float(average[leading]))
        return Verdict(answer, self._labels[answer], float(average[answer]))

    def _smooth(self, probabilities: NDArray[np.float32], time: float) -> NDArray[np.float32]:
        """The average up to this frame; the frame itself where smoothing is off. In place."""
        last, self._time = self._time, time
        if last is not None and time < last:
            last = None
            self._wished_since = min(self._wished_since, time)
        if not self._rules.smoothing:
            return probabilities
        if last is None:
            np.copyto(self._average, probabilities)
            return self._average
        weight = -math.expm1((last - time) / self._rules.smoothing)
        np.subtract(probabilities, self._average, out=self._scratch)
        np.multiply(self._scratch, weight, out=self._scratch)
        np.add(self._average, self._scratch, out=self._average)
        return self._average

    def _called_for(self, average: NDArray[np.float32]) -> tuple[int | None, int]:
        """The class that should be the answer (None: nothing is sure), and the leading one."""
        current, margin = self._answer, self._rules.margin
        best = leading = int(average.argmax())
        if current is not None and best != current and float(average[best]) - float(average[current]) < margin:
            leading = current
        needed = self._thresholds[leading] - (margin if leading == current else 0.0)
        return (leading if float(average[leading]) >= needed else None), best


def read_thresholds(path: str | Path, labels: Sequence[str]) -> dict[str, float]:
    """Read thresholds by label from a TOML file: a table `[thresholds]` with lines like `"cat" = 0.8`.

    Raises:
        InputError: Not such a file, a label that the model does not have, or a value that is not 0 to 1.
    """
    import tomllib

    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} must be a readable TOML file, got: {error}.") from error
    table = content.get("thresholds")
    if set(content) != {"thresholds"} or not isinstance(table, dict):
        raise InputError(
            f"{path} must hold one table, [thresholds], got {', '.join(content) or 'nothing'}.",
            'Write [thresholds] and below it lines like "cat" = 0.8.',
        )
    _by_index(table, labels, f"{path}")
    return {label: float(value) for label, value in table.items()}


def _by_index(thresholds: Mapping[str, float], labels: Sequence[str], where: str) -> dict[int, float]:
    index_of = {label: index for index, label in enumerate(labels)}
    if unknown := [label for label in thresholds if label not in index_of]:
        known = ", ".join(list(index_of)[:MOST_LABELS_TOLD]) + (", ..." if len(index_of) > MOST_LABELS_TOLD else "")
        raise InputError(f"{where} must name labels of the model ({known}), got {unknown[0]!r}.")
    for label, value in thresholds.items():
        _check_range(f"threshold of {label!r}", value, 1.0)
    return {index_of[label]: float(value) for label, value in thresholds.items()}


def _check_range(name: str, value: object, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= most:
        raise InputError(f"The {name} must be 0 to {most:g}, got {value!r}.")


# Where someone looks on. A third of a second is hardly noticed, and a flickering answer is.
LIVE = Rules(smoothing=0.3, margin=0.1, threshold=0.3)
