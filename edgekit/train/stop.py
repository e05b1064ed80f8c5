"""Ctrl-C and SIGTERM between two steps of training, never within one."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Takes the first such signal and remembers it; a second one acts at once. Use as a context manager.

    Outside of the main thread, where Python delivers no signals, it does nothing.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._received = 0

    def __enter__(self) -> Self:
        """From now on signals wait."""
        if threading.current_thread() is threading.main_thread():
            # signal() gives None for a handler that was not set from Python; the default stands in for it.
            self._before = {number: signal.signal(number, self._note) or signal.SIG_DFL for number in SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        """Signals are as they were before; one that waits acts now, unless something else went wrong."""
        self._restore()
        if self._received and exception[0] is None:
            self.obey()

    def is_wanted(self) -> bool:
        """Has a signal come?"""
        return self._received != 0

    def obey(self) -> None:
        """Let the signal that has come act as it would have without us; SIGTERM where another process has had it."""
        self._restore()
        number, self._received = self._received or signal.SIGTERM, 0
        signal.raise_signal(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._received:
            self.obey()
        self._received = number

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
