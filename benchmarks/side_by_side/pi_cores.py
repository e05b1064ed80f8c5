"""Other runtimes on a Raspberry Pi's cores, in instructions: the network alone, and a whole frame.

    PYTHONPATH=tests python -m benchmarks.side_by_side.pi_cores --name mobilenet_v2-imagenet       (after conversion)

Every peer that has an aarch64 wheel, one file of each kind; one thread, float preparation as everyone writes it around
the peers, edgekit's own path around its file. The network's input is in the file's own form; where a runtime copies it,
that counts. Instructions are what emulation can tell: kernels that use wider or slower ones differ in milliseconds by
more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
from support.virtual_pi import CORES, ROOT, pip_options, unpack

from benchmarks import pi_instructions
from benchmarks.pi_instructions import compiled_plugin, run_counted
from benchmarks.side_by_side import provenance
from benchmarks.side_by_side.conversion import WORK
from benchmarks.side_by_side.environments import ENVIRONMENTS, FOLDER, NoSuchPackageError, pip_error
from benchmarks.side_by_side.routes import FLOAT, INT8, OURS, PEERS, QUICK, Route, digest, edgekit_sources
from benchmarks.support import RESULTS, markdown, short, write_results
from edgekit import bundle
from edgekit.errors import EdgekitError
from edgekit.progress import tracked
from edgekit_quantize.mediapipe_file import for_mediapipe

DEVICE = "/opt/litert/lib/python3.11/site-packages"
MEDIAPIPE = "MediaPipe Tasks, edgekit's file"
# Not counted: the same operators as another route of the same peer, with other numbers in them.
ALIKE = (
    QUICK,
    "TFLiteConverter",
    "ONNX Runtime QDQ, entropy",
    "ONNX Runtime QDQ, percentile",
    "NNCF/OpenVINO, accurate bias correction",
)


@dataclass(frozen=True)
class Wheels:
    """What a peer needs on the device beside numpy and OpenCV; with versions, and without what it does not import.

    Attributes:
        requirements: For pip.
        constraints: Of what they depend on; None: they are all.
    """

    requirements: tuple[str, ...]
    constraints: Path | None = None

    def folder(self) -> Path:
        """Where they are, unpacked.

        Raises:
            NoSuchPackageError: There is none for aarch64; pip's last line is quoted.
            InstallError: pip could not install it.
        """
        pins = self.constraints.read_text(encoding="utf-8") if self.constraints else ""
        target = FOLDER.resolve() / "aarch64" / digest([repr(self.requirements), pins])[:12]
        if target.exists() or not self.requirements:
            return target
        pip = [sys.executable, "-m", "pip", "install", "--quiet", *pip_options()]
        pip += ["--constraint", str(self.constraints)] if self.constraints else ["--no-deps"]
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as unfinished:
            words = [*pip, "--target", f"{unfinished}/made", *self.requirements]
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                raise pip_error(done.stderr)
            Path(unfinished, "made").rename(target)
        return target


# By the script that runs the file there. 2.9.0 is torch's last aarch64 wheel that runs on the A53 and A72 (2.10.0 ends
# with an illegal instruction, later ones want CUDA besides), and 1.0.0 the ExecuTorch that goes with it.
TORCH = ("torch==2.9.0", "filelock==3.19.1", "typing_extensions==4.15.0", "sympy==1.14.0", "mpmath==1.3.0")
TORCH += ("networkx==3.5", "jinja2==3.1.6", "markupsafe==3.0.2", "fsspec==2025.9.0")
# What ExecuTorch's Python runtime imports besides.
EXIR = ("pyyaml==6.0.3", "ruamel.yaml==0.18.15", "tabulate==0.9.0", "flatbuffers==25.9.23", "packaging==25.0")
WHEELS = {
    "litert": Wheels(()),
    "onnxruntime_qdq": Wheels(("onnxruntime==1.32.0", "flatbuffers==25.9.23", "packaging==25.0", "protobuf==6.33.0")),
    "openvino_ptq": Wheels(("openvino==2026.4.1", "openvino-telemetry==2025.2.0")),
    "ncnn_routes": Wheels(("ncnn==1.0.20261020", "tqdm==4.67.1", "requests==2.32.5", "portalocker==3.2.0")),
    "pytorch": Wheels(TORCH),
    MEDIAPIPE: Wheels(("mediapipe==1.2.3",), ENVIRONMENTS["mediapipe"].lock),
    "executorch_xnnpack": Wheels(("executorch==1.0.0", *EXIR, *TORCH)),
}


@click.command()
@click.option("--name", required=True, help="As for conversion, which comes first.")
@click.option("--only", default="", help="Peers whose title has this in it, to try them.")
def main(name: str, only: str) -> None:
    """Count, and write benchmarks/results/side_by_side-pi_cores-NAME.json and .md."""
    began, work = provenance.facts(), (WORK / name).resolve()
    converted = json.loads((RESULTS / f"side_by_side-conversion-{name}.json").read_text(encoding="utf-8"))
    known = converted["rows"] | converted["float_files"]
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
        plugin = compiled_plugin(Path(scratch))
        counts: dict[str, Callable[[str], dict[str, int]]] = {
            route.title: partial(_count, route, work, plugin, known[route.title].get("failed"))
            for route in (*INT8, *FLOAT)
            if only in route.title and route.title not in ALIKE
        }
        if only in MEDIAPIPE:
            counts[MEDIAPIPE] = partial(_count_mediapipe, work, plugin)
        # Before they are wanted by several at once; one that cannot be had is told in its row.
        for wheels in WHEELS.values():
            with suppress(NoSuchPackageError):
                wheels.folder()

        def on_all_cores(title: str) -> dict[str, Any]:
            return {core: _kept(work, title, core, converted["inputs"], counts[title]) for core in CORES}

        # Counts are the same whatever else the machine does.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            rows = tracked("Counting", pool.map(on_all_cores, counts), len(counts), unit="peers")
            found = dict(zip(counts, rows, strict=True))
    if only:
        sys.stdout.write(f"{table(name, found)}\n\nNot written: the results are of all peers.\n")
        return
    content = began | {
        "network": name,
        "inputs": converted["inputs"],
        "wheels": {script: wheels.requirements for script, wheels in WHEELS.items()},
        "not_counted": ALIKE,
        "instructions": found,
    }
    write_results(RESULTS / f"side_by_side-pi_cores-{name}.json", content, table(name, found))


def _kept(work: Path, title: str, core: str, inputs: str, count: Callable[[str], dict[str, int]]) -> dict[str, Any]:
    """Counted once: emulation takes minutes for each. A peer's fault, whatever it is, does not end the others."""
    scripts = [path.read_text(encoding="utf-8") for path in (*pi_instructions.HERE.glob("*.py"), *PEERS.glob("*.py"))]
    key = digest([inputs, title, core, repr(WHEELS), edgekit_sources(), *sorted(scripts)])[:16]
    path = work / "counted" / f"{key}.json"
    if path.exists():
        known: dict[str, Any] = json.loads(path.read_text())
        return known
    try:
        found: dict[str, Any] = dict(count(core))
    except Exception as error:
        return {"failed": short(error)}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found))
    return found


