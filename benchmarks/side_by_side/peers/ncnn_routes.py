"""ncnn: float, and what its half precision gives. Its tools for int8 come with no wheel."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import ncnn
import numpy as np
from common import Opened, Work, main

TABLE, QUANTIZER = "ncnn2table", "ncnn2int8"


def convert(work: Work, target: Path, variant: str) -> None:
    tools = Path(sys.executable).parent
    if variant == "int8" and not (shutil.which(TABLE, path=tools) and shutil.which(QUANTIZER, path=tools)):
        raise SystemExit(
            f"the wheels of ncnn and pnnx bring no {TABLE} and no {QUANTIZER}, which must be built from source"
        )
    folder = target.with_suffix(".pnnx")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copyfile(work.onnx, folder / "net.onnx")
    height, width = work.pixels("calibration").shape[1:3]
    half = 1 if variant == "fp16" else 0
    words = [str(tools / "pnnx"), "net.onnx", f"inputshape=[1,3,{height},{width}]", f"fp16={half}"]
    subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    target.write_text(str(folder / "net.ncnn"))


def opened(work: Work, model: Path, variant: str, threads: int) -> Opened:
    net, stem = ncnn.Net(), model.read_text()
    net.opt.num_threads = threads
    # On by default: where the processor can, "float" would be computed in half precision.
    for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"):
        setattr(net.opt, name, variant == "fp16")
    net.load_param(f"{stem}.param")
    net.load_model(f"{stem}.bin")
    before, after = net.input_names()[0], net.output_names()[0]

    def run(image: np.ndarray) -> np.ndarray:
        with net.create_extractor() as extractor:
            extractor.input(before, ncnn.Mat(image[0]))
            return np.array(extractor.extract(after)[1])

    return Opened("nchw", run)


if __name__ == "__main__":
    main(convert, opened)
