"""The process behind `cost.cost_of`: python -m edgekit_quantize.report.cost_worker KIND PATH SPEC KERNELS THREADS.

It loads what the model needs and nothing else, so that its peak memory is the model's. The answer is a line of JSON.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from edgekit.card import InputSpec, from_plain
from edgekit.runtime import Kernels
from edgekit_quantize.report.models import Model, OnnxModel, TfliteModel, TorchModel

_WARM_UP = 5
_LEAST, _MOST = 10, 300
_SECONDS = 3.0
# Slow networks are run less often, once at least.
_PATIENCE = 30.0


def main(kind: str, path: str, spec: str, kernels: str, threads: str) -> None:
    """Measure, and print."""
    model = _model(kind, Path(path), from_plain(InputSpec, json.loads(spec), "spec"), kernels)
    cv2.setNumThreads(1)
    times = _times(model, int(threads))
    p50, p90, p99 = (round(float(value), 3) for value in np.percentile(times, (50, 90, 99)))
    sys.stdout.write(json.dumps({"p50_ms": p50, "p90_ms": p90, "p99_ms": p99, "peak_mib": _peak_mib()}) + "\n")


def _model(kind: str, path: Path, spec: InputSpec, kernels: str) -> Model:
    if kind == "TfliteModel":
        return TfliteModel(path, spec, Kernels(kernels))
    return TorchModel(path, spec) if kind == "TorchModel" else OnnxModel(path, spec)


def _times(model: Model, threads: int) -> list[float]:
    """Milliseconds of one run each, from pixels to logits."""
    run = model.open(threads)
    # Real photos are not uniform; what they show does not matter to the time.
    shape = (1, model.spec.height, model.spec.width, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    begun = time.perf_counter()
    for done in range(_WARM_UP):
        if not done or time.perf_counter() < begun + _SECONDS:
            run(pixels)
    times: list[float] = []
    begun = time.perf_counter()
    while not times or time.perf_counter() < begun + (_SECONDS if len(times) >= _LEAST else _PATIENCE):
        if len(times) == _MOST:
            break
        start = time.perf_counter()
        run(pixels)
        times.append(1000.0 * (time.perf_counter() - start))
    return times


def _peak_mib() -> float | None:
    """Linux tells; getrusage would tell the parent's memory where that is larger."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return None if found is None else round(int(found[1]) / 1024, 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
