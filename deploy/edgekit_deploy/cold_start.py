"""From the start of a process to its first answer, beside the least that any program with this runtime needs.

Both are real processes: `edgekit camera` with one picture as its source, and a bare script that imports numpy, OpenCV
and the runtime and runs the network once. What the disk holds is in the system's cache for both, and Python's code is
compiled, as it is once a package was installed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgekit.errors import EdgekitError

LIMIT_SECONDS = 120.0
MARK = "VmHWM:"
# What is left of a process is its own high-water mark: the parent's would be counted in rusage's.
PEAK = f"""
import re
with open("/proc/self/status") as file:
    print("\\n{MARK}", re.search(r"VmHWM:\\s+(\\d+)", file.read())[1], flush=True)
"""
OURS = """
import sys
from edgekit.cli import run
code = run(sys.argv[1:])
"""
BARE = """
import sys
import numpy as np
import cv2
try:
    from ai_edge_litert.interpreter import Interpreter
except ModuleNotFoundError:
    from tflite_runtime.interpreter import Interpreter
interpreter = Interpreter(sys.argv[1], num_threads=int(sys.argv[2]))
interpreter.allocate_tensors()
into, out_of = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
interpreter.set_tensor(into["index"], np.zeros(into["shape"], into["dtype"]))
interpreter.invoke()
print(interpreter.get_tensor(out_of["index"]).argmax(), flush=True)
code = 0
"""
SIDE = 480, 640


@dataclass(frozen=True, slots=True)
class ColdStart:
    """Medians over `repeats` processes of each kind.

    Attributes:
        repeats: Of each kind, in turn.
        milliseconds: `edgekit camera`, from the start of the process to the first decision on its output.
        bare_milliseconds: The bare script, from the start of the process to its answer.
        peak: The most memory that `edgekit camera` had, MiB; None where /proc does not tell.
        bare_peak: Likewise, the bare script.
    """

    repeats: int
    milliseconds: float
    bare_milliseconds: float
    peak: float | None
    bare_peak: float | None

    @property
    def ratio(self) -> float:
        """Time of edgekit by that of the bare script."""
        return self.milliseconds / self.bare_milliseconds

    @property
    def peak_ratio(self) -> float | None:
        """Memory of edgekit by that of the bare script."""
        return self.peak / self.bare_peak if self.peak and self.bare_peak else None


@dataclass(frozen=True, slots=True)
class _Start:
    """One process: seconds to its answer, and its peak in MiB."""

    seconds: float
    peak: float | None


def measure_cold_start(
    model: Path, threads: int, repeats: int = 3, step: Callable[[], None] | None = None
) -> ColdStart:
    """Start both kinds of processes `repeats` times in turn; `step` is called after each pair.

    Raises:
        EdgekitError: One of them failed.
    """
    model = model.resolve()
    peak = PEAK if sys.platform.startswith("linux") else ""
    ours, bare = [], []
    with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as folder:
        pictures, compiled = Path(folder, "pictures"), Path(folder, "compiled")
        pictures.mkdir()
        # JPEG, as cameras send it.
        cv2.imwrite(str(pictures / "frame.jpg"), np.full((*SIDE, 3), 128, np.uint8))
        camera = ["camera", str(model), "--source", str(pictures), "--headless", "--jsonl", "-", "--max-frames", "1"]
        for repeat in range(repeats + 1):
            first = _start(BARE + peak, [str(model), str(threads)], compiled)
            second = _start(OURS + peak, [*camera, "--threads", str(threads)], compiled)
            # The pair before the first fills `compiled` and the system's cache, and does not count.
            if repeat:
                bare.append(first)
                ours.append(second)
                if step:
                    step()
    return ColdStart(repeats, _median_ms(ours), _median_ms(bare), _median_peak(ours), _median_peak(bare))


def _start(code: str, arguments: list[str], compiled: Path | None = None) -> _Start:
    """Run Python `code`; its first line of output is the answer. `compiled` is a folder for compiled code."""
    # -P: nothing that lies in the working directory is taken for a module.
    command = [sys.executable, "-P", "-c", f"{code}\nsys.exit(code)", *arguments]
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "text": True}
    with tempfile.TemporaryFile("w+") as errors:
        begin = time.perf_counter()
        process = subprocess.Popen(command, stderr=errors, env=_environment(compiled), **pipes)  # noqa: S603 (our own code)
        watchdog = threading.Timer(LIMIT_SECONDS, process.kill)
        watchdog.start()
        with process:
            answer = process.stdout.readline()  # type: ignore[union-attr]
            seconds = time.perf_counter() - begin
            rest = process.stdout.read()  # type: ignore[union-attr]
        watchdog.cancel()
        if process.returncode or not answer:
            errors.seek(0)
            lines = errors.read().strip().splitlines() or ["no message"]
            raise EdgekitError(f"A fresh process must give an answer, got {process.returncode}: {lines[-1]}.")
    peaks = [int(line.split()[1]) / 1024 for line in rest.splitlines() if line.startswith(MARK)]
    return _Start(seconds, peaks[0] if peaks else None)


def _environment(compiled: Path | None) -> dict[str, str]:
    """As ours, with the folders that this process imports from: a fresh process must find the same edgekit.

    A checkout, a read-only system or PYTHONDONTWRITEBYTECODE has no compiled code, and compiling takes a second.
    """
    places = [place for place in sys.path if place]
    own = {"PYTHONPATH": os.pathsep.join(places)}
    if compiled:
        own |= {"PYTHONPYCACHEPREFIX": str(compiled), "PYTHONDONTWRITEBYTECODE": ""}
    return {**os.environ, **own}


def _median_ms(starts: list[_Start]) -> float:
    return 1e3 * statistics.median(start.seconds for start in starts)


def _median_peak(starts: list[_Start]) -> float | None:
    peaks = [start.peak for start in starts if start.peak is not None]
    return statistics.median(peaks) if peaks else None
