"""Comparing each stage with the one before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.card import InputSpec, Measurement, Quantization
from edgekit.errors import EdgekitError, InputError
from edgekit.preprocess import quantization_table, to_int8
from edgekit.quant import dequantize, sqnr_db
from edgekit.runtime import Kernels, Network

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


@dataclass(frozen=True)
class Int8Check:
    """The int8 model beside the float one.

    Attributes:
        kernels: What executes it under LiteRT.
        input: Quantization of the input tensor, as the interpreter reads it from the file.
        output: Of the output tensor.
        sqnr_db: Signal-to-quantization-noise ratio of the logits.
        agreement: Share of images with the same top-1 as float, in [0, 1].
        images: Number of images compared.
    """

    kernels: Kernels
    input: Quantization
    output: Quantization
    sqnr_db: float
    agreement: float
    images: int

    def measurement(self) -> Measurement:
        """For the model card."""
        return Measurement("logits SQNR, int8 against float TFLite", round(self.sqnr_db, 2), "dB", self.images)


def verify_int8(
    model: bytes, spec: InputSpec, pixels: NDArray[np.uint8], reference: NDArray[np.float32], threads: int
) -> Int8Check:
    """Run an int8 model on prepared images and compare with the logits of its float model.

    Args:
        model: The int8 flatbuffer.
        spec: Its input, with the quantization that it was meant to get.
        pixels: (N, height, width, 3) RGB uint8.
        reference: (N, classes) float logits.
        threads: Of the interpreter.

    Raises:
        EdgekitError: Input or output are not int8, or the input has another quantization than meant.
    """
    network = Network(model, threads)
    got, output, wanted = network.input_quantization, network.output_quantization, spec.quantization
    if got is None or output is None or wanted is None:
        raise EdgekitError("The int8 model must have int8 input and output, got float.")
    if got.zero_point != wanted.zero_point or abs(got.scale - wanted.scale) > 1e-6 * wanted.scale:
        raise EdgekitError(f"The input quantization must be {wanted}, got {got}.")
    table = quantization_table(spec, got)
    codes = np.stack([network.run(to_int8(image, table)) for image in pixels])
    logits = dequantize(codes, output.scale, output.zero_point)
    agreement = float((logits.argmax(1) == reference.argmax(1)).mean())
    return Int8Check(network.kernels, got, output, sqnr_db(reference, logits), agreement, len(pixels))
