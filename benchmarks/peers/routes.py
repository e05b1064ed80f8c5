"""Every way from the float network to a quantized file: who makes it, in which environment, and who runs it."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.environments import ENVIRONMENTS
from benchmarks.support import EDGEKIT

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Route:
    """A way to a file.

    Attributes:
        title: In tables.
        environment: Whose interpreter makes the file; "" for edgekit's own.
        script: In this folder.
        variant: For the script.
        suffix: Of the file.
        carries: Does the file say how images are prepared, and what the classes are called?
    """

    title: str
    environment: str
    script: str
    variant: str
    suffix: str
    carries: str = "no"

    @property
    def slug(self) -> str:
        """For names of files."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())

    def target(self, folder: Path) -> Path:
        """The file."""
        return folder / f"{self.slug}{self.suffix}"

    def convert(self, folder: Path) -> list[str | Path]:
        """The command that makes it."""
        target = self.target(folder)
        if self.script == "edgekit":
            words = [*_source(folder), "--calibration", folder / "photos", "--recipe", self.variant]
            return [*EDGEKIT, "convert", *words, "--out", target]
        python = self._python(self.environment)
        return [python, HERE / f"{self.script}.py", "convert", folder, target, self.variant]

    def answers(self, folder: Path, logits: Path) -> list[str | Path]:
        """The command that runs it on the evaluation images."""
        return [*self._runner(), "answers", folder, self.target(folder), logits]

    def time(self, folder: Path, threads: int, seconds: float) -> list[str | Path]:
        """The command that times it."""
        return [*self._runner(), "time", folder, self.target(folder), str(threads), str(seconds)]

    def _runner(self) -> list[str | Path]:
        if self.suffix == ".tflite":
            return [ENVIRONMENTS["litert"].python(), HERE / "litert.py"]
        return [self._python(self.environment), HERE / f"{self.script}.py"]

    @staticmethod
    def _python(environment: str) -> Path:
        return ENVIRONMENTS[environment].python() if environment else Path(sys.executable)


def _source(folder: Path) -> list[str | Path]:
    """What `edgekit convert` is given: the checkpoint, or else the ONNX file with what it does not say."""
    if (folder / "net.pt").exists():
        return [folder / "net.pt"]
    known = json.loads((folder / "input.json").read_text())
    mean, std = (",".join(map(str, known[name])) for name in ("mean", "std"))
    # The images are cropped already.
    return [folder / "net.onnx", "--mean", mean, "--std", std]


INT8 = (
    Route("edgekit int8-minmax", "", "edgekit", "int8-minmax", ".tflite", carries="yes, tested"),
    Route("edgekit int8", "", "edgekit", "int8", ".tflite", carries="yes, tested"),
    Route("edgekit int8-qat", "", "edgekit", "int8-qat", ".tflite", carries="yes, tested"),
    Route("onnx2tf -oiqt", "", "tensorflow_routes", "onnx2tf", ".tflite"),
    Route("TFLiteConverter", "", "tensorflow_routes", "converter", ".tflite"),
    Route("litert-torch PT2E", "litert-torch", "litert_torch_routes", "pt2e", ".tflite"),
    Route("litert-torch + ai-edge-quantizer", "litert-torch", "litert_torch_routes", "ai-edge-quantizer", ".tflite"),
    Route("ONNX Runtime QDQ, min/max", "onnxruntime", "onnxruntime_qdq", "minmax", ".onnx"),
    Route("ONNX Runtime QDQ, entropy", "onnxruntime", "onnxruntime_qdq", "entropy", ".onnx"),
    Route("ONNX Runtime QDQ, percentile", "onnxruntime", "onnxruntime_qdq", "percentile", ".onnx"),
    Route("NNCF/OpenVINO", "openvino", "openvino_ptq", "default", ".xml"),
    Route("NNCF/OpenVINO, accurate bias correction", "openvino", "openvino_ptq", "accurate", ".xml"),
    Route("ExecuTorch XNNPACK", "executorch", "executorch_xnnpack", "int8", ".pte"),
    Route("TinyNeuralNetwork", "tinynn", "none", "", ".tflite"),
)
FLOAT = (
    Route("LiteRT float", "litert-torch", "litert_torch_routes", "float", ".tflite"),
    Route("ONNX Runtime float", "onnxruntime", "onnxruntime_qdq", "float", ".onnx"),
    Route("OpenVINO float", "openvino", "openvino_ptq", "float", ".xml"),
    Route("ncnn float", "ncnn", "ncnn_float", "float", ".ncnn"),
    Route("ncnn fp16", "ncnn", "ncnn_float", "fp16", ".ncnn"),
    Route("ExecuTorch float", "executorch", "executorch_xnnpack", "float", ".pte"),
    Route("PyTorch eager", "executorch", "pytorch_eager", "eager", ".txt"),
    Route("PyTorch compiled", "executorch", "pytorch_eager", "compiled", ".txt"),
)
