"""What is known after all networks have answered all images: everything that a report needs, and no logits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Answers:
    """What one stage says about N readable images.

    Attributes:
        top: (N, k) class indices, best first, k = min(5, classes); ties go to the lower index.
        probabilities: (N, k) softmax of these, in [0, 1].
        rank: (N,) place of the true class, 0 = best.
        truth: (N,) softmax of the true class, in [0, 1].
        nll: (N,) -ln softmax(true class), in nats.
        kl: (N,) KL(reference ‖ this), in nats; 0 for the reference.
        signal: (N,) sum of squared reference logits.
        noise: (N,) sum of squared differences to the reference's logits.
    """

    top: NDArray[np.int32]
    probabilities: NDArray[np.float32]
    rank: NDArray[np.int32]
    truth: NDArray[np.float64]
    nll: NDArray[np.float64]
    kl: NDArray[np.float64]
    signal: NDArray[np.float64]
    noise: NDArray[np.float64]


@dataclass(frozen=True)
class Cost:
    """Measured on this machine, beside accuracy; None where it does not apply.

    Attributes:
        size: Bytes of the file, or of the checkpoint's weights.
        macs: Multiply-accumulates per image.
        p50_ms: Latency of one image with `threads` threads, median, in ms.
        p90_ms: Its 90th percentile.
        p99_ms: Its 99th percentile.
        threads: Of the interpreter.
        peak_mib: Peak resident memory of a fresh process that runs it, in MiB.
    """

    size: int
    macs: int | None
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    threads: int | None
    peak_mib: float | None


@dataclass(frozen=True)
class LayerNoise:
    """One layer of the int8 file, in the order of execution.

    Attributes:
        name: Its output tensor.
        operator: Such as "CONV_2D".
        sqnr_db: Of its output against the float network's, in dB; infinite if they are the same.
        macs: Multiply-accumulates; None where unknown.
    """

    name: str
    operator: str
    sqnr_db: float
    macs: int | None


@dataclass(frozen=True)
class Run:
    """One stage or file.

    Attributes:
        role: "reference", "onnx", "float-tflite", "model", "builtin" (the model under builtin kernels) or "also".
        name: As shown: "float", "ONNX", "float TFLite", "int8", the file's stem for "also".
        format: "float32", "int8" and so on.
        runs_on: Such as "PyTorch 2.13.0" or "ai-edge-litert 2.3.0, XNNPACK".
        file: Its name; "" where there is none.
        sha256: Of the file; "" where there is none.
        answers: What it says.
        cost: None if it was not measured.
    """

    role: str
    name: str
    format: str
    runs_on: str
    file: str
    sha256: str
    answers: Answers
    cost: Cost | None


@dataclass(frozen=True)
class Comparison:
    """All stages and files on the same N images.

    Attributes:
        runs: Reference first, then the stages in order (ONNX, float TFLite, model), builtin, also.
        targets: (N,) class indices in the card's order.
        names: (N,) image names, relative paths.
        tags: (N,) subgroup columns, if a CSV of tags was given.
        skipped: One line per unreadable image.
        data_sha256: Over cropped pixels and classes, in order.
        layers: Noise layer by layer, if it was measured.
    """

    runs: tuple[Run, ...]
    targets: NDArray[np.int64]
    names: tuple[str, ...]
    tags: tuple[dict[str, str], ...] | None
    skipped: tuple[str, ...]
    data_sha256: str
    layers: tuple[LayerNoise, ...] | None
