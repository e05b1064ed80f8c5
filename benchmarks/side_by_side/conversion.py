"""Accuracy, size, time and memory of every route from a float network to int8.

    python -m benchmarks.side_by_side.conversion --name cifar10 --source model.pt

What is made is kept in .peers/compared/NAME/made, and made anew if anything changes that it depends on. Where a peer
cannot do it, the row says why.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.side_by_side import provenance
from benchmarks.side_by_side.environments import InstallError
from benchmarks.side_by_side.inputs import Inputs, prepare
from benchmarks.side_by_side.routes import FLOAT, INT8, OURS, Route, peers_environment
from benchmarks.support import RESULTS, Usage, cannot, markdown, measure, short, shuffled, write_results
from edgekit.bundle import METADATA_MARK
from edgekit.errors import InputError
from edgekit.progress import console
from edgekit.quant import sqnr_db
from edgekit_quantize.graph import Graph
from edgekit_quantize.report.statistics import paired_counts, paired_drop, wilson
from edgekit_quantize.source import ForeignOptions

WORK = Path(".peers/compared")
# Of one command.
LIMIT_SECONDS = 45 * 60.0
# In which the ways from PyTorch to an int8 .tflite take turns, after a first one that is not counted.
ROUNDS = 3
TFLITE = ".tflite"
# How often a float file must answer as the float network does, on so many images, or it is another network. Half
# precision changes some answers.
SAME_FLOAT, FLOAT_IMAGES = 95.0, 200
# An int8 file whose logits are nearer to the float network's was not quantized. Eight bits alone give 50 dB at best.
LARGEST_SQNR_DB = 60.0


def triple(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[float, ...] | None:
    """Three numbers."""
    return tuple(map(float, text.split(","))) if text else None


@click.command()
@click.option("--name", required=True, help="Of the network, in the results.")
@click.option("--source", required=True, help="A checkpoint, mobilenet_v2:imagenet, or an .onnx with a .pt2 beside it.")
@click.option("--mean", callback=triple, help="Of an .onnx, as for edgekit convert.")
@click.option("--std", callback=triple, help="Likewise.")
@click.option("--crop", type=float, help="Likewise.")
@click.option("--calibration", default="cifar10", show_default=True, help="Folder of images.")
@click.option("--evaluation", default="cifar10", show_default=True, help="Labelled images, as for quantization.py.")
@click.option("--only", help="Routes whose title has this in it, to try them.")
def main(name: str, source: str, calibration: str, evaluation: str, only: str | None, **foreign: Any) -> None:
    """Convert, judge, and write benchmarks/results/side_by_side-conversion-NAME.json and .md."""
    began, folder = provenance.facts(), (WORK / name).resolve()
    inputs = prepare(
        source, ForeignOptions(foreign["mean"], foreign["std"], foreign["crop"]), calibration, evaluation, folder
    )
    (folder / "made").mkdir(exist_ok=True)
    chosen = [route for route in INT8 if not only or only in route.title]
    rows = {route.title: judged(route, inputs) for route in chosen}
    if not source.endswith(".onnx"):
        _time_in_turns([route for route in chosen if route.suffix == TFLITE], folder, rows)
    beside_ours(rows, inputs)
    floats = {route.title: float_file(route, inputs) for route in FLOAT if not only or only in route.title}
    if only:
        sys.stdout.write(f"{table(name, rows)}\n{floats}\nNot written: the results are of all routes, in one run.\n")
        return
    top1 = wilson(int(np.sum(inputs.logits.argmax(1) == inputs.targets)), len(inputs.targets))
    content = began | {
        "network": name,
        "images": len(inputs.targets),
        "calibration_images": len(list((folder / "photos").iterdir())),
        "inputs": inputs.mark,
        "float_top1": asdict(top1),
        "rows": rows,
        "float_files": floats,
    }
    write_results(RESULTS / f"side_by_side-conversion-{name}.json", content, table(name, rows))


def judged(route: Route, inputs: Inputs) -> dict[str, Any]:
    """What a route's file is worth, or why there is none."""
    return _or_why_not(lambda: _judged(route, inputs), route.title)


def _judged(route: Route, inputs: Inputs) -> dict[str, Any]:
    usage = made(route, inputs)
    answers = answers_of(route, inputs, len(inputs.targets))
    was, now = inputs.logits.argmax(1) == inputs.targets, answers.argmax(1) == inputs.targets
    same = wilson(int(np.sum(answers.argmax(1) == inputs.logits.argmax(1))), len(answers))
    target, noise = route.target(inputs.folder), float(sqnr_db(inputs.logits, answers))
    if noise > LARGEST_SQNR_DB:
        raise InputError(f"its file must be quantized, got the float network's answers (SQNR {noise:.0f} dB).")
    return {
        "drop": asdict(paired_drop(paired_counts(was, now))),
        "same": asdict(same),
        "sqnr_db": noise,
        "bytes": size_of(target),
        **usage,
        "int8": is_int8(target),
        "verified": "yes" if route.is_edgekit else "no",
        "carries": carries(target),
    }


