"""What is said when memory is not enough."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from edgekit.errors import InputError
from edgekit.train.world import World

# Of what the system says it can give: its word is an estimate, and others need some.
SHARE = 0.95
# What PyTorch, C++ and oneDNN (which does not say why) say where an allocation failed.
WORDS = ("allocate memory", "bad_alloc", "could not create a primitive")


@contextmanager
def enough_memory(batch: int, world: World) -> Iterator[None]:
    """Turn PyTorch's words about memory into ours.

    Linux promises more than it has, and then kills the process without a word. So what this process may take is
    limited to what there is (RLIMIT_DATA), and an allocation beyond that fails here.

    Args:
        batch: Images per step, over all processes.
        world: The processes that share them; those on this machine share its memory.

    Raises:
        InputError: It was not enough.
    """
    try:
        with _limited(world):
            yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        is_memory = isinstance(error, torch.OutOfMemoryError | MemoryError) or any(w in str(error) for w in WORDS)
        if not is_memory:
            raise
        smaller = f"Use --batch {batch // 2}" if batch >= 4 * world.size else "Use a smaller network"
        raise InputError(
            f"A step with {batch} images must fit into memory, got: {_in_short(error)}.",
            f"{smaller}, or a smaller --size.",
        ) from error


@contextmanager
def _limited(world: World) -> Iterator[None]:
    """On Linux's CPUs: no more data than there is memory. A GPU's driver reserves addresses that are no memory."""
    if not sys.platform.startswith("linux") or world.device.type != "cpu":
        yield
        return
    import resource  # not on every system

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = _bytes(Path("/proc/self/status"), "VmData") + int(SHARE * available_memory() / world.local_size)
    unlimited = resource.RLIM_INFINITY
    most = min([most, *(limit for limit in (soft, hard) if limit != unlimited)])
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that this process could take without swapping: of the machine and, in a container, of its cgroup (v2)."""
    found = [_bytes(root / "proc/meminfo", "MemAvailable")]
    top = root / "sys/fs/cgroup"
    own = top / (root / "proc/self/cgroup").read_text().rpartition("0::/")[2].strip()
    for group in (own, *own.parents):
        limit = group / "memory.max"
        if group.is_relative_to(top) and limit.exists() and limit.read_text().strip() != "max":
            # Files that were read count as used, and are given up when memory is wanted.
            stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            used = int((group / "memory.current").read_text()) - int(stat["inactive_file"])
            found.append(max(0, int(limit.read_text()) - used))
    return min(found)


def _bytes(file: Path, name: str) -> int:
    """From a line `name: 123 kB`."""
    line = next(line for line in file.read_text().splitlines() if line.startswith(f"{name}:"))
    return 1024 * int(line.split()[1])


def _in_short(error: BaseException) -> str:
    """Without PyTorch's place in its sources, and what it says beyond the first sentence."""
    return " ".join(str(error).split()).rpartition("Allocator: ")[2].split(". ")[0].rstrip(".") or "no more"
