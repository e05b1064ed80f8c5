"""ONNX to float TFLite through onnx2tf and TensorFlow, in a process of its own.

The process boundary keeps TensorFlow's memory, its messages and onnx2tf's sys.exit() away from the rest, and gives
onnx2tf a working directory in which it finds the sample images it would otherwise download.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray

from edgekit.errors import InputError
from edgekit.runtime import Kernels, Network
from edgekit_quantize.graph import with_biases
from edgekit_quantize.rewrite import rewrite_for_int8, simplify
from edgekit_quantize.unsupported import naming_nodes
from edgekit_quantize.workers import TfliteWorker

# onnx2tf looks for this file in its working directory and downloads it when it is absent.
SAMPLE_FILE = "calibration_image_sample_data_20x128x128x3_float32.npy"
_SAMPLE_SHAPE = (20, 128, 128, 3)


def convert_onnx(onnx_path: Path, pixels: NDArray[np.uint8], for_int8: bool = True) -> bytes:
    """Float TFLite flatbuffer of an ONNX classifier; input (1, height, width, 3), output (1, classes).

    Args:
        onnx_path: A checked ONNX file with batch size 1.
        pixels: (N, height, width, 3) RGB uint8, the user's own images, on which onnx2tf compares its layers.
        for_int8: Rewrite it first in operators that quantize well; see `rewrite.rewrite_for_int8`.

    Raises:
        InputError: onnx2tf or TensorFlow cannot convert the graph; its last words are quoted.
    """
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch, TfliteWorker(Path(scratch)) as worker:
        return convert_with(worker, onnx_path, pixels, for_int8)


def convert_with(worker: TfliteWorker, onnx_path: Path, pixels: NDArray[np.uint8], for_int8: bool) -> bytes:
    """The same with a worker that may have been started before."""
    write_sample_images(pixels, worker.graph.parent)
    model = simplify(onnx.load(str(onnx_path)))
    onnx.save(rewrite_for_int8(model) if for_int8 else model, str(worker.graph))
    code, said, complained = worker.work()
    if code or not worker.target.is_file():
        with naming_nodes(onnx_path):
            raise InputError(
                f"The ONNX graph must be convertible by onnx2tf, got: {_last_words(said + complained)}.",
                "Replace it in the network; onnx2tf -i MODEL.onnx shows the whole output.",
            )
    return with_biases(worker.target.read_bytes())


def tflite_logits(model: bytes, images: NDArray[np.float32], threads: int) -> NDArray[np.float32]:
    """Logits (N, classes) of normalized images (N, height, width, 3) under a float TFLite model."""
    network = Network(model, threads, Kernels.XNNPACK)
    return np.asarray([network.run(image) for image in images], np.float32)


def write_sample_images(pixels: NDArray[np.uint8], folder: Path) -> None:
    """Put the file that onnx2tf would otherwise download into its working directory.

    Args:
        pixels: (N, height, width, 3) RGB uint8, the user's own images; repeated to fill it.
        folder: Where.
    """
    count, height, width, _ = _SAMPLE_SHAPE
    chosen = [pixels[i % len(pixels)] for i in range(count)]
    small = np.stack([cv2.resize(image, (width, height)) for image in chosen])
    np.save(folder / SAMPLE_FILE, np.asarray(small / 255.0, np.float32))


def _last_words(output: str) -> str:
    # When TensorFlow gives up it prints its graph, in which these are the operators that TensorFlow Lite lacks.
    lacking = sorted(set(re.findall(r'= "(tf\.\w+)"\(', output)))
    if lacking:
        return f"{', '.join(lacking)}, for which TensorFlow Lite has no operator"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["no message"])[-1][:300].rstrip(".:")
