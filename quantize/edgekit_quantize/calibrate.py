"""Calibration: the distribution of every activation over real images, and the ranges that follow from it.

The result does not depend on the order of the images, and memory does not grow with their number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import InputError
from edgekit_quantize.graph import Graph
from edgekit_quantize.tensors import Tensors

HALF_BINS = 2048
# Fractions of the observed range that the MSE search tries. Below 0.3 no distribution of a trained network was best.
_FRACTIONS = np.linspace(0.3, 1.0, 71)


@dataclass(frozen=True)
class Range:
    """Real values that the int8 codes of a tensor span; low ≤ 0 ≤ high, low < high."""

    low: float
    high: float


@dataclass
class Extremes:
    """The smallest and the largest value, and zero."""

    low: float = 0.0
    high: float = 0.0

    def add(self, values: NDArray[np.float32]) -> bool:
        """See float32 values of any shape; False, and nothing is kept, if one is NaN or infinite."""
        low, high = float(values.min()), float(values.max())
        # Of values with a NaN, both are NaN.
        if not (math.isfinite(low) and math.isfinite(high)):
            return False
        self.low, self.high = min(self.low, low), max(self.high, high)
        return True

    def range(self) -> Range:
        """From one to the other; if all is zero, [0, 1]."""
        return Range(self.low, self.high) if self.low < self.high else Range(0.0, 1.0)


Seen = TypeVar("Seen", bound=Extremes)


@dataclass
class Histogram(Extremes):
    """Counts over bins of width 2**exponent anchored at zero, for values in [-2048, 2048) bins.

    When a value does not fit, the bins are merged in pairs. Merging is exact, hence the counts depend on the set of
    values only, not on the order in which they came.
    """

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2 * HALF_BINS, np.int64))
    exponent: int = -100

    def add(self, values: NDArray[np.float32]) -> bool:
        """Count float32 values of any shape, as `Extremes.add`."""
        if not super().add(values):
            return False
        self._widen(max(-self.low, self.high))
        bins = np.floor(values.ravel() * np.float32(2.0**-self.exponent)).astype(np.int32)
        bins += HALF_BINS
        self.counts += np.bincount(bins, minlength=2 * HALF_BINS)
        return True

    def centers(self) -> NDArray[np.float64]:
        """Middle value of each bin."""
        return (np.arange(-HALF_BINS, HALF_BINS) + 0.5) * 2.0**self.exponent

    def _widen(self, magnitude: float) -> None:
        if not self.counts.any():
            self.exponent = -100
        while magnitude >= HALF_BINS * 2.0**self.exponent:
            if self.counts.any():
                merged = self.counts.reshape(-1, 2).sum(axis=1)
                self.counts = np.zeros_like(self.counts)
                self.counts[HALF_BINS // 2 : HALF_BINS // 2 + HALF_BINS] = merged
            self.exponent += 1


def collect(float_model: bytes, inputs: Iterable[NDArray[np.float32]], kind: type[Seen]) -> dict[str, Seen]:
    """Run the float network and look at the values of every activation.

    Args:
        float_model: A float TFLite flatbuffer.
        inputs: Normalized images, each (height, width, 3) float32.
        kind: What is kept of them: counting takes as long as the network.

    Returns:
        Tensor name to what was seen.

    Raises:
        InputError: No image, or a tensor holds NaN or infinity (it is named).
    """
    tensors = Tensors(float_model)
    found = {name: kind() for name in Graph(float_model).activations()}
    images = 0
    for pixels in inputs:
        tensors.run(pixels)
        for name, seen in found.items():
            if not seen.add(tensors.real(name)):
                raise InputError(f"Activations must be finite, got NaN or infinity in tensor {name}.", "Train again.")
        images += 1
    if not images:
        raise InputError("Calibration must see at least one image, got none.", "Check --calibration.")
    return found


def mse_range(histogram: Histogram) -> Range:
    """The range whose 256 codes give the least mean squared error, both ends searched in turn; zero is inside."""
    if histogram.low == histogram.high:
        return histogram.range()
    occupied = np.flatnonzero(histogram.counts)
    values, weights = histogram.centers()[occupied], histogram.counts[occupied].astype(np.float64)
    both = [_error(values, weights, f * histogram.low, f * histogram.high) for f in _FRACTIONS]
    start = float(_FRACTIONS[int(np.argmin(both))])
    low, high = start * histogram.low, start * histogram.high
    if low < 0.0:
        low = _best([(_error(values, weights, f * histogram.low, high), f * histogram.low) for f in _FRACTIONS])
    if high > 0.0:
        high = _best([(_error(values, weights, low, f * histogram.high), f * histogram.high) for f in _FRACTIONS])
    return Range(low, high)


def _best(candidates: list[tuple[float, float]]) -> float:
    return float(min(candidates)[1])


def _error(values: NDArray[np.float64], weights: NDArray[np.float64], low: float, high: float) -> float:
    scale = (high - low) / 255.0
    codes = np.clip(np.round(values / scale), np.round(low / scale), np.round(high / scale))
    return float(np.sum(weights * (values - codes * scale) ** 2))
