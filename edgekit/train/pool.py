"""Work on many images by all cores: OpenCV decodes without holding the interpreter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from edgekit.runtime import available_cores

# At once: enough for all cores, and few enough to forget.
CHUNK = 64

_T = TypeVar("_T")


def by_all_cores(function: Callable[[int], _T], count: int) -> Iterator[_T]:
    """What it gives for 0 to `count` - 1, in this order."""
    with ThreadPoolExecutor(available_cores()) as pool:
        for start in range(0, count, CHUNK):
            yield from pool.map(function, range(start, min(start + CHUNK, count)))
