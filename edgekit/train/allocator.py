"""Memory: what is said when it is not enough, and glibc's allocator, told to keep what training frees.

By default the latter gives large blocks back to the system at once, and every step has them zeroed and mapped again;
`benchmarks/training_speed.py` measures what keeping them saves.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from edgekit.errors import InputError

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


@contextmanager
def enough_memory(batch: int, processes: int = 1) -> Iterator[None]:
    """Turn PyTorch's words about memory into ours.

    Args:
        batch: Images per step, over all processes.
        processes: How many share them.

    Raises:
        InputError: It was not enough.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        is_memory = isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)
        if not is_memory:
            raise
        smaller = f"Use --batch {batch // 2}" if batch >= 4 * processes else "Use a smaller network"
        raise InputError(
            f"A step with {batch} images must fit into memory, got: {_in_short(error)}.",
            f"{smaller}, or a smaller --size.",
        ) from error


def _in_short(error: BaseException) -> str:
    """Without PyTorch's place in its sources, and what it says beyond the first sentence."""
    return " ".join(str(error).split()).rpartition("Allocator: ")[2].split(". ")[0].rstrip(".") or "no more"
