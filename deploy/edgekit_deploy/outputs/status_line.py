"""The line that tells how a running loop fares, on stderr."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from edgekit.progress import console
from edgekit_deploy.camera import Decision

if TYPE_CHECKING:
    from rich.live import Live

TERMINAL_SECONDS = 0.25
LOG_SECONDS = 10.0


class StatusLine:
    """Redrawn four times a second on a terminal; a log line every ten seconds elsewhere (a service's journal)."""

    def __init__(self) -> None:
        self._period = TERMINAL_SECONDS if console.is_terminal else LOG_SECONDS
        self._live = _live() if console.is_terminal else None
        self._next = time.monotonic() + self._period

    def __enter__(self) -> Self:
        """Take the terminal's last line."""
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Give it back."""
        if self._live:
            self._live.stop()

    def update(self, decision: Decision) -> None:
        """Show the decision if it is time."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self._period
        if self._live:
            from rich.text import Text

            self._live.update(Text(line(decision), no_wrap=True, overflow="ellipsis"), refresh=True)
        else:
            console.print(line(decision), markup=False, soft_wrap=True)


def _live() -> Live:
    from rich.live import Live  # not needed by a service, which should start soon

    return Live(console=console, auto_refresh=False, transient=True)


def line(decision: Decision) -> str:
    """One line: the answer and the figures."""
    verdict, hud = decision.verdict, decision.hud
    parts = [
        f"{verdict.label or 'nothing sure'} {100 * verdict.probability:.0f} %",
        f"{hud.fps:.1f} fps",
        f"{hud.latency_ms:.1f} ms",
        f"{decision.inferred} inferred, {hud.dropped} dropped",
    ]
    if decision.accuracy is not None:
        parts.append(f"accuracy {100 * decision.accuracy:.1f} %")
    return "  ·  ".join(parts)
