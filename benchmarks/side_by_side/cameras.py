"""Camera loops of other people beside edgekit's: the same network camera, the same network, one core each.

    PYTHONPATH=tests python -m benchmarks.side_by_side.cameras

A real MJPEG camera on the loopback (640×480, 30 fps) paints into every frame its number, which the loops read off the
frame that they answer for: so the age of an answer is measured from outside, with all that lies between. Four
conditions for each loop, in a process of its own, pinned to one core, with the camera on another:

- a light network: MobileNetV2 at 224, and a heavy one, the same at 1280, which is slower than the camera;
- the camera's connection is cut, and it is back after 3 s; the camera goes silent with the connection open for 40 s.

What a loop costs is the CPU time of its process per answer, decoding included; and the same less that of the bare
network, where that can be run by itself. Everyone in turns, in several rounds, of which medians are taken.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from support.streams import MjpegServer, jpeg

from benchmarks import seeded_model
from benchmarks.seeded_model import Made
from benchmarks.side_by_side import provenance
from benchmarks.side_by_side.environments import ENVIRONMENTS
from benchmarks.side_by_side.peers.loops import marks
from benchmarks.side_by_side.routes import peers_environment
from benchmarks.side_by_side.standings import CAMERA, EXAMPLE, PLAIN, beside
from benchmarks.support import RESULTS, cannot, markdown, short, shuffled, write_results
from edgekit import bundle
from edgekit.errors import EdgekitError, InputError
from edgekit.progress import console
from edgekit_quantize.mediapipe_file import for_mediapipe

HERE = Path(__file__).parent / "peers" / "loops"
FPS, LIGHT, HEAVY = 30.0, 224, 1280
# Seconds: to come up, to measure, of the faults, and until a loop is given up after one.
START, MEASURED, CUT, SILENT, PATIENCE = 30.0, 12.0, 3.0, 40.0, 20.0
ROUNDS = {"light": 6, "heavy": 3, "cut": 3, "silent": 2}
# Fewer answers than these tell nothing.
LEAST = 10
# The heavy network is slower than the camera if edgekit, which leaves out frames, answers no more of them than this.
OVERRUN = 0.8
# The first is the loops', the others are the camera's.
CORES = sorted(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Loop:
    """One of them; `file` chooses the form of the network that it takes."""

    title: str
    script: str
    environment: str = ""
    file: str = "int8"


LOOPS = (
    Loop(CAMERA, "edgekit_loop"),
    Loop(PLAIN, "plain"),
    Loop(EXAMPLE, "tensorflow_example"),
    Loop("MediaPipe live stream, the int8 network", "mediapipe_live", "mediapipe", "mediapipe"),
    Loop("OpenCV DNN sample, float ONNX", "opencv_dnn", "opencv", "onnx"),
)


class Camera(MjpegServer):
    """Paints numbers; `times` holds when each was sent."""

    def __init__(self) -> None:
        coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
        self._scene = cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC)
        self._lock, self.times = threading.Lock(), list[float]()
        super().__init__(self._next, FPS)

    def _next(self, _index: int) -> bytes:
        with self._lock:
            number = len(self.times)
            self.times.append(float("nan"))
        body = jpeg(marks.paint(self._scene, number))
        self.times[number] = time.monotonic()
        return body


@dataclass
class Watched:
    """A loop's process, and its lines as they come."""

    process: subprocess.Popen[str]
    bare: float | None = None
    answers: list[tuple[float, int, float]] = field(default_factory=list)

    def follow(self) -> None:
        """Read to the end."""
        assert self.process.stdout is not None
        first = self.process.stdout.readline().strip()
        self.bare = json.loads(first) if first else None
        for line in self.process.stdout:
            when, number, cpu = line.split()
            self.answers.append((float(when), int(number), float(cpu)))

    def wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Until it is so, the process ends, or time is up; is it so?"""
        end = time.monotonic() + seconds
        while not condition() and self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        return condition()


def run_loop(loop: Loop, task: dict[str, Any], folder: Path, watch: Callable[[Watched, Camera], Any]) -> Any:
    """Start it on a camera of its own, and let `watch` look at it."""
    with Camera() as camera, tempfile.TemporaryFile("w+") as log:
        path = folder / "task.json"
        path.write_text(json.dumps(task | {"url": camera.url()}))
        python = ENVIRONMENTS[loop.environment].python() if loop.environment else Path(sys.executable)
        words = [str(python), str(HERE / f"{loop.script}.py"), str(path)]
        with subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=peers_environment(words),
            preexec_fn=lambda: os.sched_setaffinity(0, CORES[:1]),
        ) as process:
            watched = Watched(process)
            reader = threading.Thread(target=watched.follow, daemon=True)
            reader.start()
            try:
                if not watched.wait(lambda: len(watched.answers) >= FPS, START):
                    log.seek(0)
                    raise EdgekitError(f"{loop.title} must answer, got: {log.read()[-400:]}")
                return watch(watched, camera)
            finally:
                process.kill()


def steady(watched: Watched, camera: Camera) -> dict[str, Any]:
    """Some seconds without faults."""
    begun = len(watched.answers)
    watched.wait(lambda: False, MEASURED)
    answers = watched.answers[begun:]
    if len(answers) < LEAST:
        raise EdgekitError(f"it must give {LEAST} answers in {MEASURED:g} s, got {len(answers)}")
    ages = [1e3 * (when - camera.times[number]) for when, number, _ in answers]
    cpu = 1e3 * (answers[-1][2] - answers[0][2]) / (len(answers) - 1)
    return {
        "answers_per_second": (len(answers) - 1) / (answers[-1][0] - answers[0][0]),
        "cpu_ms": cpu,
        "bare_ms": None if watched.bare is None else 1e3 * watched.bare,
        "age_p50_ms": statistics.median(ages),
        "age_p99_ms": float(np.percentile(ages, 99)),
        "age_last_ms": ages[-1],
    }


def cut(watched: Watched, camera: Camera) -> dict[str, Any]:
    """Unplugged, and plugged in again."""
    camera.kill()
    watched.wait(lambda: False, CUT)
    begun, known = time.monotonic(), len(watched.answers)
    camera.start()
    return _after(watched, begun, known)


def silent(watched: Watched, camera: Camera) -> dict[str, Any]:
    """No frame comes, and nothing says why."""
    camera.stalled.set()
    watched.wait(lambda: False, SILENT)
    begun, known = time.monotonic(), len(watched.answers)
    camera.stalled.clear()
    return _after(watched, begun, known)


def _after(watched: Watched, begun: float, known: int) -> dict[str, Any]:
    """Seconds until it answers again, or how it ended."""
    is_back = watched.wait(lambda: len(watched.answers) > known, PATIENCE)
    if is_back:
        return {"back": watched.answers[known][0] - begun}
    return {"exit_code": watched.process.poll()}


def measure_all(folder: Path, networks: dict[int, Made]) -> dict[str, Any]:
    """Every loop under every condition: its rounds by the condition's name, and reasons under "failed"."""
    found: dict[str, Any] = {loop.title: {"failed": {}} for loop in LOOPS}
    for name, side, watch in (
        ("light", LIGHT, steady),
        ("heavy", HEAVY, steady),
        ("cut", LIGHT, cut),
        ("silent", LIGHT, silent),
    ):
        for number in range(ROUNDS[name]):
            for loop in shuffled(LOOPS, number):
                row = found[loop.title]
                if name in row["failed"]:
                    continue
                console.print(f"{name}: {loop.title} …", markup=False)
                try:
                    outcome = run_loop(loop, _task(loop, networks[side], folder), folder, watch)
                except EdgekitError as error:
                    row["failed"][name] = short(error)
                else:
                    row.setdefault(name, []).append(outcome)
    return found


