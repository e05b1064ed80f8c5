"""The process behind `workers.TfliteWorker`: python -m edgekit_quantize.tflite_worker IN.onnx OUT.tflite.

It loads its libraries at once, which takes seconds, and converts when it is told that the graph is there.

onnx2tf builds a Keras model in memory and is stopped there: its own SavedModel, float16 and float32 files cost most of
its time and are not needed. TFLiteConverter then runs once.
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgekit_quantize.workers import told_to_start


def main(source: str, target: str) -> None:
    """Convert and write the flatbuffer."""
    told = told_to_start()
    import onnx2tf
    import tensorflow as tf

    told.wait()
    model = onnx2tf.convert(
        input_onnx_file_path=source,
        output_folder_path="unused",
        disable_model_save=True,
        # It would put a padding back into the pooling behind it, where onnx2tf fills it with minus infinity.
        not_use_onnxsim=True,
        onnxruntime_output_memmap=False,
        non_verbose=True,
        verbosity="error",
    )
    signature = tf.TensorSpec(model.inputs[0].shape, tf.float32, name="image")
    function = tf.function(lambda image: model(image, training=False)).get_concrete_function(signature)
    # With the model as the second argument it would go through a SavedModel on disk: three times as slow.
    flatbuffer = tf.lite.TFLiteConverter.from_concrete_functions([function], function).convert()
    Path(target).write_bytes(flatbuffer)


if __name__ == "__main__":
    main(*sys.argv[1:])
