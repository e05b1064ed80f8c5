"""What the host hands to tests/device: models, frames and a clip, with the exact codes that the device must find."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from edgekit.runtime import Kernels, Network
from support import tiny_model
from support.clips import colour_pictures, write_clip

SIZES = [(48, 64), (64, 48), (33, 47), (1, 1), (5, 200), (240, 320), (481, 643), (100, 100)]
MODELS = {
    "colours": (tiny_model.input_spec(), 5, 0),
    "table": (tiny_model.input_spec(48, 64, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), 40, 4),
    "cropped": (tiny_model.input_spec(64, 64, crop_fraction=0.875), 40, 0),
}


def make(folder: Path) -> Path:
    """Write the files into `folder` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = {f"frame-{i}.png": tiny_model.noise(300 + i, *size) for i, size in enumerate(SIZES)}
    for name, picture in frames.items():
        cv2.imwrite(str(folder / name), picture)
    expected = {}
    for name, (spec, classes, seed) in MODELS.items():
        (folder / f"{name}.tflite").write_bytes(tiny_model.sealed(spec, classes, seed))
        expected[name] = {
            str(kernels): _codes(tiny_model.parsed(spec, classes, seed), kernels, frames)
            for kernels in (Kernels.XNNPACK, Kernels.BUILTIN)
        }
    differs = any(
        not np.array_equal(expected[name]["xnnpack"][frame], expected[name]["builtin"][frame])
        for name in expected
        for frame in frames
    )
    assert differs, "the models must tell the two kinds of kernels apart"
    (folder / "expected.json").write_text(json.dumps(expected))
    pictures = colour_pictures([tiny_model.BGR[colour] for colour in tiny_model.COLOURS], 15)
    write_clip(folder / "clip.mp4", pictures, fps=30.0)
    (folder / "truth.csv").write_text("frame,label\n0,red\n15,green\n30,blue\n")
    return folder


def _codes(model, kernels: Kernels, frames) -> dict[str, list[int]]:
    network = Network(model.data, kernels=kernels)
    assert network.kernels is kernels
    return {name: tiny_model.plain_answer(model, picture, network).tolist() for name, picture in frames.items()}
