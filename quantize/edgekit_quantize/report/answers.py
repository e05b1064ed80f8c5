"""What each stage says about each image, and what running it costs: all that the report is made from."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Role = Literal["reference", "onnx", "float-tflite", "model", "also", "builtin"]


@dataclass(frozen=True)
class Answers:
    """What one stage says about N readable images; everything the report needs, no logits kept."""

    top: NDArray[np.int32]
    """(N, k) class indices, best first, k = min(5, classes); ties go to the lower index."""
    probabilities: NDArray[np.float32]
    """(N, k) softmax of these, 0..1."""
    rank: NDArray[np.int32]
    """(N,) place of the true class, 0 = best."""
    truth: NDArray[np.float64]
    """(N,) softmax of the true class, 0..1."""
    nll: NDArray[np.float64]
    """(N,) -ln softmax(true class), nats."""
    kl: NDArray[np.float64]
    """(N,) KL(reference || this), nats; 0 for the reference."""
    signal: NDArray[np.float64]
    """(N,) sum of squared reference logits."""
    noise: NDArray[np.float64]
    """(N,) sum of squared differences to the reference's logits."""


@dataclass(frozen=True)
class Cost:
    """What running a file costs, measured on this machine; None where it does not apply."""

    size: int
    """Bytes of the file (or of the checkpoint's weights)."""
    macs: int | None
    p50_ms: float | None
    """One image, `threads` threads."""
    p90_ms: float | None
    p99_ms: float | None
    threads: int | None
    peak_mib: float | None
    """Peak resident memory of a fresh process that runs it."""


@dataclass(frozen=True)
class Run:
    """One stage or file."""

    role: Role
    """`builtin` is the same file as `model` under LiteRT's builtin kernels, which tflite-runtime runs on a 32-bit Pi."""
    name: str
    """As shown: "float", "ONNX", "float TFLite", "int8", the file's stem for --also."""
    format: str
    """"float32", "int8", ..."""
    runs_on: str
    """"PyTorch 2.13.0", "ai-edge-litert 2.3.0, XNNPACK", ..."""
    file: str
    """Its name; "" where there is none."""
    sha256: str
    """Of the file; "" where there is none."""
    answers: Answers
    cost: Cost | None


@dataclass(frozen=True)
class LayerNoise:
    """How much noise one layer of the int8 model carries against the float model."""

    name: str
    operator: str
    sqnr_db: float
    macs: int | None


@dataclass(frozen=True)
class Comparison:
    """Every run over the same images."""

    runs: tuple[Run, ...]
    """Reference first, then the stages in order (ONNX, float TFLite, model), builtin, also."""
    targets: NDArray[np.int64]
    """(N,) class indices in the card's order."""
    names: tuple[str, ...]
    """(N,) image names (relative paths)."""
    tags: tuple[dict[str, str], ...] | None
    """(N,) subgroup columns, if a CSV of tags was given."""
    skipped: tuple[str, ...]
    """One line per unreadable image."""
    data_sha256: str
    """Over cropped pixels and classes, in order."""
    layers: tuple[LayerNoise, ...] | None
    """Per-layer SQNR, from the work behind `edgekit convert --explain`."""
