"""Latency distributions in bounded memory, for loops that run for months."""

from __future__ import annotations

import math
from dataclasses import dataclass

LOWEST = 1e-6
RELATIVE_STEP = 0.01
_LOG_STEP = math.log1p(RELATIVE_STEP)
_BUCKETS = math.ceil(math.log(1000.0 / LOWEST) / _LOG_STEP) + 1


@dataclass(frozen=True)
class Summary:
    """A distribution in milliseconds; zeros if nothing was measured."""

    count: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float


class Histogram:
    """Durations from 1 µs to 1000 s in buckets that grow by 1 %: percentiles are exact to 1 % (or to 1 µs below that).

    Count, mean and maximum are exact. Memory never grows.
    """

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self._count = 0
        self._sum = 0.0
        self._max = 0.0

    def add(self, seconds: float) -> None:
        """Record one duration; a negative one (a clock's error) counts as zero."""
        seconds = max(0.0, seconds)
        bucket = 0 if seconds <= LOWEST else min(_BUCKETS - 1, int(math.log(seconds / LOWEST) / _LOG_STEP))
        self._counts[bucket] += 1
        self._count += 1
        self._sum += seconds
        self._max = max(self._max, seconds)

    def percentile(self, percent: float) -> float:
        """Seconds that `percent` % of the durations do not exceed (nearest rank); 0 if there are none."""
        rank = max(1, math.ceil(self._count * percent / 100.0))
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if seen >= rank:
                # The middle of the bucket on the logarithmic scale, but never more than was seen.
                return float(min(self._max, LOWEST * math.exp((bucket + 0.5) * _LOG_STEP)))
        return 0.0

    def summary(self) -> Summary:
        """The usual figures, in milliseconds."""
        mean = self._sum / self._count if self._count else 0.0
        p50, p90, p95, p99 = (1e3 * self.percentile(percent) for percent in (50, 90, 95, 99))
        return Summary(self._count, 1e3 * mean, p50, p90, p95, p99, 1e3 * self._max)
