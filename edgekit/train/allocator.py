"""glibc's allocator, told to keep what training frees.

By default it gives large blocks back to the system at once, and every step has them zeroed and mapped again: on two
cores MobileNetV2 at 96 pixels trained 1.2 to 1.8 times as fast when it kept them (`benchmarks/training_speed.py`).
"""

from __future__ import annotations

import ctypes
import functools
import sys

# <malloc.h>
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
LARGEST, PAD = 2**31 - 1, 256 * 2**20


@functools.cache
def keep_memory() -> bool:
    """Until this process ends; False where there is no glibc, and nothing was done."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    wanted = {M_MMAP_THRESHOLD: LARGEST, M_TRIM_THRESHOLD: LARGEST, M_TOP_PAD: PAD}
    done = [mallopt(name, value) for name, value in wanted.items()]
    return all(done)
