"""OpenVINO: NNCF's post-training quantization, default preset for CPUs, with and without fast bias correction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino
from common import Work, main


def convert(work: Work, target: Path, variant: str) -> None:
    network = openvino.convert_model(str(work.onnx))
    if variant == "float":
        openvino.save_model(network, str(target), compress_to_fp16=False)
        return
    # Here, because a device that only runs the file has no nncf.
    import nncf

    dataset = nncf.Dataset(list(work.batches("calibration", "nchw")))
    quantized = nncf.quantize(
        network,
        dataset,
        subset_size=len(work.pixels("calibration")),
        fast_bias_correction=variant == "default",
    )
    openvino.save_model(quantized, str(target))


def opened(work: Work, model: Path, threads: int):
    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(str(model), "CPU", settings)
    request = compiled.create_infer_request()

    def ask(image: np.ndarray) -> np.ndarray:
        return request.infer([image])[0]

    return ask, "nchw"


if __name__ == "__main__":
    main(convert, opened)
