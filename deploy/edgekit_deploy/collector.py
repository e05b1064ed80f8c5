"""Python's search for garbage, kept out of the start and, from then on, short."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def no_collections() -> Iterator[None]:
    """Import and load meanwhile without a search for garbage, which then never looks at what is there now again.

    Every search walks all that was imported so far and finds next to nothing: a quarter of the time until the first
    answer, and later pauses between two frames.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
