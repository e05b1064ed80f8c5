"""All of edgekit beside others, into benchmarks/RESULTS.md; what was measured is not measured again.

    PYTHONPATH=tests python -m benchmarks.side_by_side_all --calibration photos --evaluation labelled

Without the two folders (ImageNet's classes; see `benchmarks/evaluation.py`) only our CIFAR-10 networks are compared. A
step that fails is told, and the others go on.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.support import RESULTS
from edgekit.errors import GateError
from edgekit.progress import console

FOREIGN = Path(".peers/networks")
OWN = Path(__file__).parent / "shipped"
HALF, LITE = ("0.5,0.5,0.5",) * 2, ("0.498039,0.498039,0.498039", "0.501961,0.501961,0.501961")


@dataclass(frozen=True)
class Subject:
    """A network that everyone converts.

    Attributes:
        title: On the page.
        source: As for `benchmarks.side_by_side conversion`.
        options: Likewise.
        is_imagenet: It is judged on the user's two folders; else on CIFAR-10.
    """

    title: str
    source: str
    options: Sequence[str] = ()
    is_imagenet: bool = True


def _foreign(name: str, mean: str, std: str) -> tuple[str, Sequence[str]]:
    return str(FOREIGN / f"{name}.onnx"), ("--mean", mean, "--std", std, "--crop", "0.875")


SUBJECTS = {
    "mobilenet_v2-imagenet": Subject("MobileNetV2 1.0, ImageNet (torchvision's weights)", "mobilenet_v2:imagenet"),
    "mobilenet_v1-imagenet": Subject(
        "MobileNetV1 1.0, ImageNet (TensorFlow's weights)", *_foreign("mobilenet_v1", *HALF)
    ),
    "efficientnet-lite0-imagenet": Subject("EfficientNet-Lite0, ImageNet", *_foreign("efficientnet-lite0", *LITE)),
    "mobilenet_v2-cifar10": Subject(
        "Our MobileNetV2 0.5, CIFAR-10 at 96 px", str(OWN / "cifar10_mobilenet_v2_050.pt"), (), False
    ),
    "mobilenet_v1-cifar10": Subject(
        "Our MobileNetV1 0.5, CIFAR-10 at 96 px", str(OWN / "cifar10_mobilenet_v1_050.pt"), (), False
    ),
}
# Whose files the emulated cores run: counts do not depend on what a network has learned.
COUNTED = "mobilenet_v2-imagenet"


@click.command()
@click.option("--calibration", help="Folder of photos.")
@click.option("--evaluation", help="Folder of labelled photos, ImageNet's classes.")
@click.option("--emulated/--not-emulated", default=True, help="Count instructions too (root, after make test-pi).")
def main(calibration: str | None, evaluation: str | None, emulated: bool) -> None:
    """Measure what is missing, and write the page."""
    failed = []
    folders = ["--calibration", calibration, "--evaluation", evaluation] if calibration and evaluation else []
    if folders and not FOREIGN.exists():
        failed += _run("foreign_networks", str(FOREIGN))
    for name, subject in SUBJECTS.items():
        if subject.is_imagenet and not folders:
            continue
        more = folders if subject.is_imagenet else []
        words = ["--name", name, "--source", subject.source, *subject.options, *more]
        failed += _once(f"side_by_side-conversion-{name}", "side_by_side", "conversion", *words)
        failed += _once(f"side_by_side-inference-{name}", "side_by_side", "inference", "--name", name)
    if emulated and folders:
        failed += _once(f"pi_peers-{COUNTED}", "pi_peers", "--name", COUNTED)
    failed += _once("camera_loops", "camera_loops")
    failed += _run("side_by_side_page")
    if failed:
        raise GateError(f"Every step must end well, got {len(failed)} that did not: {'; '.join(failed)}.")


def _once(result: str, *words: str) -> list[str]:
    return [] if (RESULTS / f"{result}.json").exists() else _run(*words)


def _run(*words: str) -> list[str]:
    """The command if it fails."""
    console.rule(" ".join(words[:4]))
    done = subprocess.run([sys.executable, "-m", f"benchmarks.{words[0]}", *words[1:]], check=False)
    return [" ".join(words[:4])] if done.returncode else []


if __name__ == "__main__":
    main()
