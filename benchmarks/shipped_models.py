"""The models that come with edgekit, from nothing: a teacher, three students, int8, and what each stage is worth.

    python -m benchmarks.shipped_models runs/shipped

Every step is a command that a user has, and is left out if its result is there: after an interruption the same line
goes on. The int8 files end in edgekit/shipped/, the records in benchmarks/results/training/, and the float networks in
benchmarks/shipped/, with weights in half precision: from these the int8 files are made and judged, and training the
students needs no hour for the teacher first. Delete one there to train it anew; all of them need hours on a CPU.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import cv2
import numpy as np

from benchmarks.cifar10_folders import write_folders
from benchmarks.support import EDGEKIT
from benchmarks.training import RUNS, keep_record
from edgekit import shipped
from edgekit.files import write_whole
from edgekit.train import checkpoint, cifar10

TEACHER = "teacher"
SHIPPED = Path(shipped.__file__).parent
FLOAT = Path(__file__).parent / "shipped"
# The teacher was trained with label smoothing: softened once more, its answers would say little.
DISTILL = ("--teacher", f"{TEACHER}.pt", "--temperature", "1", "--size", "96")
CALIBRATION = 2000


@dataclass(frozen=True)
class Model:
    """One of them: what its files are called, and how it is trained."""

    stem: str
    options: Sequence[str]
    recipe: str = "int8-qat"


MODELS = (
    Model("cifar10_mobilenet_v2_050", ("--width", "0.5", "--weights", f"{TEACHER}.pt")),
    Model("cifar10_mobilenet_v1_050", ("--arch", "mobilenet_v1", "--width", "0.5", "--weights", "none")),
    Model("cifar10_mobilenet_v2_035", ("--width", "0.35", "--weights", f"{TEACHER}.pt")),
)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def main(folder: Path) -> None:
    """Make what is not yet in FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    rates = ("--lr", "0.0005", "--head-lr", "0.002")
    _train(folder, TEACHER, ("--size", "96", "--epochs", "10", "--batch", "64", *rates))
    train_set, _ = cifar10.load()
    if not (folder / "calibration").exists():
        write_folders(cifar10.balanced_subset(train_set, CALIBRATION, 0), folder / "calibration")
    _draw(folder / "golden")
    for model in MODELS:
        _train(folder, model.stem, (*DISTILL, *model.options))
        _convert(folder, model)
        shutil.copyfile(folder / f"{model.stem}.tflite", SHIPPED / f"{model.stem}.tflite")
    _keep_reports(folder)


def _train(folder: Path, stem: str, options: Sequence[str]) -> None:
    target, kept = folder / f"{stem}.pt", FLOAT / f"{stem}.pt"
    if not kept.exists():
        trained = folder / "trained"
        trained.mkdir(exist_ok=True)
        resume = ("--resume",) if (trained / f"{stem}.last.pt").exists() else ()
        words = ("train", "cifar10", "--out", f"trained/{stem}.pt", *options, *resume)
        subprocess.run([*EDGEKIT, *words], cwd=folder, check=True)
        halve(trained / f"{stem}.pt", kept)
        keep_record(trained / f"{stem}.run.json")
    shutil.copyfile(kept, target)


def halve(trained: Path, kept: Path) -> None:
    """The same checkpoint with its weights in half precision; batch normalization stays as it is."""
    whole = checkpoint.load(trained)
    state = {name: value.half() if value.ndim > 1 else value for name, value in whole.state.items()}
    checkpoint.save(kept, replace(whole, state=state))


def _convert(folder: Path, model: Model) -> None:
    if not (folder / f"{model.stem}.tflite").exists():
        words = ("convert", f"{model.stem}.pt", "--calibration", "calibration", "--labelled", "--golden", "golden")
        more = ("--recipe", model.recipe, "--out", f"{model.stem}.tflite")
        subprocess.run([*EDGEKIT, *words, *more], cwd=folder, check=True)
    if not (folder / f"{model.stem}.json").exists():
        words = ("report", f"{model.stem}.tflite", "--reference", f"{model.stem}.pt", "--data", "cifar10", "--quick")
        subprocess.run([*EDGEKIT, *words, "--out", f"{model.stem}.html"], cwd=folder, check=True)


def _draw(folder: Path) -> None:
    """Golden samples of our own, since they travel with the file: a plane, a ship, a truck and a frog, as it were."""
    folder.mkdir(exist_ok=True)
    sky, sea, road, leaf = (235, 206, 135), (160, 110, 40), (120, 120, 120), (60, 140, 60)
    for number, ground in enumerate((sky, sea, road, leaf)):
        rows = np.linspace(1.0, 0.6, 60)[:, None, None]
        image = (np.full((60, 60, 3), ground) * rows).astype(np.uint8)
        if number == 0:
            cv2.ellipse(image, (30, 30), (24, 4), -10, 0, 360, (240, 240, 240), -1, cv2.LINE_AA)
            cv2.fillPoly(image, [np.array([[26, 30], [40, 12], [34, 30], [40, 46]])], (200, 200, 200), cv2.LINE_AA)
        elif number == 1:
            cv2.rectangle(image, (0, 0), (60, 24), sky, -1)
            cv2.fillPoly(image, [np.array([[6, 30], [54, 30], [46, 42], [14, 42]])], (40, 40, 160), cv2.LINE_AA)
            cv2.rectangle(image, (22, 18), (38, 30), (245, 245, 245), -1)
        elif number == 2:
            cv2.rectangle(image, (6, 16), (38, 42), (50, 60, 190), -1)
            cv2.rectangle(image, (38, 24), (54, 42), (60, 160, 220), -1)
            for x in (16, 46):
                cv2.circle(image, (x, 44), 5, (20, 20, 20), -1, cv2.LINE_AA)
        else:
            cv2.ellipse(image, (30, 36), (16, 11), 0, 0, 360, (40, 180, 90), -1, cv2.LINE_AA)
            for x in (22, 38):
                cv2.circle(image, (x, 25), 5, (230, 250, 230), -1, cv2.LINE_AA)
                cv2.circle(image, (x, 25), 2, (10, 10, 10), -1, cv2.LINE_AA)
        cv2.imwrite(str(folder / f"{number}.png"), image)


def _keep_reports(folder: Path) -> None:
    """What each int8 file is worth, beside the record of its training."""
    for model in MODELS:
        found = json.loads((folder / f"{model.stem}.json").read_text(encoding="utf-8"))
        reference, judged = (next(s for s in found["stages"] if s["role"] == role) for role in ("reference", "model"))
        size = (folder / f"{model.stem}.tflite").stat().st_size
        kept = {"recipe": model.recipe, "bytes": size, "float": reference, "int8": judged}
        write_whole(RUNS / f"{model.stem}.report.json", json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
