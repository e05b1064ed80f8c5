"""The terminal that a command was given in, which may go away under it."""

from __future__ import annotations

import os

# stdin, stdout, stderr
STREAMS = (0, 1, 2)


def forget(numbers: list[int]) -> None:
    """Let what is still written to a terminal that is gone go nowhere: it would be an error each time.

    Args:
        numbers: Streams that were terminals; now they may not look like it any more.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in numbers:
        os.dup2(nowhere, number)
    os.close(nowhere)
