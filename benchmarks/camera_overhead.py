"""What the camera loop costs around the network, how old its frames are, and whether it grows.

    python benchmarks/camera_overhead.py --model imagenet.tflite

Four measurements in one run, on frames from memory (no camera, no decoding), without drawing or encoding:

- *cost*: a 640×480 BGR frame to the five best classes, all but `invoke`, on one core with one thread: the classifier's
  own path beside the usual float way, in turns.
- *loop*: the same through the whole loop: capture thread, mailbox, verdict, statistics.
- *freshness*: cameras of 30, 60 and 120 fps and networks of 5, 20 and 80 ms: the age of the frame at the decision.
- *soak*: a million frames through the loop: memory, threads and descriptors before and after.
"""

from __future__ import annotations

import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import click
import cv2
import numpy as np

from benchmarks.support import RESULTS, machine, markdown, write_results
from edgekit import bundle
from edgekit.bundle import Bundle
from edgekit.errors import EdgekitError
from edgekit.preprocess import Image
from edgekit.progress import console
from edgekit_deploy.camera import Decision, Limits, run_camera
from edgekit_deploy.classifier import Classifier
from edgekit_deploy.health import read_health
from edgekit_deploy.sources.frames import Frame

HEIGHT, WIDTH, TOP_K = 480, 640, 5
RATES, INVOKES_MS = (30.0, 60.0, 120.0), (5.0, 20.0, 80.0)
SLACK_MS = 3.0
WARM_UP = 20_000


class Memory:
    """A source of frames that are there already; see `edgekit_deploy.sources.frames.Source`.

    Args:
        frames: Given in turn.
        fps: The pace of a live source; None: as fast as they are consumed, none dropped.
        limit: How many; None: for ever.
    """

    def __init__(self, frames: list[Image], fps: float | None = None, limit: int | None = None) -> None:
        self.name, self.notes, self.fps = "memory", [], fps or 30.0
        self.lossless, self.is_live = fps is None, fps is not None
        self._frames, self._limit = frames, limit

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def describe(self) -> str:
        """As `Source`."""
        return self.name

    def __iter__(self) -> Iterator[Frame]:
        start, index = time.monotonic(), 0
        while self._limit is None or index < self._limit:
            if self.is_live:
                time.sleep(max(0.0, start + index / self.fps - time.monotonic()))
            yield Frame(self._frames[index % len(self._frames)], time.monotonic(), index, index / self.fps)
            index += 1


