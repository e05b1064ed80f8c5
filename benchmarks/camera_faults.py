"""What `edgekit camera` does when something fails: each fault is planted in a running process, and watched.

    PYTHONPATH=tests python -m benchmarks.camera_faults            (or: make bench-faults)

Every row is a process of its own with real files, a real server on the loopback, and a tiny model; only what this
machine may lack (a USB camera, a clock to be set) is replaced, see benchmarks/faults/entry.py. A fault is survived if

- the process neither crashes nor ends otherwise than it should;
- nothing takes more than 5 s: to tell of the fault, to give answers again once it is over, one answer to the next where
  they are to go on, the end after SIGTERM;
- the counts are exact: captured = inferred + dropped, one line of JSON for each inferred frame, each frame once;
- a line in the log says what is wrong, where there is something to say.

Exit code 1 if one is not. What needs a program or right that is missing is told and left out, and is no pass.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from support import tiny_model
from support.clips import colour_pictures, write_clip
from support.mosquitto import SEARCH

from benchmarks.faults import sources, surroundings
from benchmarks.faults.run import MOST_SECONDS, Outcome
from benchmarks.support import RESULTS, machine, markdown, write_results
from edgekit.errors import EdgekitError, GateError
from edgekit.progress import console

MOST_LETTERS = 110
RTSP_TEST = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"


@dataclass(frozen=True)
class Row:
    """One fault; `outcome` if it was survived, `problem` if not, `missing` if it could not be planted here."""

    fault: str
    outcome: Outcome | None = None
    problem: str = ""
    missing: str = ""


@click.command()
@click.option("--only", default="", help="Faults whose name holds this.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "camera_faults.json")
def main(only: str, out: Path) -> None:
    """Plant every fault and write what became of it."""
    facts = machine()
    # A display would be found by the windows that these rows are not about.
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        os.environ.pop(name, None)
    cases = [case for case in (*sources.CASES, *surroundings.CASES) if only in case[0]]
    missing = _missing()
    rows = [plant_one(fault, missing.get(need, ""), plant) for fault, need, plant in cases]
    write_results(
        out, {"machine": facts, "most_seconds": MOST_SECONDS, "rows": [asdict(row) for row in rows]}, table(rows)
    )
    if failed := [row.fault for row in rows if row.problem]:
        raise GateError(f"Every fault must be survived, got {len(failed)} that were not: {'; '.join(failed)}.")


def table(rows: list[Row]) -> str:
    """The rows in Markdown."""
    header = [
        "fault",
        "what the log says",
        "told after, s",
        "answers again after, s",
        "longest pause, s",
        "end after, s",
    ]
    return markdown([*header, "captured = inferred + dropped", "exit code"], [_cells(row) for row in rows])


def _cells(row: Row) -> list[str]:
    if row.outcome is None:
        return [row.fault, f"**FAILED**: {row.problem}" if row.problem else f"not run: {row.missing}", *[""] * 6]
    outcome = row.outcome
    seconds = [
        "–" if value is None else f"{value:.1f}" for value in (outcome.told, outcome.back, outcome.pause, outcome.end)
    ]
    counts = "–" if outcome.counts is None else "{} = {} + {}".format(*outcome.counts)
    return [row.fault, outcome.line or "(nothing to say: it goes on)", *seconds, counts, str(outcome.exit_code)]


def plant_one(fault: str, missing: str, plant: Callable[[Path], Outcome]) -> Row:
    """Plant a fault in a folder of its own, unless something is missing for it."""
    if missing:
        console.print(f"{fault}: not run: {missing}", markup=False)
        return Row(fault, missing=missing)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="edgekit-faults-", ignore_cleanup_errors=True) as name:
        folder = furnish(Path(name))
        try:
            outcome = plant(folder)
            row = Row(fault, Outcome(**asdict(outcome) | {"line": _tidy(outcome.line, name)}))
        except (EdgekitError, AssertionError, OSError) as error:  # of the watching too: it was not seen to survive
            row = Row(fault, problem=_tidy(str(error), name, 400))
    console.print(f"{fault}: {row.problem or 'survived'} ({time.monotonic() - start:.0f} s)", markup=False)
    return row


def furnish(folder: Path) -> Path:
    """A tiny model and films in a folder."""
    colours = [tiny_model.BGR[name] for name in tiny_model.COLOURS]
    (folder / "model.tflite").write_bytes(tiny_model.sealed())
    for suffix in (".mp4", ".avi"):
        write_clip(folder / f"clip{suffix}", colour_pictures(colours, 20), fps=30.0)
    write_clip(folder / "long.mp4", colour_pictures(colours * 30, 10), fps=25.0)
    return folder


def _tidy(line: str, folder: str, most: int = MOST_LETTERS) -> str:
    """A line for the table: what differs from run to run is taken out, and what would end its cell."""
    line = re.sub(r"(127\.0\.0\.1):\d+", r"\1:…", line.replace(f"{folder}/", ""))
    line = " ".join(line.replace("|", "/").split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _missing() -> dict[str, str]:
    """Needs that this machine does not fulfil, with what to do about it."""
    probe = [sources.SYSTEM_PYTHON, "-c", RTSP_TEST]
    has_rtsp = Path(probe[0]).exists() and subprocess.run(probe, capture_output=True, check=False).returncode == 0
    has_broker = shutil.which("mosquitto", path=SEARCH)
    packages = "gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly"
    return {
        **({} if has_rtsp else {sources.RTSP: f"apt-get install {packages}"}),
        **({} if has_broker else {surroundings.MOSQUITTO: "apt-get install mosquitto"}),
        **({} if shutil.which("chromium") else {surroundings.CHROMIUM: "apt-get install chromium"}),
        **({} if os.geteuid() == 0 else {surroundings.ROOT: "needs root, to mount a small disk"}),
    }


if __name__ == "__main__":
    try:
        main()
    except EdgekitError as error:
        console.print(str(error), markup=False)
        sys.exit(error.exit_code)
