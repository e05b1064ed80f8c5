"""What can be asked for its opinion of an image: a checkpoint, an ONNX file, a TFLite file.

A model is described by plain values, so that it can be sent to another process and opened there. Each runs with one
thread: a set of images gives work enough for all cores, and the same thread count everywhere gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from edgekit.card import InputSpec
from edgekit.preprocess import Image, normalize
from edgekit.runtime import Kernels, Network
from edgekit_quantize.inference import PixelNetwork
from edgekit_quantize.report.answers import Logits

Run = Callable[[Image], Logits]
# Images at a time through PyTorch: more are no faster on one thread, and take more memory.
_TORCH_BATCH = 2


class Model(Protocol):
    """A network on disk, and what it is fed with.

    Attributes:
        path: Its file.
        spec: Its input.
        runtime_mb: What its runtime adds to a process, as measured for MobileNetV2 (`benchmarks/report_scale.py`).
    """

    @property
    def runtime_mb(self) -> int:
        """The runtime's memory, MB."""
        ...

    @property
    def path(self) -> Path:
        """The file."""
        ...

    @property
    def spec(self) -> InputSpec:
        """The input."""
        ...

    @property
    def runs_on(self) -> str:
        """Package, version and kernels."""
        ...

    def open(self, threads: int = 1) -> Run:
        """Load it: a function from (N, height, width, 3) RGB uint8 to (N, classes) float32 logits."""
        ...


@dataclass(frozen=True)
class TorchModel:
    """An edgekit checkpoint under PyTorch."""

    path: Path
    spec: InputSpec
    runtime_mb: ClassVar[int] = 190

    @property
    def runs_on(self) -> str:
        """Package and version."""
        return f"PyTorch {metadata.version('torch')}"

    def open(self, threads: int = 1) -> Run:
        """As `Model.open`; sets the threads of the whole process."""
        import torch

        from edgekit.train import checkpoint

        torch.set_num_threads(threads)
        network = checkpoint.load(self.path).network()

        def logits(pixels: Image) -> Logits:
            # NHWC in memory seen as NCHW is just what PyTorch calls channels_last: no copy, and several times faster.
            inputs = torch.from_numpy(normalize(pixels, self.spec)).permute(0, 3, 1, 2)
            return np.asarray(network(inputs).numpy(), np.float32)

        def run(pixels: Image) -> Logits:
            starts = range(0, len(pixels), _TORCH_BATCH)
            with torch.inference_mode():
                return np.concatenate([logits(pixels[start : start + _TORCH_BATCH]) for start in starts])

        return run


@dataclass(frozen=True)
class OnnxModel:
    """An ONNX file of batch size 1 under onnxruntime, on the CPU."""

    path: Path
    spec: InputSpec
    runtime_mb: ClassVar[int] = 30

    @property
    def runs_on(self) -> str:
        """Package and version."""
        return f"onnxruntime {metadata.version('onnxruntime')}"

    def open(self, threads: int = 1) -> Run:
        """As `Model.open`."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name

        def run(pixels: Image) -> Logits:
            inputs = (normalize(image, self.spec).transpose(2, 0, 1)[None] for image in pixels)
            return np.asarray(np.concatenate([session.run(None, {name: x})[0] for x in inputs]), np.float32)

        return run


@dataclass(frozen=True)
class TfliteModel:
    """A TFLite file, float or int8, under LiteRT with XNNPACK or under builtin kernels."""

    path: Path
    spec: InputSpec
    kernels: Kernels = Kernels.XNNPACK
    runtime_mb: ClassVar[int] = 0

    @property
    def runs_on(self) -> str:
        """The interpreter, and what really executes the graph."""
        network = Network(self.path.read_bytes(), 1, self.kernels)
        words = {Kernels.XNNPACK: "XNNPACK", Kernels.MIXED: "XNNPACK in part", Kernels.BUILTIN: "builtin kernels"}
        return f"{network.runtime}, {words[network.kernels]}"

    def open(self, threads: int = 1) -> Run:
        """As `Model.open`."""
        network = PixelNetwork(Network(self.path.read_bytes(), threads, self.kernels), self.spec)

        def run(pixels: Image) -> Logits:
            return np.stack([network.logits(image) for image in pixels]).astype(np.float32)

        return run
