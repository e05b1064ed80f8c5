"""Time of day for records: never backwards, whatever happens to the system's clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

# 9999-12-30: the last day whose text has the same length.
MOST_SECONDS = 253402128000.0


class WallClock:
    """Turns monotonic seconds into seconds since 1970.

    The difference of the two clocks is looked up again at each use. A system clock that is set forward is followed at
    once: a Raspberry Pi has no clock of its own and starts with a time long past, until the network tells it better.
    A clock that is set back is not followed until it has caught up: times go on at their own pace, so that they rise
    as the frames do.

    Args:
        wall: Seconds since 1970; may jump.
        monotonic: Seconds that rise.
    """

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._offset = -float("inf")
        self._last = -float("inf")

    def at(self, timestamp: float) -> float:
        """Seconds since 1970 at the monotonic `timestamp`; never less than what was answered before."""
        # Wall clock first: a pause between the two makes the difference smaller, and is passed over.
        wall = self._wall()
        self._offset = max(self._offset, wall - self._monotonic())
        self._last = max(self._last, timestamp + self._offset)
        return self._last


def iso(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC, such as 2026-11-25T08:30:00.125Z."""
    moment = datetime.fromtimestamp(min(MOST_SECONDS, max(0.0, seconds)), UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
