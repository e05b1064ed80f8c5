"""ncnn, float: its own int8 tool comes with no wheel."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import ncnn
import numpy as np
from common import Work, main


def convert(work: Work, target: Path, variant: str) -> None:
    folder = target.with_suffix(".pnnx")
    folder.mkdir(exist_ok=True)
    shutil.copyfile(work.onnx, folder / "net.onnx")
    tool = Path(sys.executable).parent / "pnnx"
    height, width = work.pixels("calibration").shape[1:3]
    words = [str(tool), "net.onnx", f"inputshape=[1,3,{height},{width}]", f"fp16={1 if variant == 'fp16' else 0}"]
    subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    target.write_text(str(folder / "net.ncnn"))


def opened(work: Work, model: Path, threads: int):
    net, stem = ncnn.Net(), model.read_text()
    net.opt.num_threads = threads
    net.load_param(f"{stem}.param")
    net.load_model(f"{stem}.bin")
    before, after = net.input_names()[0], net.output_names()[0]

    def ask(image: np.ndarray) -> np.ndarray:
        with net.create_extractor() as extractor:
            extractor.input(before, ncnn.Mat(image[0]))
            return np.array(extractor.extract(after)[1])

    return ask, "nchw"


if __name__ == "__main__":
    main(convert, opened)
