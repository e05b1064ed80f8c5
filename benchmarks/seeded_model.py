"""MobileNetV2 with seeded weights, converted: what it costs to run does not depend on their values."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from edgekit.card import Architecture, InputSpec
from edgekit.cli import run
from edgekit.errors import EdgekitError
from edgekit.models import create
from edgekit.train import checkpoint

PHOTOS, CLASSES = 32, 1000
# Of the pass that settles batch normalization.
TRAINED_SIDE = 224


class Made(NamedTuple):
    """The int8 file, and the float network as ONNX."""

    tflite: Path
    onnx: Path


def make(folder: Path, side: int = 224) -> Made:
    """Train nothing, convert by `edgekit convert`.

    Args:
        folder: Where; `photos/` in it holds the calibration images then.
        side: Height and width of the input, pixels.

    Raises:
        EdgekitError: It could not be converted.
    """
    random = np.random.default_rng(0)
    photos = folder / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    for number in range(PHOTOS):
        coarse = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        cv2.imwrite(str(photos / f"{number}.png"), cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC))
    torch.manual_seed(0)
    network = create("mobilenet_v2", classes=CLASSES)
    # Batch normalization as after training: without, the signal dies away, and no int8 can hold it.
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(8, 3, TRAINED_SIDE, TRAINED_SIDE) * 2.0 - 1.0)
    labels = tuple(f"class {number}" for number in range(CLASSES))
    checkpoint.save(
        folder / "seeded.pt",
        checkpoint.Checkpoint(Architecture("mobilenet_v2", 1.0), InputSpec(side, side), labels, network.state_dict()),
    )
    made = Made(folder / f"mobilenet_v2_{side}.tflite", folder / f"mobilenet_v2_{side}.onnx")
    words = ["convert", folder / "seeded.pt", "--calibration", photos, "--recipe", "int8-minmax"]
    if run([str(word) for word in [*words, "--out", made.tflite, "--onnx", made.onnx]]):
        raise EdgekitError("The model must be converted; see above.")
    return made
