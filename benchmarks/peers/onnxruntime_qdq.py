"""ONNX Runtime: static QDQ quantization, int8, per channel."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnxruntime
from common import Work, main

METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}


class Reader:
    """What `quantize_static` asks for images: a CalibrationDataReader by its methods."""

    def __init__(self, work: Work, name: str) -> None:
        self._images = ({name: image} for image in work.batches("calibration", "nchw"))

    def get_next(self):
        return next(self._images, None)


def convert(work: Work, target: Path, variant: str) -> None:
    if variant == "float":
        shutil.copyfile(work.onnx, target)
        return
    # Here, because a device that only runs the file has no onnx.
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(str(work.onnx), str(prepared))
    name = onnxruntime.InferenceSession(str(prepared)).get_inputs()[0].name
    quantize_static(
        str(prepared),
        str(target),
        Reader(work, name),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod[METHODS[variant]],
    )


def opened(work: Work, model: Path, threads: int):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def ask(image: np.ndarray) -> np.ndarray:
        return session.run(None, {name: image})[0]

    return ask, "nchw"


if __name__ == "__main__":
    main(convert, opened)
