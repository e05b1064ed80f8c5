"""Ctrl-C, SIGTERM and SIGHUP (a terminal that goes) between two steps of training, never within one."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

from edgekit import terminal

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Takes the first such signal and remembers it; a second one acts at once. Use as a context manager.

    A SIGHUP that is ignored, as nohup has it, stays so.

    Outside of the main thread, where Python delivers no signals, it does nothing.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._received = 0
        self._terminals: list[int] = []

    def __enter__(self) -> Self:
        """From now on signals wait."""
        if threading.current_thread() is threading.main_thread():
            # getsignal is None for a handler that was not set from Python; the default stands in for it.
            self._before = {int(number): signal.getsignal(number) or signal.SIG_DFL for number in SIGNALS}
            if self._before[signal.SIGHUP] == signal.SIG_IGN:
                del self._before[signal.SIGHUP]
            self._terminals = terminal.streams()
            for number in self._before:
                signal.signal(number, self._note)
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
        if number == signal.SIGHUP:
            terminal.forget(self._terminals)
        if self._received:
            self.obey()
        self._received = number

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
