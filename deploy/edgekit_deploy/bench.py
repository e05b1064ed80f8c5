"""Latency of a model on this machine: the network alone, and the whole way from a camera frame to the top classes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit import __version__, files
from edgekit import bundle as bundle_file
from edgekit_deploy.classifier import Classifier
from edgekit_deploy.cold_start import ColdStart
from edgekit_deploy.health import Health
from edgekit_deploy.latency import Histogram, Summary
from edgekit_deploy.machine import Machine
from edgekit_deploy.noise import noise_frame
from edgekit_deploy.sustained import Sustained
from edgekit_deploy.threads import best_threads

# Of the JSON; raised by any change of keys or of their meaning.
SCHEMA_VERSION = 1
WARM_UP_RUNS = 5
LEAST_RUNS = 10
# Neither interpreter's Python side has a profiler (LiteRT 2.3 and tflite-runtime 2.14 were looked through).
NO_PROFILE = "not available with this runtime: its Python interface has no profiler"


@dataclass(frozen=True, slots=True)
class Bench:
    """One setting's figures; latencies in milliseconds.

    Attributes:
        threads: Interpreter threads.
        kernels: "xnnpack", "builtin" or "mixed".
        load_ms: From the file's path to a network that is ready.
        first_ms: The first frame, which is slower than the others.
        invoke: The network alone.
        frame: 640×480 BGR frame to top five, the network included.
    """

    threads: int
    kernels: str
    load_ms: float
    first_ms: float
    invoke: Summary
    frame: Summary


@dataclass(frozen=True, slots=True)
class BenchResult:
    """All that one `edgekit bench` found out.

    Attributes:
        machine: Where.
        model: What: name, architecture, input, classes and hashes, as `describe_model` gives them.
        benches: One for each number of threads.
        health: The board after the work of `benches`; `peak` is the bench's own memory, not the camera's.
        cold_start: None if it was left out.
        sustained: Likewise.
    """

    machine: Machine
    model: dict[str, Any]
    benches: tuple[Bench, ...]
    health: Health
    cold_start: ColdStart | None = None
    sustained: Sustained | None = None

    @property
    def best(self) -> Bench:
        """The setting that `--threads auto` would choose, by the median of the network alone."""
        threads = best_threads({bench.threads: bench.invoke.p50 for bench in self.benches})
        return next(bench for bench in self.benches if bench.threads == threads)

    def to_plain(self) -> dict[str, Any]:
        """What json.dumps takes: a result that can be handed in as it is. It names no path, host or user."""
        cold = self.cold_start
        return {
            "schema": SCHEMA_VERSION,
            "edgekit": __version__,
            "machine": dataclasses.asdict(self.machine),
            "model": self.model,
            "best_threads": self.best.threads,
            "results": [dataclasses.asdict(bench) for bench in self.benches],
            "cold_start": cold and {**dataclasses.asdict(cold), "ratio": cold.ratio, "peak_ratio": cold.peak_ratio},
            "health": dataclasses.asdict(self.health),
            "profile": {"available": False, "reason": NO_PROFILE},
            "sustained": self.sustained and self.sustained.to_plain(),
        }


def run_bench(path: str | Path, threads: int, seconds: float) -> Bench:
    """Measure for about `seconds`, half of it on each of the two figures.

    Raises:
        InputError: As `Classifier.open`.
    """
    start = time.perf_counter()
    classifier = Classifier(bundle_file.read(path), threads)
    loaded = time.perf_counter()
    frame = noise_frame()
    first = time.perf_counter()
    classifier.classify(frame)
    first_ms = 1e3 * (time.perf_counter() - first)
    invoke = _measure(classifier.network.invoke, seconds / 2)
    whole = _measure(lambda: classifier.classify(frame), seconds / 2)
    kernels = str(classifier.network.kernels)
    return Bench(threads, kernels, 1e3 * (loaded - start), first_ms, invoke, whole)


def describe_model(path: str | Path) -> dict[str, Any]:
    """What a result says of its model.

    Raises:
        InputError: As `edgekit.bundle.read`.
    """
    card = bundle_file.read(path).card
    return {
        "name": card.name,
        "architecture": card.architecture.name,
        "width": card.architecture.width,
        "input": [card.input.height, card.input.width, 3],
        "classes": card.output.classes,
        "recipe": card.provenance.recipe,
        "sha256": files.sha256(path),
        "flatbuffer_sha256": card.flatbuffer_sha256,
    }


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
