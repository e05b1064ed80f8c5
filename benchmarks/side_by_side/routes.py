"""Every way from the float network to a file: who makes it, in which environment, and who runs it."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from benchmarks.side_by_side.environments import ENVIRONMENTS
from benchmarks.support import EDGEKIT, where

PEERS = Path(__file__).parent / "peers"
ROOT = Path(__file__).parents[2]
# What every script in `peers` may read besides itself.
SHARED = ("common", "float_network", "litert", "keras_converter", "onnx_export")
OURS, QUICK = "edgekit int8", "edgekit int8-minmax"


class Start(StrEnum):
    """What a route begins with."""

    PYTORCH = "PyTorch"
    ONNX = "ONNX"


@dataclass(frozen=True)
class Route:
    """A way to a file.

    Attributes:
        title: In tables.
        environment: Whose interpreter makes the file; "" for edgekit's own.
        script: In `peers`, or "edgekit".
        variant: For the script.
        suffix: Of the file.
        start: What it begins with.
    """

    title: str
    environment: str
    script: str
    variant: str
    suffix: str
    start: Start = Start.ONNX

    @property
    def slug(self) -> str:
        """For names of files."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())

    @property
    def is_edgekit(self) -> bool:
        """Ours."""
        return self.script == "edgekit"

    def target(self, folder: Path) -> Path:
        """The file."""
        return folder / "made" / f"{self.slug}{self.suffix}"

    def mark(self, inputs: str) -> str:
        """A hash of all that file, cost and answers depend on: `inputs`, who makes it, who runs it, the machine."""
        scripts = [PEERS / f"{name}.py" for name in (self.script, *SHARED)]
        texts = [path.read_text(encoding="utf-8") for path in scripts if path.exists()]
        maker = edgekit_sources() if self.is_edgekit else ENVIRONMENTS[self.environment].pinned()
        return digest([inputs, self.variant, maker, ENVIRONMENTS["litert"].pinned(), where(), *texts])

    def convert(self, folder: Path, target: Path) -> list[str | Path]:
        """The command that makes it as `target`."""
        if self.is_edgekit:
            words = [*_source(folder), "--calibration", folder / "photos", "--recipe", self.variant]
            return [*EDGEKIT, "convert", *words, "--out", target]
        return [
            ENVIRONMENTS[self.environment].python(),
            PEERS / f"{self.script}.py",
            "convert",
            folder,
            target,
            self.variant,
        ]

    def from_pytorch(self, folder: Path, target: Path) -> list[list[str | Path]]:
        """The commands that make it from the PyTorch network, one after the other."""
        export = [sys.executable, PEERS / "onnx_export.py", folder, target.with_suffix(".onnx")]
        return [*([export] if self.start is Start.ONNX else []), self.convert(folder, target)]

    def answers(self, folder: Path, logits: Path, count: int) -> list[str | Path]:
        """The command that runs it on the first evaluation images."""
        return [*self._runner(), "answers", folder, self.target(folder), self.variant, logits, str(count)]

    def time(self, folder: Path, threads: int) -> list[str | Path]:
        """The command that runs it for as long as each line of stdin says."""
        return [*self._runner(), "time", folder, self.target(folder), self.variant, str(threads)]

    def _runner(self) -> list[str | Path]:
        if self.suffix == ".tflite":
            return [ENVIRONMENTS["litert"].python(), PEERS / "litert.py"]
        return [ENVIRONMENTS[self.environment].python(), PEERS / f"{self.script}.py"]


