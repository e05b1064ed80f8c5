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
from collections.abc import Sequence
from pathlib import Path

import click
from support.virtual_pi import CORES, ROOT, missing, userland

from benchmarks import seeded_model
from benchmarks.pi.marker import EMPTY, FRAME, INVOKE, PREPARE
from benchmarks.support import RESULTS, markdown, write_results
from edgekit.errors import EdgekitError, GateError, MissingError
from edgekit.progress import tracked

HERE = Path(__file__).parent / "pi"
# Runtimes take kernels by the core's name in /proc/cpuinfo (XNNPACK) or its MIDR_EL1 in /sys (oneDNN). Under qemu's
# user emulation these are this machine's, unless the folder of the emulated file system has them. In a mount namespace
# of its own, so that nothing stays mounted.
BIND = 'mount --bind "$1/proc" "$2/proc" && mount --bind "$1/sys" "$2/sys" && shift 2 && exec "$@"'
MIDR = Path("devices/system/cpu/cpu0/regs/identification/midr_el1")
NAMES = {INVOKE: "invoke", PREPARE: "prepare", FRAME: "frame"}
# A change that costs more fails.
TOLERANCE = 1.01


@click.command()
@click.option("--model", type=click.Path(path_type=Path, exists=True), help="Instead of the one with seeded weights.")
@click.option("--check", is_flag=True, help="Write nothing; fail where it costs 1 % more than the results say.")
def main(model: Path | None, check: bool) -> None:
    """Count, and write benchmarks/results/pi_instructions.json and .md."""
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
        folder = Path(scratch)
        plugin = compiled_plugin(folder)
        judged = model or seeded_model.make(folder).tflite
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
    paths = [ROOT, ROOT / "deploy", "/opt/litert/lib/python3.11/site-packages"]
    figures, said = run_counted(core, plugin, [HERE / "frame.py", model.resolve()], paths)
    if not said.endswith("xnnpack"):
        raise EdgekitError(f"The frame on {core} must run on XNNPACK, got: {said}")
    return figures


def run_counted(
    core: str,
    plugin: Path,
    words: Sequence[str | Path],
    paths: Sequence[str | Path],
    libraries: Path | None = None,
) -> tuple[dict[str, int], str]:
    """Run a Python script of benchmarks/pi/ on an emulated core.

    Args:
        core: Of CORES.
        plugin: count.c, compiled.
        words: The script and its arguments.
        paths: Where it finds modules.
        libraries: Where the loader finds more shared libraries.

    Returns:
        Instructions by name, of what it marked: medians, without the marking itself; and what it printed.

    Raises:
        EdgekitError: It failed.
    """
    root = userland()
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
        out = Path(scratch) / "counts"
        _tell_core(root, core, Path(scratch))
        inside = {"PYTHONPATH": ":".join(map(str, paths)), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        if libraries:
            inside["LD_LIBRARY_PATH"] = str(libraries)
        command = ["unshare", "--mount", "--fork", "--kill-child", "sh", "-c", BIND]
        command += ["sh", scratch, str(root)]
        command += ["qemu-aarch64", "-L", str(root), "-plugin", f"file={plugin},out={out}"]
        command += [word for key, value in inside.items() for word in ("-E", f"{key}={value}")]
        command += [str(root / "usr" / "bin" / "python3.11"), *map(str, words)]
        environment = {"PATH": os.environ["PATH"], "QEMU_CPU": core}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise EdgekitError(f"The frame on {core} must be counted, got:\n{done.stdout}{done.stderr[-1500:]}")
        marks = [tuple(map(int, line.split())) for line in out.read_text().splitlines()]
    spans: dict[int, list[int]] = {}
    for (tag, start), (_, end) in zip(marks[::2], marks[1::2], strict=True):
        spans.setdefault(tag, []).append(end - start)
    medians = {tag: int(statistics.median(values)) for tag, values in spans.items()}
    found = {name: medians[tag] - medians[EMPTY] for tag, name in NAMES.items() if tag in medians}
    return found, done.stdout.strip()


def _tell_core(root: Path, core: str, folder: Path) -> None:
    """Make FOLDER/proc and FOLDER/sys, with what a program finds there out about the core."""
    (folder / "proc").mkdir()
    cpuinfo = (root / "etc" / f"cpuinfo-{core}").read_text(encoding="utf-8")
    (folder / "proc" / "cpuinfo").write_text(cpuinfo)
    shutil.copytree(root / "sys", folder / "sys")
    (folder / "sys" / MIDR).parent.mkdir(parents=True)
    (folder / "sys" / MIDR).write_text(f"{midr(cpuinfo):#018x}\n")


def midr(cpuinfo: str) -> int:
    """MIDR_EL1 of the first core in a /proc/cpuinfo; its fields are those of the Arm Architecture Reference Manual."""
    lines = [line.partition(":") for line in cpuinfo.partition("\n\n")[0].splitlines()]
    known = {name.strip(): value.strip() for name, _, value in lines}
    implementer, variant, part, revision = (
        int(known[f"CPU {name}"], 0) for name in ("implementer", "variant", "part", "revision")
    )
    # 0xF: the architecture is told by other registers.
    return implementer << 24 | variant << 20 | 0xF << 16 | part << 4 | revision


def compiled_plugin(folder: Path) -> Path:
    """count.c in `folder`, as qemu loads it.

    Raises:
        MissingError: What emulation or compiling needs is not installed.
    """
    if complaint := missing():
        raise MissingError(complaint)
    if shutil.which("qemu-aarch64") is None or shutil.which("cc") is None:
        raise MissingError("Counting needs qemu-aarch64 and cc.", "Run: sudo apt-get install qemu-user gcc libc6-dev")
    plugin = folder / "count.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", plugin, HERE / "count.c"], check=True)
    return plugin


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


if __name__ == "__main__":
    try:
        main()
    except EdgekitError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