class UsualWay:
    """The float preprocessing that tutorials show, on the same network: everything made anew for each frame."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier, self._card = classifier, classifier.card

    def classify(self, frame: Image) -> float:
        """Seconds spent outside `invoke`."""
        network, spec = self._classifier.network, self._card.input
        start = time.perf_counter()
        rgb = cv2.cvtColor(cv2.resize(frame, (spec.width, spec.height)), cv2.COLOR_BGR2RGB)
        real = (rgb.astype(np.float32) / 255.0 - np.array(spec.mean, np.float32)) / np.array(spec.std, np.float32)
        into = spec.quantization
        codes = np.clip(np.round(real / into.scale) + into.zero_point, -128, 127).astype(np.int8)[None]
        network.input_view()[...] = codes[0]
        prepared = time.perf_counter()
        network.invoke()
        invoked = time.perf_counter()
        out = self._card.output.quantization
        logits = (network.output_view().astype(np.float32) - out.zero_point) * out.scale
        exponentials = np.exp(logits - logits.max())
        probabilities = exponentials / exponentials.sum()
        best = np.argsort(probabilities)[::-1][:TOP_K]
        _ = [(self._card.labels[i], float(probabilities[i])) for i in best]
        return prepared - start + time.perf_counter() - invoked


def noise_frames(count: int, height: int, width: int) -> list[Image]:
    """Pictures (height, width, 3) uint8 of fixed noise."""
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (height, width, 3), np.uint8) for _ in range(count)]


def measure_cost(opened: Bundle, repetitions: int) -> dict[str, float]:
    """Medians in ms per frame: ours and the usual way outside invoke, in turns, and invoke itself."""
    classifier = Classifier(opened, 1, TOP_K)
    usual = UsualWay(classifier)
    frames = noise_frames(8, HEIGHT, WIDTH)
    ours: list[float] = []
    invokes: list[float] = []
    theirs: list[float] = []
    for repetition in range(repetitions + 10):
        frame = frames[repetition % len(frames)]
        timings = classifier.classify(frame).timings
        ours.append(timings.preprocess + timings.postprocess)
        invokes.append(timings.invoke)
        theirs.append(usual.classify(frame))
    mine, other, invoke = (1e3 * statistics.median(values[10:]) for values in (ours, theirs, invokes))
    return {"ours_ms": mine, "usual_ms": other, "invoke_ms": invoke}


def measure_loop(opened: Bundle, repetitions: int) -> dict[str, float]:
    """Mean ms per frame of the whole loop outside invoke."""
    frames = noise_frames(8, HEIGHT, WIDTH)
    classifier = Classifier(opened, 1, TOP_K)
    stats = run_camera(classifier, Memory(frames, limit=repetitions))
    return {"loop_ms": 1e3 * stats.seconds / stats.inferred - stats.stages["invoke"].mean}


def measure_freshness(seconds: float) -> list[dict[str, float]]:
    """The age of frames at the decision, for every camera and network."""
    rows = []
    for fps in RATES:
        for invoke_ms in INVOKES_MS:
            classifier = _sleeping(1e-3 * invoke_ms)
            frames = noise_frames(2, HEIGHT, WIDTH)
            stats = run_camera(classifier, Memory(frames, fps), limits=Limits(seconds=seconds))
            age = stats.stages["age"]
            bound = 1e3 / fps + invoke_ms + SLACK_MS
            rows.append({"fps": fps, "invoke_ms": invoke_ms, "p50_ms": age.p50, "p99_ms": age.p99, "bound_ms": bound})
    return rows


def measure_soak(count: int) -> dict[str, float]:
    """What `count` frames through the loop leave behind; memory in MB (1e6 bytes)."""
    from tests.support import tiny_model

    classifier = Classifier(tiny_model.parsed())
    frames = noise_frames(4, 48, 64)
    seen: dict[int, dict[str, float]] = {}

    def look(decision: Decision) -> None:
        if decision.inferred in (WARM_UP, count):
            seen[decision.inferred] = _left_behind()

    stats = run_camera(classifier, Memory(frames, limit=count), observer=look)
    if not stats.captured == stats.inferred + stats.dropped == count:
        raise EdgekitError(f"The books must balance over {count} frames, got {stats.lines()}.")
    growth = {f"{name}_growth": seen[count][name] - seen[WARM_UP][name] for name in seen[count]}
    return {"frames": count, "seconds": stats.seconds, **growth}


def _left_behind() -> dict[str, float]:
    resident = read_health().resident or 0.0
    return {
        "memory_mb": resident * 1.048576,
        "threads": threading.active_count(),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
    }


def _sleeping(seconds: float) -> Classifier:
    """A real classifier, whose network takes `seconds`; as a sleep, since `invoke` lets other threads run too."""
    from tests.support import tiny_model

    classifier = Classifier(tiny_model.parsed())
    invoke: Callable[[], None] = classifier.network.invoke

    def slow() -> None:
        end = time.perf_counter() + seconds
        invoke()
        time.sleep(max(0.0, end - time.perf_counter()))

    classifier.network.invoke = slow  # type: ignore[method-assign]
    return classifier


def _on_one_core(work: Callable[[], dict[str, float]]) -> dict[str, float]:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        return work()
    finally:
        os.sched_setaffinity(0, cores)


@click.command()
@click.option("--model", required=True, type=click.Path(path_type=Path, exists=True), help="MobileNetV2-224 int8.")
@click.option("--repetitions", default=1000, show_default=True, help="Frames of cost and loop.")
@click.option("--seconds", default=10.0, show_default=True, help="Of each camera and network.")
@click.option("--soak", default=1_000_000, show_default=True, help="Frames.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "camera_overhead.json")
def main(model: Path, repetitions: int, seconds: float, soak: int, out: Path) -> None:
    """Measure the camera loop around the network."""
    facts, opened = machine(), bundle.read(model)
    console.print("cost and loop …")
    cost = _on_one_core(lambda: measure_cost(opened, repetitions) | measure_loop(opened, repetitions))
    console.print("freshness …")
    freshness = measure_freshness(seconds)
    console.print("soak …")
    grown = measure_soak(soak)
    content = {"model": opened.card.name, "machine": facts, "cost": cost, "freshness": freshness, "soak": grown}
    write_results(out, content, "\n\n".join([_cost_table(cost), _freshness_table(freshness), _soak_table(grown)]))


def _cost_table(cost: dict[str, float]) -> str:
    names = {
        "ours_ms": "crop, resize, quantize, five best classes",
        "loop_ms": "the whole loop (mean): also capture thread, verdict, statistics",
        "usual_ms": "the usual float way",
        "invoke_ms": "the network itself",
    }
    rows = [(text, f"{cost[key]:.3f}", f"{100 * cost[key] / cost['invoke_ms']:.1f}") for key, text in names.items()]
    return markdown(["640×480 frame, one core", "ms per frame, median", "% of the network"], rows)


def _freshness_table(rows: list[dict[str, float]]) -> str:
    header = ["camera, fps", "network, ms", "age at decision p50, ms", "p99, ms", "bound: period + network + 3, ms"]
    keys = ("invoke_ms", "p50_ms", "p99_ms", "bound_ms")
    return markdown(header, [(f"{row['fps']:.0f}", *(f"{row[key]:.1f}" for key in keys)) for row in rows])


def _soak_table(grown: dict[str, float]) -> str:
    return markdown(
        ["frames", "seconds", "memory growth, MB", "threads more", "descriptors more"],
        [
            (
                f"{grown['frames']:,.0f}",
                f"{grown['seconds']:.0f}",
                f"{round(grown['memory_mb_growth'], 2) + 0.0:.2f}",
                f"{grown['threads_growth']:.0f}",
                f"{grown['descriptors_growth']:.0f}",
            )
        ],
    )


if __name__ == "__main__":
    try:
        main()
    except EdgekitError as error:
        sys.exit(str(error))
