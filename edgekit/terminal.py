"""The terminal that a command was given in, which may go away under it."""

from __future__ import annotations

import os


def streams() -> list[int]:
    """Those of stdin, stdout and stderr that are terminals."""
    return [number for number in (0, 1, 2) if os.isatty(number)]


def forget(numbers: list[int]) -> None:
    """Let what is still written to a terminal that is gone go nowhere: it would be an error each time.

    Args:
        numbers: What `streams` gave before; now they may not look like terminals any more.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in numbers:
        os.dup2(nowhere, number)
    os.close(nowhere)
