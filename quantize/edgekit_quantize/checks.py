"""Comparing a stage with the one before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.card import Measurement
from edgekit.errors import EdgekitError, InputError

# Float stages compute the same network in another order of additions. Measured on MobileNetV1/V2: below 1e-5 of the
# largest logit; a wrong layout, padding or folding gives 1e-1 and more.
FLOAT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Comparison:
    """The largest deviation between two float stages.

    Attributes:
        name: "torch → ONNX" and the like.
        error: Largest absolute difference between logits.
        bound: What it may be.
        images: Number of images compared.
    """

    name: str
    error: float
    bound: float
    images: int

    def measurement(self) -> Measurement:
        """For the model card."""
        return Measurement(name=self.name, value=self.error, unit="max abs error", images=self.images)


def compare_floats(name: str, before: NDArray[np.float32], after: NDArray[np.float32]) -> Comparison:
    """Compare logits (N, classes) of two float stages.

    Raises:
        InputError: The earlier stage gives NaN or infinity.
        EdgekitError: They differ by more than FLOAT_TOLERANCE of the largest logit.
    """
    if not np.isfinite(before).all():
        raise InputError(f"{name}: logits must be finite, got NaN or infinity.", "Check the weights, train again.")
    if before.shape != after.shape:
        raise EdgekitError(f"{name}: the logits must have shape {before.shape}, got {after.shape}.")
    bound = FLOAT_TOLERANCE * max(1.0, float(np.abs(before).max()))
    error = float(np.abs(before - after).max())
    if not error <= bound:
        raise EdgekitError(
            f"{name}: logits must agree within {bound:.2g}, got a difference of {error:.2g}.",
            "The conversion changed the network; please report it with the model.",
        )
    return Comparison(name, error, bound, len(before))
