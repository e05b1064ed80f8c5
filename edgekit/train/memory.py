"""Whether memory is enough, and what is said when it is not."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from edgekit.errors import InputError
from edgekit.train.world import World

# Of what the system says it can give, but half of it at most: that is an estimate, others need some, and the allocator
# has addresses to which it has not written yet (`allocator.PAD`).
RESERVE = 256 * 2**20
# Images may take this much of it: steps need the rest.
IMAGES_SHARE = 0.6
# What PyTorch, C++, oneDNN (which does not say why) and CUDA's libraries say where an allocation failed. A primitive's
# descriptor is another thing: that there is no such kernel.
WORDS = re.compile(
    "allocate memory|bad_alloc|could not create a (primitive(?! desc)|memory object)|out of memory|ALLOC_FAILED"
)
# Of cgroups, v2 and v1: the prefix of our line in /proc/self/cgroup, where the groups are, and what their files are
# called: the limit, what is used, and in memory.stat the files that were read, which count as used and are given up.
CGROUPS = (
    ("0::", "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    (
        r"\d+:[a-z_,]*\bmemory\b[a-z_,]*:",
        "sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)


def check_fitting(needed: int) -> None:
    """Refuse before images are read.

    Args:
        needed: Bytes that they take.

    Raises:
        InputError: More than most of what there is.
    """
    available = available_memory()
    if available is None:
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > IMAGES_SHARE * available:
        raise InputError(
            f"The prepared images must fit into memory, got {needed / 2**30:.1f} GiB of images and "
            f"{available / 2**30:.1f} GiB of memory.",
            "Use fewer images or a smaller --size.",
        )


class OutOfMemory(InputError):
    """What must fit into memory does not."""


@contextlib.contextmanager
def enough_memory(batch: int, processes: int = 1) -> Iterator[None]:
    """Turn PyTorch's words about memory into ours.

    Args:
        batch: Images per step, over all processes.
        processes: How many share them.

    Raises:
        OutOfMemory: It was not enough.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and not WORDS.search(str(error)):
            raise
        smaller = f"Use --batch {batch // 2}" if batch >= 4 * processes else "Use a smaller network"
        raise OutOfMemory(
            f"A step with {batch} images must fit into memory, got: {_in_short(error)}.",
            f"{smaller}, or a smaller --size.",
        ) from error


def most_data(world: World) -> int | None:
    """Bytes of data that this process may have at most (RLIMIT_DATA): what it has, and what there is.

    Args:
        world: Its processes on this machine share the memory.

    Returns:
        None for no limit: the system does not say, or a GPU's driver reserves addresses that are no memory.
    """
    available = available_memory() if sys.platform.startswith("linux") and world.device.type == "cpu" else None
    if available is None:
        return None
    # PyTorch's threads begin now: there must be memory for their stacks, which are in what this process has then.
    torch.ones(2**20).sum()
    more = max(available - RESERVE, available / 2) / world.local_size
    return _bytes(Path("/proc/self/status"), "VmData") + int(more)


@contextlib.contextmanager
def limited_memory(most: int | None) -> Iterator[None]:
    """Have allocations fail that go beyond `most_data`.

    Linux promises more than it has, and then kills the process without a word. Use this around a step alone: a thread
    that is begun within and gets no memory would be waited for in vain.
    """
    if most is None:
        yield
        return
    import resource  # not on every system

    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = min(limit for limit in (most, before, hard) if limit != resource.RLIM_INFINITY)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, hard))


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that this process could take without swapping: of the machine and of its cgroup, as containers have.

    None where the system does not say.
    """
    with contextlib.suppress(OSError, LookupError, ValueError):
        found = [_bytes(root / "proc/meminfo", "MemAvailable")]
        with contextlib.suppress(OSError, LookupError, ValueError):
            found += _of_cgroups(root)
        return max(0, min(found))
    return None


def _of_cgroups(root: Path) -> Iterator[int]:
    groups = (root / "proc/self/cgroup").read_text()
    for prefix, folder, limit, used, cache in CGROUPS:
        own = re.search(rf"^{prefix}/(.*)$", groups, re.MULTILINE)
        if own is None:
            continue
        top = root / folder
        # In a container the path may be the host's: then the top is the container's own.
        for group in (top / own[1], *(top / own[1]).parents):
            text = (group / limit).read_text().strip() if (group / limit).exists() else "max"
            if group.is_relative_to(top) and text != "max":
                stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
                yield int(text) - int((group / used).read_text()) + int(stat[cache])


def _bytes(file: Path, name: str) -> int:
    """From a line `name: 123 kB`."""
    found = re.search(rf"^{name}:\s*(\d+) kB$", file.read_text(), re.MULTILINE)
    if found is None:
        raise LookupError(name)
    return 1024 * int(found[1])


def _in_short(error: BaseException) -> str:
    """Without PyTorch's place in its sources, and what it says beyond the first sentence."""
    return " ".join(str(error).split()).rpartition("Allocator: ")[2].split(". ")[0].rstrip(".") or "no more"
