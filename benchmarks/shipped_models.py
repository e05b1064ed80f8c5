"""The models that come with edgekit, from nothing: a teacher, three students, int8, and what each stage is worth.

    python -m benchmarks.shipped_models runs/shipped

Every step is a command that a user has, and is left out if its result is there: after an interruption the same line
goes on. The int8 files end in edgekit/shipped/, the records in benchmarks/results/training/, and the float networks in
benchmarks/shipped/, with weights in half precision: from these the int8 files are made and judged, and training the
students needs no hour for the teacher first. To train one anew delete it there and in the folder; each needs hours on a
CPU.
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

from benchmarks import imagenet_v1
from benchmarks.cifar10_folders import write_folders
from benchmarks.support import EDGEKIT
from benchmarks.training import RUNS, keep_record
from edgekit import bundle, shipped
from edgekit.files import sha256, write_whole
from edgekit.train import checkpoint, cifar10

TEACHER, IMAGENET_V1 = "teacher", "imagenet_v1"
SHIPPED = Path(shipped.__file__).parent
FLOAT = Path(__file__).parent / "shipped"
TAUGHT = ("--teacher", f"{TEACHER}.pt")
CALIBRATION = 2000
RECIPE = "int8-qat"


@dataclass(frozen=True)
class Training:
    """A network on the way.

    Attributes:
        stem: What its files are called.
        options: Of `edgekit train cifar10`.
        start: The stem of the network that its weights are taken from, or "".
        is_shipped: It is one of the models, not a step towards one.
    """

    stem: str
    options: Sequence[str]
    start: str = ""
    is_shipped: bool = False


FINE = ("--lr", "0.001", "--head-lr", "0.001")
V1 = ("--arch", "mobilenet_v1")


def _narrowed(stem: str, width: str, start: str, *more: str) -> Training:
    """A step: few channels fewer, a short repair at low resolution."""
    return Training(stem, (*TAUGHT, "--width", width, "--size", "64", "--epochs", "1", *FINE, *more), start)


def _taught(stem: str, options: Sequence[str], start: str) -> Training:
    return Training(stem, (*TAUGHT, "--size", "96", *options), start)


def _model(stem: str, options: Sequence[str], start: str) -> Training:
    """The last of a chain. Those of width 0.5 had one more cycle of rates, which gave more than one did."""
    return replace(_taught(f"cifar10_{stem}", options, start), is_shipped=True)


TRAININGS = {
    training.stem: training
    for training in (
        Training(TEACHER, ("--size", "96", "--epochs", "10", "--batch", "64", "--lr", "0.0005", "--head-lr", "0.002")),
        _narrowed("narrow_085", "0.85", TEACHER),
        _narrowed("narrow_070", "0.7", "narrow_085"),
        _narrowed("narrow_060", "0.6", "narrow_070"),
        _narrowed("narrow_050", "0.5", "narrow_060", "--epochs", "2"),
        _taught("settled_050", ("--width", "0.5", "--epochs", "3", *FINE), "narrow_050"),
        _taught("first_v2_050", ("--width", "0.5", "--epochs", "20", *FINE), "settled_050"),
        _model("mobilenet_v2_050", ("--width", "0.5", "--epochs", "24", "--mixup", "0.3", *FINE), "first_v2_050"),
        _narrowed("narrow_042", "0.42", "first_v2_050"),
        _model("mobilenet_v2_035", ("--width", "0.35", "--epochs", "20", *FINE), "narrow_042"),
        _narrowed("narrow_v1_080", "0.8", IMAGENET_V1, *V1),
        _narrowed("narrow_v1_065", "0.65", "narrow_v1_080", *V1),
        _narrowed("narrow_v1_050", "0.5", "narrow_v1_065", *V1),
        _taught("first_v1_050", (*V1, "--width", "0.5", "--epochs", "16", *FINE), "narrow_v1_050"),
        _model("mobilenet_v1_050", (*V1, "--width", "0.5", "--epochs", "24", *FINE), "first_v1_050"),
    )
}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--only", default="", help="Models whose name has this in it.")
def main(folder: Path, only: str) -> None:
    """Make what is not yet in FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    train_set, _ = cifar10.load()
    if not (folder / "calibration").exists():
        write_folders(cifar10.balanced_subset(train_set, CALIBRATION, 0), folder / "calibration")
    _draw(folder / "golden")
    for stem in [stem for stem, training in TRAININGS.items() if training.is_shipped and only in stem]:
        _train(folder, stem)
        _convert(folder, stem)
        shutil.copyfile(folder / f"{stem}.tflite", SHIPPED / f"{stem}.tflite")
        _keep_report(folder, stem)


def _train(folder: Path, stem: str) -> None:
    """FOLDER/stem.pt, from what is kept if it is."""
    target, kept = folder / f"{stem}.pt", FLOAT / f"{stem}.pt"
    if kept.exists():
        shutil.copyfile(kept, target)
        return
    if stem == IMAGENET_V1:
        if not target.exists():
            imagenet_v1.write(target)
        return
    training = TRAININGS[stem]
    if not target.exists():
        _run(folder, training)
        keep_record(folder / f"{stem}.run.json")
    if training.is_shipped or stem == TEACHER:
        halve(target, kept)
        shutil.copyfile(kept, target)


def _run(folder: Path, training: Training) -> None:
    """From its start, or from where it was stopped."""
    if training.stem != TEACHER:
        _train(folder, TEACHER)
    start: tuple[str, ...] = ()
    if training.start:
        _train(folder, training.start)
        start = ("--weights", f"{training.start}.pt")
    resume = ("--resume",) if (folder / f"{training.stem}.last.pt").exists() else ()
    words = ("train", "cifar10", "--out", f"{training.stem}.pt", *training.options, *start, *resume)
    subprocess.run([*EDGEKIT, *words], cwd=folder, check=True)


def halve(trained: Path, kept: Path) -> None:
    """The same checkpoint with its weights in half precision; batch normalization stays as it is."""
    whole = checkpoint.load(trained)
    state = {name: value.half() if value.ndim > 1 else value for name, value in whole.state.items()}
    checkpoint.save(kept, replace(whole, state=state))


def _convert(folder: Path, stem: str) -> None:
    model = folder / f"{stem}.tflite"
    if not model.exists() or bundle.read(model).card.provenance.reference_sha256 != sha256(folder / f"{stem}.pt"):
        (folder / f"{stem}.json").unlink(missing_ok=True)
        words = ("convert", f"{stem}.pt", "--calibration", "calibration", "--labelled", "--golden", "golden")
        subprocess.run([*EDGEKIT, *words, "--recipe", RECIPE, "--out", f"{stem}.tflite"], cwd=folder, check=True)
    if not (folder / f"{stem}.json").exists():
        words = ("report", f"{stem}.tflite", "--reference", f"{stem}.pt", "--data", "cifar10", "--quick")
        subprocess.run([*EDGEKIT, *words, "--out", f"{stem}.html"], cwd=folder, check=True)


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


def _keep_report(folder: Path, stem: str) -> None:
    """What the int8 file is worth, beside the record of the training."""
    found = json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))
    reference, judged = (next(s for s in found["stages"] if s["role"] == role) for role in ("reference", "model"))
    size = (folder / f"{stem}.tflite").stat().st_size
    int8 = {"top1": judged["top1"], "drop": judged["drop"]["points"], "agreement": judged["drop"]["agreement"]}
    kept = {"recipe": RECIPE, "bytes": size, "float": {"top1": reference["top1"]}, "int8": int8}
    write_whole(RUNS / f"{stem}.report.json", json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
