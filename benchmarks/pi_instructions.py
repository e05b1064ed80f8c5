"""What a frame costs on a Raspberry Pi's cores, in instructions: deterministic, hence a gate on regressions.

    PYTHONPATH=tests python -m benchmarks.pi_instructions [--check]

MobileNetV2 1.0 at 224, int8, with seeded weights: what it costs does not depend on their values. On an emulated core,
with one thread, a plugin counts the instructions of the network alone (`invoke`) and of a whole frame: 640×480 BGR to
the five best classes, through the camera's own path. Emulated milliseconds would mean nothing and are not shown.

Needs the virtual Pi (tests/support/virtual_pi.py), qemu-user (its dynamic build, which takes plugins) and a C compiler.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import cv2
import numpy as np
import torch
from support.virtual_pi import CORES, ROOT, missing, userland

from benchmarks.pi.frame import EMPTY, FRAME, INVOKE, PREPARE
from benchmarks.support import RESULTS, markdown, write_results
from edgekit.card import Architecture, InputSpec
from edgekit.cli import run
from edgekit.errors import EdgekitError, GateError, MissingError
from edgekit.models import create
from edgekit.progress import tracked
from edgekit.train import checkpoint

HERE = Path(__file__).parent / "pi"
NAMES = {INVOKE: "invoke", PREPARE: "prepare", FRAME: "frame"}
# A change that costs more fails.
TOLERANCE = 1.01
SIDE, PHOTOS, CLASSES = 224, 32, 1000


@click.command()
@click.option("--model", type=click.Path(path_type=Path, exists=True), help="Instead of the one with seeded weights.")
@click.option("--check", is_flag=True, help="Write nothing; fail where it costs 1 % more than the results say.")
def main(model: Path | None, check: bool) -> None:
    """Count, and write benchmarks/results/pi_instructions.json and .md."""
    if complaint := missing():
        raise MissingError(complaint)
    if shutil.which("qemu-aarch64") is None or shutil.which("cc") is None:
        raise MissingError("Counting needs qemu-aarch64 and cc.", "Run: sudo apt-get install qemu-user gcc libc6-dev")
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
        folder = Path(scratch)
        judged = model or _made_model(folder)
        plugin = folder / "count.so"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", plugin, HERE / "count.c"], check=True)
        counted = {core: count(core, judged, plugin) for core in tracked("Counting", CORES, len(CORES), unit="cores")}
        again = count(CORES[1], judged, plugin)
    spread = max(abs(again[name] / counted[CORES[1]][name] - 1.0) for name in again)
    rows = [_line(core, figures) for core, figures in counted.items()]
    header = ("core", "network, M", "input, M", "whole frame, M", "whole frame by network")
    text = markdown(header, rows)
    print(text, f"\nA second run differs by {100.0 * spread:.4f} %.")
    if check:
        compare(counted, json.loads((RESULTS / "pi_instructions.json").read_text())["instructions"])
        return
    content = {"model": judged.name, "instructions": counted, "spread_percent": 100.0 * spread}
    write_results(RESULTS / "pi_instructions.json", content, text)


def count(core: str, model: Path, plugin: Path) -> dict[str, int]:
    """Instructions of each kind of work on a core: medians, without the marking itself."""
    root = userland()
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
        out = Path(scratch) / "counts"
        paths = [str(ROOT), str(ROOT / "deploy"), "/opt/litert/lib/python3.11/site-packages"]
        inside = {"PYTHONPATH": ":".join(paths), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        command = ["qemu-aarch64", "-L", str(root), "-plugin", f"file={plugin},out={out}"]
        command += [word for key, value in inside.items() for word in ("-E", f"{key}={value}")]
        command += [str(root / "usr" / "bin" / "python3.11"), str(HERE / "frame.py"), str(model.resolve())]
        environment = {"PATH": os.environ["PATH"], "QEMU_CPU": core}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode or not done.stdout.strip().endswith("xnnpack"):
            raise EdgekitError(f"The frame on {core} must run on XNNPACK, got:\n{done.stdout}{done.stderr[-1500:]}")
        marks = [tuple(map(int, line.split())) for line in out.read_text().splitlines()]
    spans: dict[int, list[int]] = {}
    for (tag, start), (_, end) in zip(marks[::2], marks[1::2], strict=True):
        spans.setdefault(tag, []).append(end - start)
    medians = {tag: int(statistics.median(values)) for tag, values in spans.items()}
    return {name: medians[tag] - medians[EMPTY] for tag, name in NAMES.items()}


def compare(counted: dict[str, dict[str, int]], before: dict[str, dict[str, int]]) -> None:
    """Hold the counts against those of the results.

    Raises:
        GateError: One is more than 1 % larger.
    """
    worse = [
        f"{name} on {core}: {before[core][name] / 1e6:.2f} → {value / 1e6:.2f} M"
        for core, figures in counted.items()
        for name, value in figures.items()
        if value > TOLERANCE * before[core][name]
    ]
    if worse:
        remedy = "If it is worth it: make bench-pi, and commit the new results."
        raise GateError(f"A frame must cost at most 1 % more instructions than before, got {'; '.join(worse)}.", remedy)


def _line(core: str, figures: dict[str, int]) -> tuple[str, ...]:
    millions = [f"{figures[name] / 1e6:.2f}" for name in NAMES.values()]
    return (core, *millions, f"{figures['frame'] / figures['invoke']:.4f}")


def _made_model(folder: Path) -> Path:
    """MobileNetV2 1.0 with seeded weights, converted by `edgekit convert`."""
    random = np.random.default_rng(0)
    photos = folder / "photos"
    photos.mkdir()
    for number in range(PHOTOS):
        coarse = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        cv2.imwrite(str(photos / f"{number}.png"), cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC))
    torch.manual_seed(0)
    network = create("mobilenet_v2", classes=CLASSES)
    # Batch normalization as after training: without, the signal dies away, and no int8 can hold it.
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(8, 3, SIDE, SIDE) * 2.0 - 1.0)
    labels = tuple(f"class {number}" for number in range(CLASSES))
    made = checkpoint.Checkpoint(
        Architecture("mobilenet_v2", 1.0), InputSpec(SIDE, SIDE), labels, network.eval().state_dict()
    )
    checkpoint.save(folder / "seeded.pt", made)
    target = folder / "mobilenet_v2_224.tflite"
    words = ["convert", folder / "seeded.pt", "--calibration", photos, "--recipe", "int8-minmax", "--out", target]
    if run([str(word) for word in words]):
        raise EdgekitError("The model must be converted; see above.")
    return target


if __name__ == "__main__":
    try:
        main()
    except EdgekitError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
