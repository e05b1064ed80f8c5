"""Telling systemd that the loop runs, so that one that hangs is restarted (sd_notify(3), `WatchdogSec=`)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any


class Service:
    """Speaks to the service manager that started this process; says nothing if none did.

    Args:
        environment: Where NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID are.
        clock: Seconds, rising.
    """

    def __init__(
        self, environment: Mapping[str, str] = os.environ, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._socket = _connected(environment.get("NOTIFY_SOCKET", ""))
        # Twice in the time that is allowed, as sd_watchdog_enabled(3) asks for.
        self._period = 0.5e-6 * int(environment.get("WATCHDOG_USEC", 0) or 0)
        if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
            self._period = 0.0
        self._next = -float("inf")

    @property
    def is_managed(self) -> bool:
        """Whether a service manager listens, and would start another process in the place of this one."""
        return self._socket is not None

    def ready(self) -> None:
        """The loop begins."""
        self._tell("READY=1")

    def alive(self, status: str) -> None:
        """The loop has done a step, be it on a frame or in waiting for one.

        Args:
            status: For `systemctl status`.
        """
        if self._socket is None or not self._period or self._clock() < self._next:
            return
        self._next = self._clock() + self._period
        self._tell(f"WATCHDOG=1\nSTATUS={status}")

    def stopping(self) -> None:
        """The loop is over; what remains is to close the outputs."""
        self._tell("STOPPING=1")

    def _tell(self, message: str) -> None:
        if self._socket is not None:
            try:
                self._socket.send(message.encode())
            except OSError:  # the manager is busy, or gone: the loop matters more
                return


def _connected(address: str) -> Any:
    if not address:
        return None
    import socket

    link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    link.setblocking(False)
    try:
        # A leading @ stands for the zero byte of an abstract address.
        link.connect(f"\0{address[1:]}" if address.startswith("@") else address)
    except OSError:
        link.close()
        return None
    return link
