"""Tells the counting plugin (count.c) where work begins and ends."""

from __future__ import annotations

import ctypes

# As count.c has it.
MARKER = 0x45444745
WARM_UP, REPEATS = 3, 3
(EMPTY, INVOKE, PREPARE, FRAME) = range(4)
_libc = ctypes.CDLL(None)


def mark(tag: int) -> None:
    """Tell the plugin."""
    _libc.getpriority(MARKER, tag)


def count(work: dict) -> None:
    """REPEATS times each call, by its tag, between two marks, after WARM_UP that do not count."""
    for tag, call in work.items():
        for _ in range(WARM_UP):
            call()
        for _ in range(REPEATS):
            mark(tag)
            call()
            mark(tag)
