"""LiteRT and what makes its files: edgekit's, TFLiteConverter's, onnx2tf's, litert-torch's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from common import Opened, Work, main


def convert(work: Work, target: Path, variant: str) -> None:
    raise SystemExit("Made elsewhere.")


def opened(work: Work, model: Path, variant: str, threads: int) -> Opened:
    interpreter = Interpreter(str(model), num_threads=threads)
    interpreter.allocate_tensors()
    before, after = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def run(codes: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(before["index"], codes)
        interpreter.invoke()
        return interpreter.get_tensor(after["index"])

    layout = "nchw" if before["shape"][1] == 3 else "nhwc"
    return Opened(layout, run, lambda image: _coded(image, before), lambda codes: _real(codes, after))


def _coded(image: np.ndarray, details: dict) -> np.ndarray:
    if details["dtype"] == np.float32:
        return image
    scale, zero = details["quantization"]
    limits = np.iinfo(details["dtype"])
    return np.clip(np.round(image / scale) + zero, limits.min, limits.max).astype(details["dtype"])


def _real(codes: np.ndarray, details: dict) -> np.ndarray:
    if details["dtype"] == np.float32:
        return codes
    scale, zero = details["quantization"]
    return (codes.astype(np.float32) - zero) * scale


if __name__ == "__main__":
    main(convert, opened)
