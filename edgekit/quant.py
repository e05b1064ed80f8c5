"""Affine quantization in numpy: real = scale * (q - zero_point), as the TFLite specification defines it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

INT8_MIN, INT8_MAX = -128, 127


def quantize(real: NDArray[np.floating[Any]], scale: float, zero_point: int) -> NDArray[np.int8]:
    """Nearest int8 code of each real value, clipped to [-128, 127]. Ties go up.

    The quotient is rounded to a thousandth of a step first. A pixel under mean = std = 0.5 lies exactly half-way
    between two codes, and without this the float32 representation of the scale would decide which one it gets.
    """
    steps = np.round(np.asarray(real, np.float64) / scale, 3) + zero_point
    return np.clip(np.floor(steps + 0.5), INT8_MIN, INT8_MAX).astype(np.int8)


def dequantize(codes: NDArray[np.int8], scale: float, zero_point: int) -> NDArray[np.float32]:
    """Real values of int8 codes; same shape, float32."""
    return (np.float32(scale) * (codes.astype(np.int32) - zero_point)).astype(np.float32)


def softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Probabilities over the last axis, float32."""
    shifted = np.asarray(logits, np.float32)
    exponentials = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True), np.float32)


def top_k(scores: NDArray[np.generic], k: int) -> NDArray[np.intp]:
    """Indices of the k largest scores along the last axis, best first; a tie goes to the lower index."""
    k = min(k, scores.shape[-1])
    # int8 codes are widened so that negating -128 cannot overflow; stable sorting settles ties.
    widened = scores.astype(np.float32, copy=False)
    return np.argsort(-widened, axis=-1, kind="stable")[..., :k]


def sqnr_db(reference: NDArray[np.floating[Any]], noisy: NDArray[np.floating[Any]]) -> float:
    """Signal-to-quantization-noise ratio in dB: 10 log10(sum(reference²) / sum((reference - noisy)²))."""
    signal = np.asarray(reference, np.float64)
    noise = signal - np.asarray(noisy, np.float64)
    noise_power = float(np.sum(noise**2))
    if noise_power == 0.0:
        return float("inf")
    return float(10.0 * np.log10(np.sum(signal**2) / noise_power))
