"""Memory of `edgekit train` on folders of different sizes: what the process holds itself, mapped files apart.

    python -m benchmarks.training_memory --images 2000 --images 100000

Prepared images are mapped from the cache's disk. Their pages count as resident, and go whenever the system wants them;
what the process cannot give back is its anonymous memory (RssAnon of /proc/PID/status, polled every 50 ms).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import cv2
import numpy as np

from benchmarks.support import EDGEKIT, RESULTS, machine, markdown, write_results
from edgekit.progress import tracked

CLASSES, SIDE = 10, 48


@click.command()
@click.option("--images", multiple=True, type=int, default=(2000, 100_000), show_default=True)
@click.option("--name", default="training_memory", show_default=True)
def main(images: tuple[int, ...], name: str) -> None:
    """Measure, and write benchmarks/results/NAME.json and .md."""
    runs = []
    for count in images:
        with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
            _write(Path(scratch) / "photos", count)
            runs.append({"images": count} | _measured(Path(scratch)))
    rows = [
        (f"{run['images']:,}", f"{run['anonymous_mb']:.0f}", f"{run['resident_mb']:.0f}", f"{run['seconds']:.0f}")
        for run in runs
    ]
    header = ("images in the folder", "peak anonymous MB", "peak resident MB", "s")
    write_results(RESULTS / f"{name}.json", {"machine": machine(), "runs": runs}, markdown(header, rows))


def _write(folder: Path, count: int) -> None:
    random = np.random.default_rng(0)
    for split, number in (("train", count), ("val", count // 10)):
        for kind in range(CLASSES):
            (folder / split / f"class{kind}").mkdir(parents=True)
        for index in tracked(f"Writing {split}", range(number), number):
            small = random.integers(0, 256, (6, 6, 3), np.uint8)
            image = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(folder / split / f"class{index % CLASSES}" / f"{index:06}.jpg"), image)


def _measured(scratch: Path) -> dict[str, float]:
    words = ["train", str(scratch / "photos"), "--out", str(scratch / "m.pt"), "--weights", "none", "--width", "0.25"]
    more = ["--size", "32", "--epochs", "1", "--batch", "128"]
    environment = os.environ | {"EDGEKIT_CACHE": str(scratch / "cache")}
    started, peaks = time.perf_counter(), {"RssAnon": 0, "VmRSS": 0}
    with subprocess.Popen([*EDGEKIT, *words, *more], env=environment, stdout=sys.stderr) as process:
        while process.poll() is None:
            for line in _status(process.pid):
                key, _, value = line.partition(":")
                if key in peaks:
                    peaks[key] = max(peaks[key], int(value.split()[0]))
            time.sleep(0.05)
    if process.returncode:
        raise click.ClickException(f"Training must succeed, got exit code {process.returncode}.")
    seconds = time.perf_counter() - started
    return {"anonymous_mb": peaks["RssAnon"] / 1e3, "resident_mb": peaks["VmRSS"] / 1e3, "seconds": seconds}


def _status(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return []


if __name__ == "__main__":
    main()
