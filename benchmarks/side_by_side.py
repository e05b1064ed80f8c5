"""Edgekit beside what a user would pick instead: the same float network, the same images.

    python -m benchmarks.side_by_side conversion --name cifar10 --source model.pt
    python -m benchmarks.side_by_side inference --name cifar10
    PYTHONPATH=tests python -m benchmarks.pi_peers --name cifar10
    PYTHONPATH=tests python -m benchmarks.camera_loops
    python -m benchmarks.side_by_side_page

Each peer has an environment of its own (`benchmarks/peers/environments.py`), and its own script in benchmarks/peers/.
Files are kept in --work; what is there is not made again. Where a peer cannot do it, the row says why.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.inputs import Inputs, prepare
from benchmarks.peers.routes import FLOAT, INT8, Route
from benchmarks.support import RESULTS, machine, markdown, measure, write_results
from edgekit.errors import EdgekitError
from edgekit.progress import console
from edgekit.quant import sqnr_db
from edgekit_quantize.report.statistics import paired_counts, paired_drop, wilson
from edgekit_quantize.source import ForeignOptions

WORK = Path(".peers/work")
REASON = 160


def triple(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[float, ...] | None:
    """Three numbers."""
    return tuple(map(float, text.split(","))) if text else None


@click.group()
def main() -> None:
    """Compare."""


@main.command()
@click.option("--name", required=True, help="Of the network, in the results.")
@click.option("--source", required=True, help="A checkpoint, mobilenet_v2:imagenet, or an .onnx with a .pt2 beside it.")
@click.option("--mean", callback=triple, help="Of an .onnx, as for edgekit convert.")
@click.option("--std", callback=triple, help="Likewise.")
@click.option("--crop", type=float, help="Likewise.")
@click.option("--calibration", default="cifar10", show_default=True, help="Folder of images.")
@click.option("--evaluation", default="cifar10", show_default=True, help="Labelled images, as for quantization.py.")
@click.option("--only", help="Routes whose title has this in it, to try them.")
def conversion(name: str, source: str, calibration: str, evaluation: str, only: str | None, **foreign: Any) -> None:
    """Accuracy, size, time and memory of every route to int8."""
    options = ForeignOptions(foreign["mean"], foreign["std"], foreign["crop"])
    inputs = prepare(source, options, calibration, evaluation, (WORK / name).resolve())
    rows = {route.title: judged(route, inputs) for route in INT8 if not only or only in route.title}
    top1 = wilson(int(np.sum(inputs.logits.argmax(1) == inputs.targets)), len(inputs.targets))
    facts = {"machine": machine(), "network": name, "images": len(inputs.targets), "float_top1": asdict(top1)}
    header = (name, "drop, points", "same top-1", "SQNR dB", "MB", "s", "peak MB", "all int8", "labels, preprocessing")
    lines = [_line(title, row) for title, row in rows.items()]
    if only:
        sys.stdout.write(f"{markdown(header, lines)}\n\nNot written: the results are of all routes, in one run.\n")
        return
    write_results(RESULTS / f"side_by_side-conversion-{name}.json", facts | {"rows": rows}, markdown(header, lines))


def judged(route: Route, inputs: Inputs) -> dict[str, Any]:
    """What a route's file is worth, or why there is none."""
    console.print(f"{route.title} …", markup=False)
    target, kept = route.target(inputs.folder), inputs.folder / f"{route.slug}.json"
    logits = inputs.folder / f"{route.slug}.logits.npy"
    try:
        if not (target.exists() and kept.exists()):
            usage = measure(route.convert(inputs.folder))
            kept.write_text(json.dumps(asdict(usage)))
        if not logits.exists():
            measure(route.answers(inputs.folder, logits))
    except EdgekitError as error:
        return {"failed": " ".join(str(error).split())[-REASON:]}
    answers = np.load(logits)
    return {
        **_scores(answers, inputs),
        "bytes": size_of(target),
        **json.loads(kept.read_text()),
        "int8": is_int8(target),
        "carries": route.carries,
    }