def check_overrun(answers_per_second: float) -> None:
    """Frames must have been left out, or the heavy network shows nothing.

    Raises:
        InputError: None were.
    """
    if answers_per_second > OVERRUN * FPS:
        raise InputError(
            f"The heavy network must be slower than the camera, got {answers_per_second:.1f} answers a second of "
            f"{FPS:g} frames.",
            "Make HEAVY larger.",
        )


def _task(loop: Loop, made: Made, folder: Path) -> dict[str, Any]:
    opened = bundle.read(made.tflite)
    files = {"int8": made.tflite, "onnx": made.onnx, "mediapipe": folder / f"task_{opened.card.input.height}.tflite"}
    if loop.file == "mediapipe":
        files["mediapipe"].write_bytes(for_mediapipe(opened))
    spec = opened.card.input
    facts = {"labels": list(opened.card.labels), "mean": list(spec.mean), "std": list(spec.std), "size": spec.height}
    return {"model": str(files[loop.file])} | facts


def with_medians(found: dict[str, Any]) -> dict[str, Any]:
    """Medians of each loop's rounds under "median_light" and "median_heavy", for conditions that it did not fail in."""
    medians: dict[str, Any] = {}
    for title, row in found.items():
        medians[title] = dict(row)
        for name in ("light", "heavy"):
            if name in row and name not in row["failed"]:
                medians[title][f"median_{name}"] = _medians(row[name])
    return medians


