"""A worker in every core. However the work ends (done, Ctrl-C, a killed process), no process is left behind."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing.connection import Connection

import cv2

from edgekit.errors import EdgekitError
from edgekit_quantize.report.worker import Chunk, Task, Worker

# Chunks in work or waiting for their turn, per process: enough that no process waits for a slow one before it.
_AHEAD = 3
# All processes together should stay below MOST_MB; the first, and each further one without its models, take so much
# (measured as above; pages that they share counted once).
MOST_MB = 1500
_MAIN_MB = 400
_PROCESS_MB = 95
_worker: Worker | None = None


def affordable(worker: Worker) -> int:
    """How many processes fit into MOST_MB, at least 1."""
    models = [asked.model for asked in worker.asked]
    weights = sum(model.path.stat().st_size for model in models) / 1e6
    each = _PROCESS_MB + weights + sum({type(model): model.runtime_mb for model in models}.values())
    return max(1, int((MOST_MB - _MAIN_MB) / each))


def run(worker: Worker, tasks: Iterable[Task], processes: int) -> Generator[Chunk, None, None]:
    """The chunks in the order of the tasks.

    Args:
        worker: Is sent to every process; with one process, it works in this one.
        tasks: Are taken only a few ahead of their turn.
        processes: At least 1.

    Raises:
        EdgekitError: A process was killed, or what the worker raises.
    """
    if processes == 1:
        with _one_thread():
            # A copy: the models that it opens are let go with it.
            yield from map(replace(worker), tasks)
        return
    with _pool(worker, processes) as pool:
        pending: deque[Future[Chunk]] = deque()
        try:
            for task in tasks:
                pending.append(_submit(pool, task))
                if len(pending) >= _AHEAD * processes:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool as error:
            raise EdgekitError(
                "Every worker process must live to the end, got one that was killed (is memory short?).",
                "Take fewer --processes; with --resume the work goes on where it stood.",
            ) from error


@contextlib.contextmanager
def _pool(worker: Worker, processes: int) -> Iterator[ProcessPoolExecutor]:
    """A process pool on a lifeline: a pipe whose other end this process alone holds, and loses when it dies."""
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(processes, context, _start, (worker, theirs))
    try:
        yield pool
    except BaseException:
        ours.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        ours.close()
        theirs.close()


def _submit(pool: ProcessPoolExecutor, task: Task) -> Future[Chunk]:
    """The first one starts the processes, which inherit that Ctrl-C is not theirs to answer."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(_work, task)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _start(worker: Worker, lifeline: Connection) -> None:
    global _worker
    _worker = worker
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Connection) -> None:
    """Nobody writes into the lifeline: it becomes readable when its other end is closed."""
    with contextlib.suppress(OSError):
        lifeline.poll(None)
    os._exit(1)


def _work(task: Task) -> Chunk:
    if _worker is None:
        raise EdgekitError("A worker process must be started before it works.")
    return _worker(task)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """PyTorch and OpenCV as the worker processes have them, and afterwards as they were."""
    import torch

    before, pictures = torch.get_num_threads(), cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        cv2.setNumThreads(pictures)
