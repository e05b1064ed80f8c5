"""Slow outputs off the hot path: a worker thread behind a bounded queue. And complaints that do not repeat."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from edgekit.errors import InputError

# Of the 5 s that users are promised; outputs end together, after a camera that may hang for 1.9 s.
CLOSE_SECONDS = 2.0
QUIET_SECONDS = 60.0
Item = TypeVar("Item")


class Background(Generic[Item]):
    """A daemon thread that handles what is put; the newest items win when it cannot keep up.

    Args:
        name: For messages, such as "--on-change"; also the thread's name.
        handle: Called in the thread with everything that is queued, oldest first, at least one item. What it raises is
            told once; the thread goes on with what comes next.
        capacity: Items that wait at most, at least 1.
        warn: Called with one line, from any thread.
        gather: Seconds to let items gather before they are handled together: fewer wake-ups, fewer writes. A queue that
            is half full, or closing, cuts this short.

    Attributes:
        dropped: Items that were never handled because newer ones came, or because closing took too long.

    Raises:
        InputError: `capacity` is below 1.
    """

    def __init__(
        self,
        name: str,
        handle: Callable[[list[Item]], None],
        *,
        capacity: int,
        warn: Callable[[str], None],
        gather: float = 0.0,
    ) -> None:
        if capacity < 1:
            raise InputError(f"The capacity of {name}'s queue must be at least 1, got {capacity}.")
        self.dropped = 0
        self._name, self._handle, self._warn = name, handle, warn
        self._capacity, self._gather = capacity, gather
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._is_closing = self._is_told = False
        self._is_finished = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"edgekit {name}", daemon=True)
        self._thread.start()

    def put(self, item: Item, wait: float = 0.0) -> None:
        """Hand over `item`; after `close` it is ignored.

        Args:
            item: Belongs to the worker from now on.
            wait: Seconds to wait for a place before the oldest item is dropped for it.
        """
        with self._changed:
            if wait > 0.0 and len(self._items) >= self._capacity:
                self._changed.wait_for(lambda: len(self._items) < self._capacity or self._is_closing, wait)
            if self._is_closing:
                return
            if len(self._items) >= self._capacity:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            # Without this the worker would be woken for every frame, only to go on gathering.
            if not self._gather or len(self._items) == 1 or self._is_half_full():
                self._changed.notify_all()

    def close(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Handle what is queued, and end the thread. May be called again, to wait longer.

        Args:
            timeout: Seconds to wait at most. A thread that hangs is left behind (it does not keep the process alive),
                and what it has not begun is dropped.

        Returns:
            Whether everything was handled and the thread has ended.
        """
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        # An Event, because a Thread.join that was interrupted returns at once the next time (CPython 3.11 and 3.12).
        if self._is_finished.wait(timeout):
            return True
        with self._changed:
            self.dropped += len(self._items)
            self._items.clear()
        return False

    def _run(self) -> None:
        try:
            while batch := self._next():
                try:
                    self._handle(batch)
                except Exception as error:  # an output must not end the others, or the loop
                    self._tell_once(f"{self._name} failed: {type(error).__name__}: {error}")
        finally:
            self._is_finished.set()

    def _next(self) -> list[Item]:
        """Everything queued, after some gathering; empty when all is done and the worker closes."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._items) or self._is_closing)
            if self._gather:
                self._changed.wait_for(lambda: self._is_closing or self._is_half_full(), self._gather)
            batch = list(self._items)
            self._items.clear()
            self._changed.notify_all()
            return batch

    def _is_half_full(self) -> bool:
        return 2 * len(self._items) >= self._capacity

    def _tell_once(self, line: str) -> None:
        if not self._is_told:
            self._is_told = True
            self._warn(line)


class Trouble:
    """Tells of an outage once, and of its end once; outages in quick succession are told once a minute at most.

    Thread-safe.

    Args:
        warn: Called with one line.
        quiet: Seconds after a line about an outage during which no other outage is told.
        clock: Seconds, rising.
    """

    def __init__(
        self, warn: Callable[[str], None], quiet: float = QUIET_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._warn, self._quiet, self._clock = warn, quiet, clock
        self._lock = threading.Lock()
        self._is_on = self._is_told = False
        self._last = -float("inf")

    def begins(self, line: str) -> None:
        """Something does not work, or still does not."""
        with self._lock:
            if self._is_on:
                return
            self._is_on = True
            self._is_told = self._clock() - self._last >= self._quiet
            if not self._is_told:
                return
            self._last = self._clock()
        self._warn(line)

    def ends(self, line: str) -> None:
        """It works, or works again; `line` is told if the outage was."""
        with self._lock:
            is_news = self._is_on and self._is_told
            self._is_on = self._is_told = False
        if is_news:
            self._warn(line)