def _scores(answers: NDArray[np.float32], inputs: Inputs) -> dict[str, Any]:
    was, now = inputs.logits.argmax(1) == inputs.targets, answers.argmax(1) == inputs.targets
    drop = paired_drop(paired_counts(was, now))
    same = wilson(int(np.sum(answers.argmax(1) == inputs.logits.argmax(1))), len(answers))
    return {"drop": asdict(drop), "same": asdict(same), "sqnr_db": float(sqnr_db(inputs.logits, answers))}


def size_of(target: Path) -> int:
    """Bytes of all that the runtime must be given."""
    if target.suffix == ".xml":
        return target.stat().st_size + target.with_suffix(".bin").stat().st_size
    if target.suffix == ".ncnn":
        return sum(Path(f"{target.read_text()}.{part}").stat().st_size for part in ("param", "bin"))
    return target.stat().st_size


def is_int8(target: Path) -> str:
    """Of a TFLite file: are its input, output and all between integers?"""
    if target.suffix != ".tflite":
        return "–"
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(str(target)).get_tensor_details()
    floats = sum(np.issubdtype(tensor["dtype"], np.floating) for tensor in details)
    return "yes" if not floats else f"no, {floats} float tensors"


def _line(title: str, row: dict[str, Any]) -> tuple[str, ...]:
    if "failed" in row:
        return (title, f"cannot: {row['failed'].replace('|', '/')}", *[""] * 7)
    drop, same = row["drop"], row["same"]
    return (
        title,
        f"{drop['value']:.2f}",
        f"{same['value']:.1f} %",
        f"{row['sqnr_db']:.1f}",
        f"{row['bytes'] / 1e6:.2f}",
        f"{row['seconds']:.0f}",
        f"{row['peak_mb']:.0f}",
        row["int8"],
        row["carries"],
    )


@main.command()
@click.option("--name", required=True, help="As for conversion, which comes first.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=2.0, show_default=True, help="Of each in each round.")
def inference(name: str, rounds: int, seconds: float) -> None:
    """Milliseconds of one image on this machine, with one thread and two; everyone takes turns."""
    folder = (WORK / name).resolve()
    routes = [route for route in (*INT8, *FLOAT) if _is_there(route, folder)]
    rows = []
    for threads in (1, 2):
        medians: dict[str, list[float]] = {route.title: [] for route in routes}
        for _ in range(rounds):
            for route in routes:
                words = [str(word) for word in route.time(folder, threads, seconds)]
                done = subprocess.run(words, capture_output=True, text=True)
                if not done.returncode:
                    medians[route.title].append(1e3 * statistics.median(json.loads(done.stdout.splitlines()[-1])))
        rows.append({"threads": threads, "ms": medians})
    write_results(
        RESULTS / f"side_by_side-inference-{name}.json", {"machine": machine(), "rows": rows}, _times(name, rows)
    )


def _is_there(route: Route, folder: Path) -> bool:
    if route in FLOAT and not route.target(folder).exists():
        try:
            measure(route.convert(folder))
        except EdgekitError as error:
            console.print(f"{route.title}: {error}", markup=False)
    return route.target(folder).exists()


def _times(name: str, rows: list[dict[str, Any]]) -> str:
    """Medians over the rounds, and their ratio to edgekit's in the same rounds."""
    lines = []
    for title in rows[0]["ms"]:
        cells = [title]
        for row in rows:
            mine, other = row["ms"]["edgekit int8"], row["ms"][title]
            ratios = [second / first for first, second in zip(mine, other, strict=False)]
            cells += [f"{statistics.median(other):.2f}", f"{statistics.median(ratios):.2f}"] if other else ["–", "–"]
        lines.append(tuple(cells))
    return markdown((name, "1 thread, ms", "ratio", "2 threads, ms", "ratio"), lines)


if __name__ == "__main__":
    main()
