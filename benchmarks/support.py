"""What the benchmarks share: a measured child process, the sample images of onnx2tf, tables, the machine."""

from __future__ import annotations

import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import psutil  # type: ignore[import-untyped]
from scipy import stats

from edgekit import __version__
from edgekit.cpu import read_cpu
from edgekit.errors import EdgekitError
from edgekit.files import write_whole
from edgekit.runtime import available_cores

_T = TypeVar("_T")
RESULTS = Path(__file__).parent / "results"
EDGEKIT = (sys.executable, "-m", "edgekit.cli")
_POLL_SECONDS = 0.05
_REASON = 160
_TOOLS = ("torch", "onnx", "onnx2tf", "tensorflow", "ai-edge-quantizer", "ai-edge-litert", "opencv-python", "numpy")
_MEMORY = "largest sum of the resident memory of the process and all its children, polled every 50 ms"


@dataclass(frozen=True)
class Usage:
    """What a command cost.

    Attributes:
        seconds: Wall time from start to end of the process.
        peak_mb: Peak memory in MB (1e6 bytes); see `machine`.
    """

    seconds: float
    peak_mb: float


def measure(
    command: Sequence[str | Path],
    folder: Path | None = None,
    *,
    shared_once: bool = False,
    environment: Mapping[str, str] | None = None,
    limit: float | None = None,
) -> Usage:
    """Run a command to its end and measure it.

    Args:
        command: Program and arguments.
        folder: Its working directory; default the present one.
        shared_once: Count memory that processes share (code of libraries, above all) once, as the machine does, and not
            once for each of them.
        environment: Its variables; default ours.
        limit: Seconds after which it and its children are killed; None: never.

    Raises:
        EdgekitError: It failed, and its last lines are quoted, or it did not end in time.
    """
    # onnx2tf looks for the console script onnxsim, which lies beside the interpreter, and goes on without it.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    words = [str(word) for word in command]
    variables = environment if environment is not None else os.environ | {"PATH": path}
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        start = time.perf_counter()
        with subprocess.Popen(words, cwd=folder, env=variables, stdout=output, stderr=output) as process:
            peak = _Peak(process.pid, _proportional if shared_once else _resident)
            code = _end_of(process, limit)
        seconds = time.perf_counter() - start
        peak.stop()
        if code is None:
            raise EdgekitError(f"{' '.join(words)} must end within {limit:g} s, and was killed.")
        if code:
            output.seek(0)
            last = "\n".join(output.read().strip().splitlines()[-8:])
            raise EdgekitError(f"{' '.join(words)} must succeed, got exit code {code}:\n{last}")
    return Usage(seconds, peak.bytes / 1e6)


def _end_of(process: subprocess.Popen[bytes], limit: float | None) -> int | None:
    """Its exit code; None if it and its children had to be killed."""
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
        process.wait()
        return None


class _Peak:
    """Polls the memory of a process tree on a thread of its own; `bytes` is the largest sum seen."""

    def __init__(self, pid: int, memory: Callable[[psutil.Process], int]) -> None:
        self.bytes = 0
        self._memory = memory
        self._root = psutil.Process(pid)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End polling."""
        self._done.set()
        self._thread.join()

    def _poll(self) -> None:
        while not self._done.wait(_POLL_SECONDS):
            try:
                self.bytes = max(self.bytes, sum(map(self._memory, [self._root, *self._root.children(recursive=True)])))
            except psutil.NoSuchProcess:
                return


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _proportional(process: psutil.Process) -> int:
    """Each page divided by the number of processes that have it."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def shuffled(items: Sequence[_T], number: int) -> list[_T]:
    """The order of round `number`: by chance, so that none is always behind the same one, and the same in every run."""
    return random.Random(number).sample(items, len(items))


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are aligned to the right."""
    rule = ["---", *("---:" for _ in header[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, rule, *rows])


def short(error: Exception) -> str:
    """The end, where the reason is, in one line that fits into a table; without the command and a traceback's marks."""
    text = f"{error}".replace(f"{Path.cwd()}/", "")
    said = text.partition(":\n")[2] or text
    plain = "".join(letter for letter in said.replace("|", "/") if letter.isprintable() or letter.isspace())
    words = [word for word in plain.split() if word.strip("^~")]
    line = " ".join(words)
    if len(line) > _REASON:
        line = "…" + line[-_REASON:].partition(" ")[2]
    return line or type(error).__name__


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Of theirs to ours, of what took turns in the same rounds."""
    return [other / mine for mine, other in zip(ours, theirs, strict=True)]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Of the median, 95 % or more: from one order statistic to another (Conover, Practical Nonparametric Statistics).

    Fewer than six values do not allow that; then it is their range.
    """
    ordered = sorted(values)
    left_out = max(1, int(stats.binom.ppf(0.025, len(ordered), 0.5))) - 1
    return ordered[left_out], ordered[-1 - left_out]


def cannot(title: str, reason: str, empty: int) -> tuple[str, ...]:
    """A row that says why there are no figures, with so many empty cells after the reason."""
    return (title, f"cannot: {reason}", *[""] * empty)


def machine() -> dict[str, Any]:
    """The machine, what ran beside the benchmark, and the versions of the tools."""
    return {
        "processor": _processor(),
        "cores": available_cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.platform(),
        "load_average_at_start": [round(load, 2) for load in psutil.getloadavg()],
        "peak_memory_is": _MEMORY,
        "python": platform.python_version(),
        "tools": {"edgekit": __version__} | {name: metadata.version(name) for name in _TOOLS},
    }


def where() -> str:
    """The kind of machine: figures of one are none of another."""
    return f"{_processor()}, {available_cores()} cores"


def machine_line(name: str) -> str:
    """On how many images, if it says so, and on what machine results/NAME.json was measured."""
    found = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    images = f"{found['images']:,} images; " if "images" in found else ""
    facts = found.get("machine")
    return images + (f"{facts['cores']} cores, {' '.join(facts['processor'].split())}" if facts else "emulated")


def write_results(path: Path, content: Mapping[str, Any], table: str) -> None:
    """Write `path` (.json) and the table beside it (.md), and print the table."""
    write_whole(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    write_whole(path.with_suffix(".md"), table + "\n")
    sys.stdout.write(f"\n{table}\n\nWritten: {path}, {path.with_suffix('.md').name}\n")


def _processor() -> str:
    return read_cpu() or platform.machine()
