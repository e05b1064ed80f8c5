"""TensorFlow's ways: `onnx2tf -oiqt`, and TFLiteConverter on onnx2tf's Keras.

The sample images that onnx2tf would download are written from the calibration images instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import Opened, Work, main

# The name under which onnx2tf looks for its sample images: float32, 0 to 1.
SAMPLES = "calibration_image_sample_data_20x128x128x3_float32.npy"


def convert(work: Work, target: Path, variant: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        np.save(Path(scratch) / SAMPLES, np.zeros((20, 128, 128, 3), np.float32))
        (_onnx2tf if variant == "onnx2tf" else _converter)(work, target, Path(scratch))


def _onnx2tf(work: Work, target: Path, scratch: Path) -> None:
    """Normalized calibration images go through onnx2tf's own (x - mean) / std, so that it is given mean 0 and std 1."""
    import onnx

    name = onnx.load(work.onnx).graph.input[0].name
    np.save(scratch / "calibration.npy", np.concatenate(list(work.batches("calibration", "nhwc"))))
    tool = Path(sys.executable).parent / "onnx2tf"
    words = [str(tool), "-i", str(work.onnx), "-o", "out", "-oiqt", "-qt", "per-channel"]
    samples = ["-cind", name, "calibration.npy", "[[[[0.0,0.0,0.0]]]]", "[[[[1.0,1.0,1.0]]]]"]
    path = f"{tool.parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run([*words, *samples], cwd=scratch, check=True, env=os.environ | {"PATH": path})
    (made,) = (scratch / "out").glob("*_full_integer_quant.tflite")
    shutil.copyfile(made, target)


def _converter(work: Work, target: Path, scratch: Path) -> None:
    import keras_converter

    os.chdir(scratch)
    keras_converter.convert(work.onnx, target, lambda: work.batches("calibration", "nhwc"))


def _runs_elsewhere(work: Work, model: Path, variant: str, threads: int) -> Opened:
    raise SystemExit("LiteRT runs these files.")


if __name__ == "__main__":
    main(convert, _runs_elsewhere)
