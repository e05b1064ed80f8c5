"""One process or many: where this one stands, and what they say to each other.

`torchrun --nproc-per-node 2 --no-python edgekit train ...` starts several; alone, all of this costs nothing. Bare
torch.distributed, because the loop needs three of its words only.
"""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from edgekit.errors import InputError, MissingError
from edgekit.progress import console

DEVICES = ("auto", "cpu", "cuda")
# Within a step a process waits so long for one of which nothing is heard any more, such as a machine without power.
SILENCE = timedelta(minutes=10)
# The others wait while the first one decodes a set.
PATIENCE = timedelta(hours=12)
# What gloo and NCCL say where a process is gone, or has been silent for too long.
ENDED = re.compile("clos|reset|broken pipe|timed? ?out|abort|remote process", re.IGNORECASE)
MOST_REASON = 200


@dataclass(frozen=True)
class World:
    """All processes of a run.

    Attributes:
        rank: Number of this one, 0 is the one that writes.
        size: How many there are.
        local_rank: Number of this one on its machine.
        local_size: How many there are on it.
        device: Where its network is.
        patient: The group of processes that waits for long work; None where there is one process.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    patient: dist.ProcessGroup | None = None

    @property
    def is_first(self) -> bool:
        """Does this process write and speak for all?"""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes, on the CPU; every process must ask."""
        if self.size == 1:
            return values.cpu()
        summed = values.to(self.device, copy=True)
        dist.all_reduce(summed)
        return summed.cpu()

    def any(self, flag: bool) -> bool:
        """Whether it is so in one of the processes; every process must ask."""
        return self.which(flag)[0]

    def which(self, *flags: bool) -> tuple[bool, ...]:
        """Which of them are so in one of the processes; every process must ask."""
        if self.size == 1:
            return flags
        return tuple(count > 0 for count in self.total(torch.tensor(flags).float()).tolist())

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Give every process the first one's."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def by_first(self, make: Callable[[], str]) -> str:
        """What the first process makes, for all; every process must ask."""
        return self.gather([make()] if self.is_first else [])[0]

    def gather(self, lines: Iterable[str]) -> tuple[str, ...]:
        """Those of all processes, each once, in order; every process must ask."""
        if self.size == 1:
            return tuple(dict.fromkeys(lines))
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, list(lines), group=self.patient)
        return tuple(dict.fromkeys(line for theirs in found for line in theirs))

    def each(self, number: int) -> tuple[int, ...]:
        """That of each process, by rank; every process must ask."""
        mine = torch.zeros(self.size, dtype=torch.int64)
        mine[self.rank] = number
        return tuple(self.total(mine).tolist())

    @contextmanager
    def one_after_another(self) -> Iterator[None]:
        """The first process of each machine does it, then the others, which find what it has left in the cache.

        One that fails does not wait for other machines, which may be at it for hours: it ends, and the others notice.
        """
        if self.local_rank:
            self._wait()
        yield
        if not self.local_rank:
            self._wait()

    def _wait(self) -> None:
        if self.size > 1:
            dist.barrier(self.patient)


@contextmanager
def join(device: str = "auto") -> Iterator[World]:
    """The processes that torchrun has started; without it this one alone.

    Args:
        device: "cpu", "cuda", or "auto": CUDA where there is one.

    Raises:
        InputError: Another device.
        MissingError: CUDA is not there, the processes cannot reach each other, or one ended before its time.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", str(size)))
    world = World(rank, size, local_rank, local_size, choose_device(device, local_rank))
    if size == 1:
        yield world
        return
    quiet, console.quiet = console.quiet, not world.is_first
    is_cpu, have_met = world.device.type == "cpu", False
    try:
        dist.init_process_group("gloo" if is_cpu else "nccl", timeout=SILENCE)
        world = replace(world, patient=dist.new_group(backend="gloo", timeout=PATIENCE))
        # NCCL connects in its first call.
        world.total(torch.zeros(1))
        have_met = True
        yield world
    except BaseException as error:
        # NCCL's end waits for processes that wait for this one; `cli.main` ends without it.
        if is_cpu:
            _leave()
        if isinstance(error, RuntimeError | dist.DistError) and _is_of_another_process(error):
            raise explained(error, have_met) from error
        raise
    else:
        _leave()
    finally:
        console.quiet = quiet


def _leave() -> None:
    # DistributedDataParallel is a cycle that holds the group: at the interpreter's end its threads would abort.
    gc.collect()
    if dist.is_initialized():
        dist.destroy_process_group()


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """A device by its name; "auto" takes CUDA where there is one.

    Raises:
        InputError: Another name.
        MissingError: CUDA is not there, or has fewer GPUs than there are processes.
    """
    if name not in DEVICES:
        raise InputError(f"--device must be one of {', '.join(DEVICES)}, got {name!r}.")
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise MissingError(
            "--device cuda must find a GPU that PyTorch can use, got none.",
            "Use --device cpu, or install CUDA's torch.",
        )
    if name == "cpu" or not has_cuda:
        return torch.device("cpu")
    if local_rank >= (count := torch.cuda.device_count()):
        raise MissingError(
            f"Each process must have a GPU of its own, got {count} for {local_rank + 1} or more.",
            f"Use --nproc-per-node {count}, or --device cpu.",
        )
    try:
        torch.cuda.set_device(local_rank)
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        raise MissingError(
            f"GPU {local_rank} must be usable, got: {first}.", "See nvidia-smi for who has it, or use --device cpu."
        ) from error
    return torch.device("cuda", local_rank)


def _is_of_another_process(error: BaseException) -> bool:
    """Gloo raises plain RuntimeErrors; they name its source files or the connection."""
    words = str(error).lower()
    return isinstance(error, dist.DistError) or any(word in words for word in ("gloo", "connection", "peer", "nccl"))


def explained(error: BaseException, have_met: bool) -> MissingError:
    """Whether a process has ended, or they cannot reach each other.

    Args:
        error: Of torch.distributed.
        have_met: Whether they were connected before.
    """
    words = str(error)
    first = words.strip().splitlines()[0][:MOST_REASON] if words.strip() else type(error).__name__
    if have_met and ENDED.search(words):
        return MissingError(
            f"All processes of the run must stay alive, got one that has ended ({first}).",
            "Its last words, if any, are above. The same command with --resume goes on after the last epoch.",
        )
    return MissingError(
        f"The processes of the run must reach each other, got: {first}.",
        "All must have the same --device. "
        "Between machines set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME to the network's interface, such as eth0; "
        "in a container NCCL needs a larger /dev/shm. NCCL_DEBUG=WARN says more.",
    )