def _count(route: Route, work: Path, plugin: Path, failed: str | None, core: str) -> dict[str, int]:
    if failed is not None:
        raise EdgekitError(failed)
    if route.script == "pytorch" and route.variant != "eager":
        raise EdgekitError("it compiles for this core with a C++ compiler, which our emulated Pi has not")
    if route.title == OURS:
        return pi_instructions.count(core, route.target(work), plugin)
    script = "litert" if route.suffix == ".tflite" else route.script
    words = [pi_instructions.HERE / "peer_frame.py", script, work, route.target(work), route.variant]
    paths = [WHEELS[script].folder(), PEERS, ROOT, DEVICE]
    return run_counted(core, plugin, words, paths)[0]


def _count_mediapipe(work: Path, plugin: Path, core: str) -> dict[str, int]:
    """It needs libraries for graphics, which it does not use here."""
    task, graphics = work / "made" / "mediapipe.task", FOLDER.resolve() / "aarch64" / "graphics"
    (ours,) = (route for route in INT8 if route.title == OURS)
    task.write_bytes(for_mediapipe(bundle.read(ours.target(work))))
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
    return (title, *(cell for core in CORES for cell in _cells(row[core], ours.get(core, {}))))


def _cells(counted: dict[str, Any], ours: dict[str, Any]) -> tuple[str, str]:
    if "failed" in counted:
        return f"cannot: {counted['failed']}", ""
    invoke, frame = (_cell(counted.get(what), ours.get(what)) for what in ("invoke", "frame"))
    return invoke, frame


def _cell(count: int | None, ours: int | None) -> str:
    if count is None:
        return "–"
    return f"{count / 1e6:.1f}" + (f" ({count / ours:.2f})" if ours else "")


if __name__ == "__main__":
    main()
