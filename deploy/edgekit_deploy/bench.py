"""Latency of a model on this machine: the network alone, and the whole way from a camera frame to the top classes."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit import bundle as bundle_file
from edgekit.preprocess import Image
from edgekit.runtime import runtime_name
from edgekit_deploy.classifier import Classifier
from edgekit_deploy.latency import Histogram, Summary

FRAME_HEIGHT, FRAME_WIDTH = 480, 640
WARM_UP_RUNS = 5
LEAST_RUNS = 10
BOARD_FILE = Path("/proc/device-tree/model")


@dataclass(frozen=True)
class Bench:
    """One setting's figures; latencies in milliseconds.

    Attributes:
        threads: Interpreter threads.
        kernels: "xnnpack", "builtin" or "mixed".
        load_ms: From the file's path to a network that is ready.
        invoke: The network alone.
        frame: 640×480 BGR frame to top five, the network included.
    """

    threads: int
    kernels: str
    load_ms: float
    invoke: Summary
    frame: Summary


@dataclass(frozen=True)
class Machine:
    """Where the figures come from."""

    board: str
    runtime: str
    python: str


def run_bench(path: str | Path, threads: int, seconds: float) -> Bench:
    """Measure for about `seconds`, half of it on each of the two figures.

    Raises:
        InputError: As `Classifier.open`.
    """
    start = time.perf_counter()
    classifier = Classifier(bundle_file.read(path), threads)
    load_ms = 1e3 * (time.perf_counter() - start)
    frame = noise_frame()
    classifier.classify(frame)
    invoke = _measure(classifier.network.invoke, seconds / 2)
    whole = _measure(lambda: classifier.classify(frame), seconds / 2)
    return Bench(threads, str(classifier.network.kernels), load_ms, invoke, whole)


def noise_frame() -> Image:
    """(480, 640, 3) uint8 of fixed noise: no compressor or branch predictor gets it easy."""
    return np.random.default_rng(0).integers(0, 256, (FRAME_HEIGHT, FRAME_WIDTH, 3), dtype=np.uint8)


def this_machine() -> Machine:
    """The board by its device tree, else the processor's architecture."""
    try:
        board = BOARD_FILE.read_bytes().rstrip(b"\0").decode(errors="replace")
    except OSError:
        board = platform.machine()
    return Machine(board, runtime_name(), platform.python_version())


def _measure(work: Callable[[], object], seconds: float) -> Summary:
    """Repeat `work` for `seconds`, after a warm-up, at least LEAST_RUNS times."""
    for _ in range(WARM_UP_RUNS):
        work()
    histogram = Histogram()
    end = time.perf_counter() + seconds
    runs = 0
    before = time.perf_counter()
    while before < end or runs < LEAST_RUNS:
        work()
        after = time.perf_counter()
        histogram.add(after - before)
        before = after
        runs += 1
    return histogram.summary()
