"""What each stage says about each image, and what running it costs: all that the report is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]
Role = Literal["reference", "onnx", "float-tflite", "model", "also", "builtin"]

TOP = 5


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
    """`builtin` is the same file as `model` under builtin kernels, which are what a 32-bit Pi runs."""
    name: str
    """As shown: "float", "ONNX", "float TFLite", "int8", the file's name without .tflite for --also."""
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


def answers_of(logits: Logits, reference: Logits, targets: NDArray[np.int64]) -> Answers:
    """Boil logits down; every row depends on its own image alone.

    Args:
        logits: (N, classes) float32 of this stage, finite.
        reference: (N, classes) float32 of the reference, finite; may be the same array.
        targets: (N,) true classes.
    """
    places = np.arange(len(logits))
    # A stable sort keeps the lower index first among equals, as argmax and the device do.
    top = np.argsort(-logits, axis=1, kind="stable")[:, :TOP].astype(np.int32)
    own, others = _log_softmax(logits), _log_softmax(reference)
    wanted = logits[places, targets][:, None]
    before = np.arange(logits.shape[1]) < targets[:, None]
    rank = (logits > wanted).sum(axis=1) + ((logits == wanted) & before).sum(axis=1)
    wide = reference.astype(np.float64)
    return Answers(
        top=top,
        probabilities=np.exp(np.take_along_axis(own, top.astype(np.int64), axis=1)).astype(np.float32),
        rank=rank.astype(np.int32),
        truth=np.exp(own[places, targets]),
        nll=-own[places, targets],
        # Rounding may push what is zero a hair below it.
        kl=np.maximum((np.exp(others) * (others - own)).sum(axis=1), 0.0),
        signal=np.square(wide).sum(axis=1),
        noise=np.square(logits - wide).sum(axis=1),
    )


def joined(parts: Sequence[Answers]) -> Answers:
    """The rows of all parts, in order; at least one part."""
    return Answers(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Answers)})


def _log_softmax(logits: Logits) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
