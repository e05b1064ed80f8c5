"""The folder that every peer is given: one float network, and the same images for all."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.evaluation import read_evaluation, targets_of
from benchmarks.side_by_side.routes import digest
from edgekit.card import InputSpec
from edgekit.errors import InputError
from edgekit.files import sha256
from edgekit.images import FileSet, ImageSet, unlabelled_folder
from edgekit.preprocess import normalize
from edgekit.train import checkpoint as checkpoints
from edgekit.train import cifar10, weights
from edgekit.train.data import for_evaluation
from edgekit_quantize.export import onnx_logits
from edgekit_quantize.source import ForeignOptions, open_source
from edgekit_quantize.workers import start_workers

CIFAR10 = "cifar10"
CALIBRATION = 250
PART = 64


@dataclass(frozen=True)
class Inputs:
    """What is in the folder.

    Attributes:
        folder: Holds net.onnx; net.pt, an edgekit checkpoint, or net.pt2, an exported PyTorch program; calibration.npy,
            evaluation.npy, input.json; and photos/, the calibration images as files.
        mark: A hash of the network and of all images.
        logits: (N, classes) float32 of the float network under ONNX Runtime, for the evaluation images.
        targets: (N,) their classes.
    """

    folder: Path
    mark: str
    logits: NDArray[np.float32]
    targets: NDArray[np.int64]


def prepare(source: str, foreign: ForeignOptions, calibration: str, evaluation: str, folder: Path) -> Inputs:
    """Write it.

    Args:
        source: An edgekit checkpoint, mobilenet_v2:imagenet, or an ONNX file with the same network as a .pt2 beside it.
        foreign: What an ONNX file does not say.
        calibration: Folder of images, or cifar10.
        evaluation: Folder of labelled images, ImageNet's classes, or cifar10.
        folder: Where.

    Raises:
        InputError: An image is in both, or as `check_folders`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with start_workers(source) as workers:
        opened = open_source(workers, foreign)
        shutil.copyfile(workers.onnx, folder / "net.onnx")
    if source.endswith(".onnx"):
        shutil.copyfile(Path(source).with_suffix(".pt2"), folder / "net.pt2")
    elif Path(source).is_file():
        shutil.copyfile(source, folder / "net.pt")
    else:
        checkpoints.save(folder / "net.pt", weights.imagenet_checkpoint())
    drawn, judged = _calibration(calibration), _evaluation(evaluation)
    seen, found = for_evaluation(drawn, opened.input), for_evaluation(judged, opened.input)
    pixels = {"calibration": seen.pixels.numpy(), "evaluation": found.pixels.numpy()}
    check_apart(*pixels.values())
    for name, values in pixels.items():
        np.save(folder / f"{name}.npy", values)
    _write_photos(drawn, folder / "photos")
    facts = {"mean": list(opened.input.mean), "std": list(opened.input.std), "crop": opened.input.crop_fraction}
    (folder / "input.json").write_text(json.dumps(facts))
    # Those of CIFAR-10 are in its networks' order; others' ONNX files do not name their classes.
    targets = imagenet_targets(judged) if isinstance(judged, FileSet) else found.targets.numpy()
    # A checkpoint's net.onnx follows from it.
    networks = ("net.onnx", "net.pt2") if source.endswith(".onnx") else ("net.pt",)
    hashes = [*(sha256(folder / name) for name in networks), seen.fingerprint(), found.fingerprint(), json.dumps(facts)]
    logits = _reference(folder, opened.input, pixels["evaluation"])
    return Inputs(folder, digest(hashes), logits, targets)


def check_folders(calibration: str, evaluation: str) -> None:
    """Before hours are spent on it.

    Raises:
        InputError: A folder is not there or has no images, or its classes are not ImageNet's.
    """
    unlabelled_folder(calibration)
    imagenet_targets(read_evaluation(Path(evaluation)))


def imagenet_targets(images: FileSet) -> NDArray[np.int64]:
    """(N,) the images' classes in ImageNet's order."""
    return targets_of(images, weights.imagenet_labels())


def check_apart(calibration: NDArray[np.uint8], evaluation: NDArray[np.uint8]) -> None:
    """A network must not be judged by images that it was calibrated with; edgekit even learns from them.

    Raises:
        InputError: One is in both.
    """
    known = {image.tobytes() for image in calibration}
    if both := sum(image.tobytes() in known for image in evaluation):
        raise InputError(f"Calibration and evaluation must have no image in common, got {both} that are in both.")


def _calibration(name: str) -> ImageSet:
    if name == CIFAR10:
        return cifar10.balanced_subset(cifar10.load()[0], CALIBRATION, 0)
    photos = unlabelled_folder(name)
    chosen = np.random.default_rng(0).permutation(len(photos.paths))[:CALIBRATION]
    return photos.subset(np.sort(chosen))


def _evaluation(name: str) -> ImageSet:
    if name == CIFAR10:
        return cifar10.load()[1]
    return read_evaluation(Path(name))


def _write_photos(images: ImageSet, folder: Path) -> None:
    """As files, for the peers that are commands; without loss."""
    import cv2

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for index in range(len(images.names)):
        cv2.imwrite(str(folder / f"{index:04}.png"), cv2.cvtColor(images.image(index), cv2.COLOR_RGB2BGR))


def _reference(folder: Path, spec: InputSpec, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    parts = np.array_split(pixels, 1 + len(pixels) // PART)
    return np.concatenate([onnx_logits(folder / "net.onnx", normalize(part, spec)) for part in parts])
