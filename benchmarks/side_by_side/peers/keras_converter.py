"""ONNX → Keras (onnx2tf) → `tf.lite.TFLiteConverter`, as a user of TensorFlow alone would write it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np


def convert(onnx: Path, target: Path, images: Callable[[], Iterable[np.ndarray]]) -> None:
    """Fully int8, ranges from the smallest to the largest value seen.

    onnx2tf's sample images must be in the working directory.

    Args:
        onnx: The float network, (1, 3, H, W).
        target: Where the flatbuffer is written.
        images: Called for the calibration images, each (1, H, W, 3) float32 and normalized.
    """
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1", "CUDA_VISIBLE_DEVICES": ""}
    import onnx2tf
    import tensorflow as tf

    model = onnx2tf.convert(
        input_onnx_file_path=str(onnx),
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
    converter.representative_dataset = lambda: ([image] for image in images())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    target.write_bytes(converter.convert())