def digest(parts: Iterable[str]) -> str:
    """SHA-256 of texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@cache
def edgekit_sources() -> str:
    """A hash of the code that converts."""
    folders = (ROOT / "edgekit", ROOT / "quantize", ROOT / "deploy")
    paths = sorted(path for folder in folders for suffix in ("py", "toml") for path in folder.rglob(f"*.{suffix}"))
    return digest(path.read_text(encoding="utf-8") for path in [*paths, ROOT / "constraints.txt"])


def peers_environment(words: Sequence[str | Path]) -> dict[str, str]:
    """Of a process: the tools beside its own interpreter, and nothing of ours."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    own = str(Path(sys.executable).parent)
    others = [folder for folder in os.environ.get("PATH", "").split(os.pathsep) if folder != own]
    return kept | {"PATH": os.pathsep.join([str(Path(words[0]).parent), *others])}


def _source(folder: Path) -> list[str | Path]:
    """What `edgekit convert` is given: the checkpoint, or else the ONNX file with what it does not say."""
    if (folder / "net.pt").exists():
        return [folder / "net.pt"]
    known = json.loads((folder / "input.json").read_text())
    mean, std = (",".join(map(str, known[name])) for name in ("mean", "std"))
    return [folder / "net.onnx", "--mean", mean, "--std", std, "--crop", str(known["crop"])]


INT8 = (
    Route(QUICK, "", "edgekit", "int8-minmax", ".tflite", Start.PYTORCH),
    Route(OURS, "", "edgekit", "int8", ".tflite", Start.PYTORCH),
    Route("onnx2tf -oiqt", "onnx2tf", "tensorflow_routes", "onnx2tf", ".tflite"),
    Route("TFLiteConverter", "onnx2tf", "tensorflow_routes", "converter", ".tflite"),
    Route("litert-torch PT2E", "litert-torch", "litert_torch_routes", "pt2e", ".tflite", Start.PYTORCH),
    Route(
        "litert-torch + ai-edge-quantizer",
        "litert-torch",
        "litert_torch_routes",
        "ai-edge-quantizer",
        ".tflite",
        Start.PYTORCH,
    ),
    Route("ONNX Runtime QDQ, min/max", "onnxruntime", "onnxruntime_qdq", "minmax", ".onnx"),
    Route("ONNX Runtime QDQ, entropy", "onnxruntime", "onnxruntime_qdq", "entropy", ".onnx"),
    Route("ONNX Runtime QDQ, percentile", "onnxruntime", "onnxruntime_qdq", "percentile", ".onnx"),
    Route(
        "ONNX Runtime QDQ, min/max, int8 activations (for ARM)", "onnxruntime", "onnxruntime_qdq", "minmax-arm", ".onnx"
    ),
    Route("NNCF/OpenVINO", "openvino", "openvino_ptq", "default", ".xml"),
    Route("NNCF/OpenVINO, accurate bias correction", "openvino", "openvino_ptq", "accurate", ".xml"),
    Route("ExecuTorch XNNPACK", "executorch", "executorch_xnnpack", "int8", ".pte", Start.PYTORCH),
    Route("PyTorch PT2E, Inductor int8", "executorch", "pytorch", "int8", ".pt2", Start.PYTORCH),
    Route("ncnn int8", "ncnn", "ncnn_routes", "int8", ".ncnn"),
    Route("TinyNeuralNetwork", "tinynn", "none", "", ".tflite"),
)
FLOAT = (
    Route("LiteRT float", "litert-torch", "litert_torch_routes", "float", ".tflite"),
    Route("ONNX Runtime float", "onnxruntime", "onnxruntime_qdq", "float", ".onnx"),
    Route("OpenVINO float", "openvino", "openvino_ptq", "float", ".xml"),
    Route("OpenVINO float, its own choice of precision", "openvino", "openvino_ptq", "own-choice", ".xml"),
    Route("ncnn float", "ncnn", "ncnn_routes", "float", ".ncnn"),
    Route("ncnn fp16", "ncnn", "ncnn_routes", "fp16", ".ncnn"),
    Route("ExecuTorch float", "executorch", "executorch_xnnpack", "float", ".pte"),
    Route("PyTorch eager", "executorch", "pytorch", "eager", ".txt"),
    Route("PyTorch compiled", "executorch", "pytorch", "compiled", ".txt"),
)
