"""Speed-up by processes, and memory, of the comparison behind `edgekit report`, on generated photos of 224×224.

    python benchmarks/report_scale.py --model model.tflite --reference float.tflite --images 1000 --images 50000

Every run is a process of its own; runs with one process and with more take turns, and the fastest of each counts, since
other programs can only make it slower. CPU time shows what the division of the work costs, whatever else runs. Peak
memory is the sum over all processes.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
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
        rows = [_measured(model, reference, photos, count, workers, whole) for count, workers in turns]
    best = {(row["images"], row["processes"]): row for row in sorted(rows, key=lambda row: -row["seconds"])}
    content = {"machine": machine(), "reference": Path(reference).name, "all_stages": whole, "runs": rows}
    table = [
        (
            f"{n:,}",
            str(p),
            f"{row['seconds']:.1f}",
            f"{n / row['seconds']:.0f}",
            f"{best[n, 1]['seconds'] / row['seconds']:.2f}×" if (n, 1) in best else "",
            f"{min(r['cpu_seconds'] for r in rows if (r['images'], r['processes']) == (n, p)):.1f}",
            f"{max(r['peak_mb'] for r in rows if (r['images'], r['processes']) == (n, p)):.0f}",
        )
        for (n, p), row in sorted(best.items())
    ]
    header = ("images", "processes", "s", "images/s", "speed-up", "CPU s, all processes", "peak MB, all processes")
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


def _measured(model: Path, reference: str, photos: Path, count: int, processes: int, whole: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
        target = Path(scratch) / "seconds.json"
        words = [str(model), reference, str(photos), str(count), str(processes), str(whole), target]
        usage = measure([sys.executable, "-m", "benchmarks.report_scale", "child", *words])
        times = json.loads(target.read_text())
    return {"images": count, "processes": processes, **times, "peak_mb": usage.peak_mb}


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
