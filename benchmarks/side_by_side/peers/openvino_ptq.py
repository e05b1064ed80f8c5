"""OpenVINO: NNCF's post-training quantization, default preset for CPUs, with and without fast bias correction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino
from common import Opened, Work, main


def convert(work: Work, target: Path, variant: str) -> None:
    network = openvino.convert_model(str(work.onnx))
    if variant in ("float", "own-choice"):
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


def opened(work: Work, model: Path, variant: str, threads: int) -> Opened:
    core = openvino.Core()
    settings: dict = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    if variant == "float":
        # On processors that have it, its own choice for floats is bfloat16.
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    request = core.compile_model(str(model), "CPU", settings).create_infer_request()

    def run(image: np.ndarray) -> np.ndarray:
        return request.infer([image])[0]

    return Opened("nchw", run)


if __name__ == "__main__":
    main(convert, opened)
