"""SIGINT, SIGTERM, and SIGHUP (a terminal that goes) as a polite request to stop."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

from edgekit import terminal

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """While entered, the first of these signals only sets `received`; a second one acts as it would have before.

    A signal that is ignored, as nohup has it, stays so.

    Does nothing outside the main thread, where Python cannot handle signals.

    Attributes:
        received: "SIGINT", "SIGTERM", "SIGHUP", what `ask` was given, or "".
    """

    def __init__(self) -> None:
        self.received = ""
        self._before: dict[int, Any] = {}
        self._terminals: list[int] = []

    def __enter__(self) -> Self:
        """Take the signals over."""
        if threading.current_thread() is threading.main_thread():
            # getsignal is None for a handler that was not set from Python; the default stands in for it.
            found = {number: signal.getsignal(number) or signal.SIG_DFL for number in NUMBERS}
            self._before = {number: handler for number, handler in found.items() if handler != signal.SIG_IGN}
            self._terminals = terminal.streams()
            for number in self._before:
                signal.signal(number, self._receive)
        return self

    def __exit__(self, *exception: object) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def ask(self, reason: str) -> None:
        """Stop for another reason than a signal."""
        self.received = self.received or reason

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self.received = signal.Signals(number).name
        if number == signal.SIGHUP:
            terminal.forget(self._terminals)
        for each, handler in self._before.items():
            signal.signal(each, handler)
