"""The baseline's process, as a user of TensorFlow alone would write it: IN.onnx CARD.tflite FOLDER IMAGES OUT.tflite.

The card of an edgekit model says how images are prepared.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from benchmarks.side_by_side.peers import keras_converter
from edgekit import bundle
from edgekit.images import Prepared, unlabelled_folder
from edgekit.preprocess import normalize
from edgekit_quantize.tflite import write_sample_images


def main(onnx: str, card: str, calibration: str, images: str, target: str) -> None:
    """The working directory gets onnx2tf's sample images."""
    spec = bundle.read(card).card.input
    available = unlabelled_folder(calibration)
    # A seeded draw of as many images as `edgekit convert` takes.
    chosen = np.sort(np.random.default_rng(0).permutation(len(available.paths))[: int(images)])
    pixels = np.stack([crop for _, crop in Prepared(available.subset(chosen), spec)])
    write_sample_images(pixels, Path())
    keras_converter.convert(Path(onnx), Path(target), lambda: (normalize(image[None], spec) for image in pixels))


if __name__ == "__main__":
    main(*sys.argv[1:])