def float_file(route: Route, inputs: Inputs) -> dict[str, Any]:
    """How often a float file answers as the float network, or why there is none."""

    def checked() -> dict[str, Any]:
        made(route, inputs)
        answers = answers_of(route, inputs, FLOAT_IMAGES)
        same = 100.0 * float(np.mean(answers.argmax(1) == inputs.logits[: len(answers)].argmax(1)))
        if same < SAME_FLOAT:
            raise InputError(
                f"its float file must answer as the float network, got {same:.1f} % of {len(answers)} images."
            )
        return {"same": same}

    return _or_why_not(checked, route.title)


def _or_why_not(work: Callable[[], dict[str, Any]], title: str) -> dict[str, Any]:
    console.print(f"{title} …", markup=False)
    try:
        return work()
    except InstallError:
        raise
    # One peer's fault, whatever it is, must not cost the hours of the others.
    except Exception as error:
        return {"failed": short(error)}


def made(route: Route, inputs: Inputs) -> dict[str, Any]:
    """What making the file took; it is not made again if it is there."""
    target, kept = route.target(inputs.folder), inputs.folder / "made" / f"{route.slug}.json"
    mark = route.mark(inputs.mark)
    known = json.loads(kept.read_text()) if kept.exists() and target.exists() else {}
    if known.get("mark") != mark:
        for path in target.parent.glob(f"{route.slug}.*"):
            if path.is_file():
                path.unlink()
        usage = _run(route.convert(inputs.folder, target), route)
        known = asdict(usage) | {"mark": mark}
        kept.write_text(json.dumps(known))
    return {"seconds": known["seconds"], "peak_mb": known["peak_mb"]}


def answers_of(route: Route, inputs: Inputs, count: int) -> NDArray[np.float32]:
    """(count, classes) logits; kept beside the file."""
    logits = inputs.folder / "made" / f"{route.slug}.{count}.npy"
    if not logits.exists():
        words = route.answers(inputs.folder, logits, count)
        measure(words, environment=peers_environment(words), limit=LIMIT_SECONDS)
    found: NDArray[np.float32] = np.load(logits)
    return found


def _run(words: list[str | Path], route: Route) -> Usage:
    return measure(words, environment=None if route.is_edgekit else peers_environment(words), limit=LIMIT_SECONDS)


def _time_in_turns(routes: list[Route], folder: Path, rows: dict[str, dict[str, Any]]) -> None:
    """The seconds of those that can be compared, from PyTorch on; their first conversion has warmed the disk."""
    able = [route for route in routes if "failed" not in rows[route.title]]
    seconds: dict[str, list[float]] = {route.title: [] for route in able}
    for number in range(ROUNDS):
        for route in shuffled(able, number):
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                commands = route.from_pytorch(folder, Path(scratch) / f"again{route.suffix}")
                seconds[route.title].append(sum(_run(words, route).seconds for words in commands))
    for title, values in seconds.items():
        rows[title] |= {"seconds": statistics.median(values), "rounds": values}


def beside_ours(rows: dict[str, dict[str, Any]], inputs: Inputs) -> None:
    """Put into each row by how many points fewer of its answers than of edgekit's are the float network's."""
    reference = inputs.logits.argmax(1)
    right = {
        route.title: answers_of(route, inputs, len(reference)).argmax(1) == reference
        for route in INT8
        if "failed" not in rows.get(route.title, {"failed": ""})
    }
    if OURS in right:
        for title, theirs in right.items():
            rows[title]["behind_edgekit"] = asdict(paired_drop(paired_counts(right[OURS], theirs)))


def size_of(target: Path) -> int:
    """Bytes of all that the runtime must be given."""
    if target.suffix == ".xml":
        return target.stat().st_size + target.with_suffix(".bin").stat().st_size
    if target.suffix == ".ncnn":
        return sum(Path(f"{target.read_text()}.{part}").stat().st_size for part in ("param", "bin"))
    return target.stat().st_size


def is_int8(target: Path) -> str:
    """Are input, output and all between integers?"""
    if target.suffix != TFLITE:
        # Their runtimes are given floats, and quantize in the graph.
        return "no: float input, output"
    floats = Graph(target.read_bytes()).float_operators()
    return f"no: {', '.join(sorted(floats))}" if floats else "yes"


def carries(target: Path) -> str:
    """Does it say how images are prepared and what classes are called, by TFLite Metadata? Others have no standard."""
    return "yes" if target.suffix == TFLITE and METADATA_MARK in target.read_bytes() else "no"


HEADER = (
    "drop, points",
    "same top-1",
    "SQNR dB",
    "MB",
    "s",
    "peak MB",
    "all int8",
    "verified",
    "labels, preprocessing",
)


def table(name: str, rows: dict[str, dict[str, Any]]) -> str:
    """In Markdown."""
    return markdown((name, *HEADER), [_line(title, row) for title, row in rows.items()])


def _line(title: str, row: dict[str, Any]) -> tuple[str, ...]:
    if "failed" in row:
        return cannot(title, row["failed"], len(HEADER) - 1)
    drop, same = row["drop"], row["same"]
    return (
        title,
        f"{drop['value']:.2f} ({drop['low']:.2f} … {drop['high']:.2f})",
        f"{same['value']:.1f} % ({same['low']:.1f} … {same['high']:.1f})",
        f"{row['sqnr_db']:.1f}",
        f"{row['bytes'] / 1e6:.2f}",
        f"{row['seconds']:.0f}{'*' if 'rounds' in row else ''}",
        f"{row['peak_mb']:.0f}",
        row["int8"],
        row["verified"],
        row["carries"],
    )


if __name__ == "__main__":
    main()
