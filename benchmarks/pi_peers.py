"""Other runtimes on a Raspberry Pi's cores, in instructions: the network alone, and a whole frame.

    PYTHONPATH=tests python -m benchmarks.pi_peers --name mobilenet_v2-imagenet

Takes the files that `benchmarks.side_by_side conversion --name` left in its work folder, and every peer that has an
aarch64 wheel; one thread, float preparation as everyone writes it around the peers, edgekit's own path around its file.
Instructions are what emulation can tell: kernels that use wider or slower ones differ in milliseconds by more.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
from support.virtual_pi import CORES, ROOT, pip_options, unpack

from benchmarks import pi_instructions
from benchmarks.peers.environments import FOLDER
from benchmarks.peers.routes import FLOAT, INT8, Route
from benchmarks.pi_instructions import compiled_plugin, run_counted
from benchmarks.side_by_side import WORK
from benchmarks.support import RESULTS, markdown, write_results
from edgekit import bundle
from edgekit.errors import EdgekitError
from edgekit.progress import tracked
from edgekit_quantize.mediapipe_file import for_mediapipe

PEERS = Path(__file__).parent / "peers"
DEVICE = "/opt/litert/lib/python3.11/site-packages"
OURS, MEDIAPIPE = "edgekit int8", "MediaPipe Tasks, edgekit int8"


@dataclass(frozen=True)
class Wheels:
    """What a peer needs on the device beside numpy and OpenCV; with versions, and without what it does not import.

    Attributes:
        requirements: For pip.
        has_all: These are all; else pip adds what they depend on.
    """

    requirements: tuple[str, ...]
    has_all: bool = True

    def folder(self) -> Path:
        """Where they are, unpacked.

        Raises:
            EdgekitError: There is none for aarch64; pip's last line is quoted.
        """
        key = hashlib.sha256(repr(self.requirements).encode()).hexdigest()[:12]
        target = FOLDER.resolve() / "aarch64" / key
        if target.exists() or not self.requirements:
            return target
        pip = [sys.executable, "-m", "pip", "install", "--quiet", *pip_options()]
        pip += ["--no-deps"] if self.has_all else []
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as unfinished:
            words = [*pip, "--target", f"{unfinished}/made", *self.requirements]
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
                raise EdgekitError(f"pip: {(lines or ['failed'])[-1]}")
            Path(unfinished, "made").rename(target)
        return target


# By the script that runs the file there. The aarch64 wheels of torch 2.13 and 2.14 want CUDA, 2.8.0's does not.
TORCH = ("torch==2.8.0", "filelock==3.19.1", "typing_extensions==4.15.0", "sympy==1.14.0", "mpmath==1.3.0")
TORCH += ("networkx==3.5", "jinja2==3.1.6", "markupsafe==3.0.2", "fsspec==2025.9.0")
WHEELS = {
    "litert": Wheels(()),
    "onnxruntime_qdq": Wheels(("onnxruntime==1.32.0", "flatbuffers==25.9.23", "packaging==25.0", "protobuf==6.33.0")),
    "openvino_ptq": Wheels(("openvino==2026.4.1", "openvino-telemetry==2025.2.0")),
    "ncnn_float": Wheels(("ncnn==1.0.20261020", "tqdm==4.67.1", "requests==2.32.5", "portalocker==3.2.0")),
    "pytorch_eager": Wheels(TORCH),
    MEDIAPIPE: Wheels(("mediapipe==1.2.3",), has_all=False),
    "executorch_xnnpack": Wheels(("executorch==1.5.1", "pyyaml==6.0.3", "ruamel.yaml==0.18.15", *TORCH)),
}


@click.command()
@click.option("--name", required=True, help="As for side_by_side conversion, which comes first.")
@click.option("--only", default="", help="Peers whose title has this in it, to try them.")
def main(name: str, only: str) -> None:
    """Count, and write benchmarks/results/pi_peers-NAME.json and .md."""
    work = (WORK / name).resolve()
    routes = [route for route in (*INT8, *FLOAT) if only in route.title and route.target(work).exists()]
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
        plugin = compiled_plugin(Path(scratch))
        counted: dict[str, Callable[[str], dict[str, int]]] = {
            route.title: partial(_count, route, work, plugin) for route in routes
        }
        if only in MEDIAPIPE and (work / "edgekit-int8.tflite").exists():
            counted[MEDIAPIPE] = partial(_count_mediapipe, work, plugin)
        found = {
            title: _on_all_cores(count)
            for title, count in tracked("Counting", counted.items(), len(counted), unit="peers")
        }
    if only:
        sys.stdout.write(f"{table(name, found)}\n\nNot written: the results are of all peers.\n")
        return
    write_results(RESULTS / f"pi_peers-{name}.json", {"network": name, "instructions": found}, table(name, found))


def _on_all_cores(count: Callable[[str], dict[str, int]]) -> dict[str, Any]:
    """By core; or why not."""
    try:
        return {core: count(core) for core in CORES}
    except EdgekitError as error:
        return {"failed": " ".join(str(error).split())[-200:]}


def _count(route: Route, work: Path, plugin: Path, core: str) -> dict[str, int]:
    if route.title == OURS:
        return pi_instructions.count(core, route.target(work), plugin)
    script = "litert" if route.suffix == ".tflite" else route.script
    words = [pi_instructions.HERE / "peer_frame.py", script, work, route.target(work)]
    paths = [WHEELS[script].folder(), PEERS, ROOT, DEVICE]
    return run_counted(core, plugin, words, paths)[0]


def _count_mediapipe(work: Path, plugin: Path, core: str) -> dict[str, int]:
    """It needs libraries for graphics, which it does not use here."""
    task, graphics = work / "mediapipe.tflite", FOLDER.resolve() / "aarch64" / "graphics"
    if not task.exists():
        task.write_bytes(for_mediapipe(bundle.read(work / "edgekit-int8.tflite")))
    if not graphics.exists():
        unpack(graphics, ("libegl1", "libgles2"))
    words = [pi_instructions.HERE / "mediapipe_frame.py", task]
    paths = [WHEELS[MEDIAPIPE].folder(), DEVICE]
    return run_counted(core, plugin, words, paths, graphics / "usr" / "lib" / "aarch64-linux-gnu")[0]


def table(name: str, found: dict[str, Any]) -> str:
    """Millions of instructions, and ratios to edgekit's."""
    header = (name, *(f"{core[7:].upper()} {what}, M (ratio)" for core in CORES for what in ("network", "frame")))
    return markdown(header, [_line(title, row, found.get(OURS, {})) for title, row in found.items()])


def _line(title: str, row: dict[str, Any], ours: dict[str, Any]) -> tuple[str, ...]:
    if "failed" in row:
        return (title, f"cannot: {row['failed'].replace('|', '/')}", *[""] * (2 * len(CORES) - 1))
    cells = [title]
    for core in CORES:
        for what in ("invoke", "frame"):
            if what not in row[core]:
                cells.append("–")
                continue
            ratio = f" ({row[core][what] / ours[core][what]:.2f})" if core in ours else ""
            cells.append(f"{row[core][what] / 1e6:.1f}{ratio}")
    return tuple(cells)


if __name__ == "__main__":
    main()
