"""The baseline's process, as a user of TensorFlow alone would write it: IN.onnx CARD.tflite FOLDER IMAGES OUT.tflite.

ONNX → Keras (onnx2tf) → `tf.lite.TFLiteConverter`, fully int8, ranges from the smallest to the largest value seen. The
card of an edgekit model says how images are prepared.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgekit import bundle
from edgekit.images import Prepared, unlabelled_folder
from edgekit.preprocess import normalize
from edgekit_quantize.tflite import write_sample_images


def main(onnx: str, card: str, calibration: str, images: str, target: str) -> None:
    """Convert and write the flatbuffer; the working directory gets onnx2tf's sample images."""
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1", "CUDA_VISIBLE_DEVICES": ""}
    import onnx2tf
    import tensorflow as tf

    spec = bundle.read(card).card.input
    available = unlabelled_folder(calibration)
    # A seeded draw of as many images as `edgekit convert` takes.
    chosen = np.sort(np.random.default_rng(0).permutation(len(available.paths))[: int(images)])
    pixels = np.stack([crop for _, crop in Prepared(available.subset(chosen), spec)])
    write_sample_images(pixels, Path())

    def representative_dataset() -> Iterator[list[object]]:
        for image in pixels:
            yield [normalize(image[None], spec)]

    model = onnx2tf.convert(
        input_onnx_file_path=onnx,
        output_folder_path="unused",
        disable_model_save=True,
        onnxruntime_output_memmap=False,
        non_verbose=True,
        verbosity="error",
    )
    signature = tf.TensorSpec(model.inputs[0].shape, tf.float32, name="image")
    function = tf.function(lambda image: model(image, training=False)).get_concrete_function(signature)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], function)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative_dataset
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    Path(target).write_bytes(converter.convert())


if __name__ == "__main__":
    main(*sys.argv[1:])
