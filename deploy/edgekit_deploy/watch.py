"""What a running loop looks at once a second beside its frames: the board, the system's clock, unreadable pictures."""

from __future__ import annotations

import time
from collections.abc import Callable

from edgekit_deploy.health import Health, read_health

PERIOD_SECONDS = 1.0
# Less than this is the network's time service at work.
LEAST_JUMP_SECONDS = 1.0
# More unreadable pictures are told no sooner than this after the last line about them.
QUIET_SECONDS = 60.0


class Watch:
    """Tells what slows the board down, each kind once, that the system's clock was set back, and unreadable pictures.

    Args:
        unreadable: How many pictures could not be read so far.
        read: Looks at the board.
        wall: Seconds since 1970; may jump.
        monotonic: Seconds that rise.

    Attributes:
        health: The board's state, at most PERIOD_SECONDS old.
        throttled: What has slowed it down so far.
    """

    def __init__(
        self,
        unreadable: Callable[[], int],
        read: Callable[[], Health] = read_health,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.health = Health()
        self.throttled: set[str] = set()
        self._unreadable, self._read, self._wall, self._monotonic = unreadable, read, wall, monotonic
        self._next = self._next_about_pictures = -float("inf")
        self._told_unreadable = 0
        self._offset: float | None = None

    def look(self) -> list[str]:
        """If it is time: what is new, in lines."""
        now = self._monotonic()
        if now < self._next:
            return []
        self._next = now + PERIOD_SECONDS
        return [*self._look_at_board(), *self._look_at_clock(now), *self._look_at_pictures(now)]

    def _look_at_board(self) -> list[str]:
        self.health = self._read()
        new = set(self.health.throttling.now if self.health.throttling else ()) - self.throttled
        self.throttled |= new
        return [f"The board slows down: {', '.join(sorted(new))}. Check power supply and cooling."] if new else []

    def _look_at_clock(self, now: float) -> list[str]:
        before, self._offset = self._offset, self._wall() - now
        if before is None or before - self._offset < LEAST_JUMP_SECONDS:
            return []
        # See `outputs.wall_clock`.
        return [
            f"The system's clock was set back by {before - self._offset:.0f} s; times in the outputs go on rising from "
            "where they were."
        ]

    def _look_at_pictures(self, now: float) -> list[str]:
        count = self._unreadable()
        if count == self._told_unreadable or now < self._next_about_pictures:
            return []
        self._told_unreadable, self._next_about_pictures = count, now + QUIET_SECONDS
        return [f"{count} {'picture' if count == 1 else 'pictures'} could not be read so far, and the loop goes on."]
