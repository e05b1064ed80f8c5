"""What is said when memory is not enough."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from edgekit.errors import InputError


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