def _medians(rounds: list[dict[str, Any]]) -> dict[str, float | None]:
    median = {key: statistics.median(each[key] for each in rounds) for key in rounds[0] if key != "bare_ms"}
    alone = [beside(each) for each in rounds]
    known = [figure for figure in alone if figure is not None]
    return median | {"beside_ms": statistics.median(known) if len(known) == len(alone) else None}


def table(found: dict[str, Any]) -> str:
    """In Markdown; after `with_medians`."""
    header = (
        "loop",
        "CPU ms per answer",
        "without the network",
        "answers per s",
        "age of an answer p50, ms",
        "p99, ms",
        f"network slower than the camera: age p99 within {MEASURED:g} s, ms",
        "of the last one, ms",
        f"connection cut for {CUT:g} s",
        f"silent for {SILENT:g} s",
    )
    return markdown(header, [_line(title, row) for title, row in found.items()])


def _line(title: str, row: dict[str, Any]) -> tuple[str, ...]:
    light, heavy, failed = row.get("median_light"), row.get("median_heavy"), row["failed"]
    if light is None:
        return cannot(title, failed["light"], 8)
    beside = "–" if light["beside_ms"] is None else f"{light['beside_ms']:.2f}"
    slow = (
        (f"{heavy['age_p99_ms']:.0f}", f"{heavy['age_last_ms']:.0f}") if heavy else (f"cannot: {failed['heavy']}", "")
    )
    ages = (f"{light['age_p50_ms']:.0f}", f"{light['age_p99_ms']:.0f}", *slow)
    fates = (_fates(row[name]) if name in row else f"cannot: {failed[name]}" for name in ("cut", "silent"))
    return (title, f"{light['cpu_ms']:.2f}", beside, f"{light['answers_per_second']:.1f}", *ages, *fates)


def _fates(rounds: list[dict[str, Any]]) -> str:
    """In how many rounds what became of it; of the seconds the largest."""
    back = [fault["back"] for fault in rounds if "back" in fault]
    others = Counter(_fate(fault) for fault in rounds if "back" not in fault)
    counts = {f"answers again after {max(back):.1f} s": len(back)} if back else {}
    counts |= others
    return "; ".join(f"{text} ({count} of {len(rounds)})" for text, count in counts.items())


def _fate(fault: dict[str, Any]) -> str:
    if fault["exit_code"] is None:
        return f"hangs (no answer for {PATIENCE:g} s)"
    return f"ends, exit code {fault['exit_code']}"


@click.command()
def main() -> None:
    """Measure, and write benchmarks/results/side_by_side-cameras.json and .md."""
    began = provenance.facts() | {"fps": FPS, "seconds": MEASURED}
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
        folder = Path(scratch)
        networks = {side: seeded_model.make(folder, side) for side in (LIGHT, HEAVY)}
        os.sched_setaffinity(0, CORES[1:] or CORES)
        found = with_medians(measure_all(folder, networks))
    check_overrun(found[CAMERA].get("median_heavy", {}).get("answers_per_second", 0.0))
    write_results(RESULTS / "side_by_side-cameras.json", began | {"loops": found}, table(found))


if __name__ == "__main__":
    main()
