"""Speed-up by processes, and memory, of the comparison behind `edgekit report`, on generated photos of 224×224.

    python benchmarks/report_scale.py --model model.tflite --reference float.tflite --images 1000 --images 50000

Every run is a process of its own; runs with one process and with more take turns, and the fastest of each counts, since
other programs can only make it slower. What the machine itself allows is measured beside it: as many comparisons of one
process, independent of each other, at the same time. Peak memory is the sum over all processes of a comparison; pages
that they share are counted once (PSS).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np

from benchmarks.support import RESULTS, machine, markdown, measure, write_results
from edgekit import bundle
from edgekit.progress import tracked
from edgekit.runtime import available_cores

_SIDE = 224
_CLASSES = 10


@click.group(invoke_without_command=True)
@click.option("--model", type=click.Path(path_type=Path, exists=True), help="An int8 model of 224×224.")
@click.option("--reference", help="As for edgekit report.")
@click.option("--images", multiple=True, type=int, default=(1000, 10000), show_default=True)
@click.option("--processes", multiple=True, type=int, help="[default: 1, 2, 4, ... up to the cores there are]")
@click.option("--repeats", default=2, show_default=True)
@click.option("--whole/--files-only", default=False, help="ONNX, float TFLite and builtin kernels too.")
@click.option("--folder", type=click.Path(path_type=Path), help="Keep the generated photos here.")
@click.option("--name", default="report_scale", show_default=True, help="Of the results.")
@click.pass_context
def main(
    context: click.Context,
    model: Path | None,
    reference: str | None,
    images: tuple[int, ...],
    processes: tuple[int, ...],
    repeats: int,
    whole: bool,
    folder: Path | None,
    name: str,
) -> None:
    """Measure, and write benchmarks/results/NAME.json and .md."""
    if context.invoked_subcommand:
        return
    if model is None or reference is None:
        raise click.UsageError("--model and --reference must be given.")
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
        photos = folder or Path(scratch)
        _make_photos(photos, max(images), bundle.read(model).card.labels)
        turns = [(n, p) for n in images for _ in range(repeats) for p in processes or _counts()]
        words = (str(model), reference, str(photos), str(whole))
        rows = [_measured(words, count, workers) | _side_by_side(words, count, workers) for count, workers in turns]
    best = {(row["images"], row["processes"]): row for row in sorted(rows, key=lambda row: -row["seconds"])}
    content = {"machine": machine(), "reference": Path(reference).name, "all_stages": whole, "runs": rows}
    table = [_line(best, rows, n, p) for n, p in sorted(best)]
    header = ("images", "processes", "s", "images/s", "speed-up", "independent", "CPU s", "peak MB")
    write_results(RESULTS / f"{name}.json", content, markdown(header, table))


@main.command(hidden=True)
@click.argument("model")
@click.argument("reference")
@click.argument("photos")
@click.argument("count", type=int)
@click.argument("processes", type=int)
@click.argument("whole", type=bool)
@click.argument("target", type=click.Path(path_type=Path))
def child(model: str, reference: str, photos: str, count: int, processes: int, whole: bool, target: Path) -> None:
    """One run; its seconds go to TARGET."""
    import time

    from edgekit_quantize.report.compare import compare
    from edgekit_quantize.report.data import open_images
    from edgekit_quantize.report.reference import open_reference

    network = bundle.read(model)
    float32, images = open_reference(reference), open_images(photos, network.card.labels)
    chosen = images.subset(np.arange(count))
    start = time.perf_counter()
    compare(
        network,
        float32,
        chosen,
        stages=whole,
        builtin=whole,
        measure_cost=False,
        layers=False,
        processes=processes,
        cache=target.parent / "cache",
    )
    seconds, used = time.perf_counter() - start, os.times()
    cpu = used.user + used.system + used.children_user + used.children_system
    target.write_text(json.dumps({"seconds": seconds, "cpu_seconds": cpu}))


def _counts() -> list[int]:
    """1, 2, 4, ... up to the cores there are."""
    cores = available_cores()
    return [2**power for power in range(cores.bit_length()) if 2**power <= cores]


def _measured(words: tuple[str, ...], count: int, processes: int) -> dict[str, Any]:
    """One comparison of `count` images; `words` are the model, the reference, the photos and whether it is whole."""
    model, reference, photos, whole = words
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
        target = Path(scratch) / "seconds.json"
        child = [model, reference, photos, str(count), str(processes), whole, target]
        usage = measure([sys.executable, "-m", "benchmarks.report_scale", "child", *child], shared_once=True)
        times = json.loads(target.read_text())
    return {"images": count, "processes": processes, **times, "peak_mb": usage.peak_mb}


def _side_by_side(words: tuple[str, ...], count: int, copies: int) -> dict[str, Any]:
    """Seconds of the slowest of so many independent comparisons of one process, started together."""
    if copies == 1:
        return {}
    with ThreadPoolExecutor(copies) as pool:
        done = list(pool.map(lambda _: _measured(words, count, 1), range(copies)))
    return {"independent_seconds": max(row["seconds"] for row in done)}


def _line(best: dict[tuple[int, int], dict[str, Any]], rows: list[dict[str, Any]], n: int, p: int) -> tuple[str, ...]:
    """A line of the table: the fastest of its runs, and what so many independent comparisons got done in their time."""
    same = [row for row in rows if (row["images"], row["processes"]) == (n, p)]
    seconds, alone = best[n, p]["seconds"], best.get((n, 1), {}).get("seconds")
    copies = min((row["independent_seconds"] for row in same if "independent_seconds" in row), default=None)
    return (
        f"{n:,}",
        str(p),
        f"{seconds:.1f}",
        f"{n / seconds:.0f}",
        f"{alone / seconds:.2f}×" if alone else "",
        f"{p * alone / copies:.2f}×" if alone and copies else "",
        f"{min(row['cpu_seconds'] for row in same):.1f}",
        f"{max(row['peak_mb'] for row in same):.0f}",
    )


def _make_photos(folder: Path, count: int, labels: tuple[str, ...]) -> None:
    """`count` JPEGs, evenly over ten classes; those that are there already stay."""
    classes = [label for label in labels if labels.count(label) == 1 and "/" not in label][:_CLASSES]
    for number in tracked("Making photos", range(count), count):
        path = folder / classes[number % len(classes)] / f"{number:06}.jpg"
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(number)
        coarse = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
        noise = random.integers(0, 32, (_SIDE, _SIDE, 3), dtype=np.uint8)
        cv2.imwrite(str(path), cv2.add(smooth, noise))


if __name__ == "__main__":
    main()
