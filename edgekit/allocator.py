"""glibc's allocator, told to keep what is freed.

By default it gives large blocks back to the system at once, and every training step and every camera frame has them
zeroed and mapped again.
"""

from __future__ import annotations

import ctypes
import functools
import sys

# <malloc.h>
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
LARGEST, PAD = 2**31 - 1, 64 * 2**20


@functools.cache
def keep_memory(most: int = LARGEST, pad: int = PAD) -> bool:
    """Until this process ends.

    Args:
        most: Bytes that are kept free at the end of a heap, and the largest block that comes from one; by default all
            there is, for training.
        pad: Bytes that are taken beyond what is needed, whenever a heap grows.

    Returns:
        Whether that was done; there may be no glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    wanted = {M_MMAP_THRESHOLD: most, M_TRIM_THRESHOLD: most, M_TOP_PAD: pad}
    done = [mallopt(name, value) for name, value in wanted.items()]
    return all(done)
