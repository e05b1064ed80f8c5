"""Minutes of work at full load: does the board keep its pace when it gets warm?"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit_deploy.classifier import Classifier
from edgekit_deploy.health import ROOT, Throttling, read_frequency, read_temperature, read_throttling
from edgekit_deploy.latency import Histogram, Summary
from edgekit_deploy.noise import noise_frame

# Points of a run's curve; each covers a second or more.
MOST_POINTS = 120
LEAST_INTERVAL = 1.0
MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Point:
    """One stretch of the run.

    Attributes:
        at: Its end, seconds since the start.
        p50: Median from frame to top five, milliseconds.
        temperature: At its end, degrees Celsius; None if the machine does not tell.
        frequency: Likewise, MHz.
        throttling: Likewise.
    """

    at: float
    p50: float
    temperature: float | None
    frequency: float | None
    throttling: Throttling | None


@dataclass(frozen=True, slots=True)
class Sustained:
    """A run without a pause.

    Attributes:
        threads: Interpreter threads.
        seconds: How long it took.
        span: Length of `first` and `last`, seconds: a minute, or half of a shorter run.
        first: Latencies from frame to top five in the first span, milliseconds.
        last: Likewise in the last span.
        points: The curve.
    """

    threads: int
    seconds: float
    span: float
    first: Summary
    last: Summary
    points: tuple[Point, ...]

    @property
    def slowdown(self) -> float:
        """Median of the last span by that of the first."""
        return self.last.p50 / self.first.p50

    @property
    def hottest(self) -> float | None:
        """Degrees Celsius; None if the machine does not tell."""
        return max((point.temperature for point in self.points if point.temperature is not None), default=None)

    @property
    def slowest_clock(self) -> float | None:
        """MHz; None if the machine does not tell."""
        return min((point.frequency for point in self.points if point.frequency is not None), default=None)

    @property
    def throttled(self) -> tuple[str, ...]:
        """What slowed the board down at the end of any stretch."""
        words = {word for point in self.points if point.throttling for word in point.throttling.now}
        return tuple(sorted(words))

    def to_plain(self) -> dict[str, Any]:
        """What json.dumps takes."""
        summed_up = {"slowdown": self.slowdown, "hottest": self.hottest, "slowest_clock": self.slowest_clock}
        return {**dataclasses.asdict(self), **summed_up, "throttled": self.throttled}


def run_sustained(
    classifier: Classifier,
    seconds: float,
    root: Path = ROOT,
    step: Callable[[Point], None] | None = None,
    least_interval: float = LEAST_INTERVAL,
) -> Sustained:
    """Classify one frame after the other for `seconds`.

    Args:
        classifier: Already warm, or the first stretch looks slow.
        seconds: Of the run.
        root: Where the board's state is read.
        step: Told of each point.
        least_interval: Shortest length of a stretch, seconds.
    """
    frame, interval = noise_frame(), max(least_interval, seconds / MOST_POINTS)
    span = min(MINUTE, seconds / 2)
    first, last, points = Histogram(), Histogram(), []
    start = before = time.perf_counter()
    while before - start < seconds:
        stretch, end = Histogram(), min(before + interval, start + seconds)
        while before < end:
            classifier.classify(frame)
            after = time.perf_counter()
            stretch.add(after - before)
            if before - start < span:
                first.add(after - before)
            if after - start > seconds - span:
                last.add(after - before)
            before = after
        points.append(_point(before - start, stretch, root))
        if step:
            step(points[-1])
        before = time.perf_counter()
    return Sustained(classifier.threads, before - start, span, first.summary(), last.summary(), tuple(points))


def _point(at: float, stretch: Histogram, root: Path) -> Point:
    p50 = 1e3 * stretch.percentile(50)
    return Point(at, p50, read_temperature(root), read_frequency(root)[0], read_throttling(root))
