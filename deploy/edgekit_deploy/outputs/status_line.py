"""The line that tells how a running loop fares, on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Self

import click

from edgekit_deploy.camera import Decision

if TYPE_CHECKING:
    from rich.live import Live

TERMINAL_SECONDS = 0.25
LOG_SECONDS = 10.0


class StatusLine:
    """Redrawn four times a second on a terminal; a log line every ten seconds elsewhere (a service's journal)."""

    def __init__(self) -> None:
        self._period = TERMINAL_SECONDS if _is_terminal() else LOG_SECONDS
        self._live = _live() if _is_terminal() else None
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
            tell(line(decision))


def tell(text: str) -> None:
    """A line on stderr, from any thread; on a terminal it stays above the status line."""
    if _is_terminal():
        from edgekit.progress import console

        console.print(text, markup=False, soft_wrap=True)
        return
    # What nobody can read, because the disk of a log is full or its reader gone, is no reason to end.
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _live() -> Live:
    # Only on a terminal: a service starts a tenth sooner without rich, and needs 4 MB less.
    from rich.live import Live

    from edgekit.progress import console

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
