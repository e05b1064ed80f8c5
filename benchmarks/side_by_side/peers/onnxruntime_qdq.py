"""ONNX Runtime: static QDQ quantization, per channel, int8 weights.

Activations as its documentation wants them: uint8 on x86 with VNNI, int8 on ARM.
"""

from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime
from common import Opened, Work, main

METHODS = {"minmax": "MinMax", "minmax-arm": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
# Histograms keep every value of every tensor of so many images until they are counted: gigabytes.
PART = 25


class Reader:
    """What `quantize_static` asks for images: a CalibrationDataReader by its methods."""

    def __init__(self, work: Work, name: str) -> None:
        self._work, self._name = work, name
        self.set_range(0, len(self))

    def __len__(self) -> int:
        return len(self._work.pixels("calibration"))

    def set_range(self, start_index: int, end_index: int) -> None:
        images = islice(self._work.batches("calibration", "nchw"), start_index, end_index)
        self._images = ({self._name: image} for image in images)

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
    reader = Reader(work, name)
    parts = next(part for part in range(min(PART, len(reader)), 0, -1) if len(reader) % part == 0)
    quantize_static(
        str(prepared),
        str(target),
        reader,
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QInt8 if variant == "minmax-arm" else QuantType.QUInt8,
        calibrate_method=CalibrationMethod[METHODS[variant]],
        extra_options={"CalibStridedMinMax": parts},
    )


def opened(work: Work, model: Path, variant: str, threads: int) -> Opened:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(image: np.ndarray) -> np.ndarray:
        return session.run(None, {name: image})[0]

    return Opened("nchw", run)


if __name__ == "__main__":
    main(convert, opened)
