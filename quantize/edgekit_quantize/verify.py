"""Comparing each stage with the one before it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.card import InputSpec, Measurement, Quantization
from edgekit.errors import EdgekitError, InputError
from edgekit.quant import sqnr_db
from edgekit.runtime import Kernels, Network
from edgekit_quantize.formats import format_of
from edgekit_quantize.inference import PixelNetwork
from edgekit_quantize.recipe import Format

# Float stages compute the same network in another order of additions. Measured on MobileNetV1/V2: below 1e-5 of the
# largest logit; a wrong layout, padding or folding gives 1e-1 and more.
FLOAT_TOLERANCE = 1e-3
# Plain min/max ranges, which lose a point or two, were measured at 11 to 13 dB and 88 % on MobileNetV2.
_LEAST_SQNR_DB = 10.0
_LEAST_AGREEMENT = 0.85
# So many images of two equally frequent classes are all of one in 3 % of drawings; of more classes more rarely.
_LEAST_ANSWERS = 6


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
        EdgekitError: They differ by more than FLOAT_TOLERANCE of the largest logit, or of 1 if all are smaller.
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


def is_one_answer(logits: NDArray[np.float32]) -> bool:
    """Whether so many images (N, classes) that chance would not do it are all called the same."""
    images, classes = logits.shape
    return images >= _LEAST_ANSWERS and classes > 1 and len(np.unique(logits.argmax(1))) == 1


@dataclass(frozen=True)
class Check:
    """The finished model beside the float TFLite one.

    Attributes:
        format: What the file holds.
        kernels: What executes it under LiteRT.
        input: Quantization of the input tensor, as the interpreter reads it from the file; None: float32.
        output: Of the output tensor, likewise.
        sqnr_db: Signal-to-quantization-noise ratio of the logits; infinite if they are the same.
        agreement: Share of images with the same top-1 as float, in [0, 1].
        images: Number of images compared.
    """

    format: Format
    kernels: Kernels
    input: Quantization | None
    output: Quantization | None
    sqnr_db: float
    agreement: float
    images: int

    def measurements(self) -> tuple[Measurement, ...]:
        """For the model card; none if the logits are the same, as JSON knows no infinity."""
        if not math.isfinite(self.sqnr_db):
            return ()
        pair = f"{self.format} against float TFLite"
        return (
            Measurement(f"logits SQNR, {pair}", round(self.sqnr_db, 2), "dB", self.images),
            Measurement(f"same top-1, {pair}", round(100.0 * self.agreement, 2), "%", self.images),
        )

    def warnings(self) -> Iterator[str]:
        """Whether the file is far from its float network."""
        if self.sqnr_db < _LEAST_SQNR_DB or self.agreement < _LEAST_AGREEMENT:
            see_why = "See why with --explain, and measure" if self.format is Format.INT8 else "Measure"
            yield (
                f"This file is far from its float network: {self.sqnr_db:.1f} dB, same top-1 on {self.agreement:.0%} "
                f"of {self.images} images. {see_why} the loss with edgekit report."
            )


def verify(
    model: bytes,
    file_format: Format,
    spec: InputSpec,
    pixels: NDArray[np.uint8],
    reference: NDArray[np.float32],
    threads: int,
) -> Check:
    """Run a finished model on prepared images and compare with the logits of its float model.

    Args:
        model: The flatbuffer.
        file_format: What it is meant to hold.
        spec: Its input, with the quantization that it was meant to get; None for float32.
        pixels: (N, height, width, 3) RGB uint8.
        reference: (N, classes) float logits.
        threads: Of the interpreter.

    Raises:
        InputError: It gives NaN or infinity.
        EdgekitError: It holds something else, has other ends, or another quantization of the input than meant.
    """
    network = Network(model, threads)
    _check_held(model, file_format)
    _check_ends(network, spec.quantization)
    pixel_network = PixelNetwork(network, spec)
    logits = np.stack([pixel_network.logits(image) for image in pixels])
    if not np.isfinite(logits).all():
        raise InputError(f"The {file_format} model must give finite logits, got NaN or infinity.", "Use --recipe fp32.")
    agreement = float((logits.argmax(1) == reference.argmax(1)).mean())
    return Check(
        format=file_format,
        kernels=network.kernels,
        input=network.input_quantization,
        output=network.output_quantization,
        sqnr_db=sqnr_db(reference, logits),
        agreement=agreement,
        images=len(pixels),
    )


def _check_held(model: bytes, wanted: Format) -> None:
    found = format_of(model)
    if found is not wanted:
        raise EdgekitError(f"The file must hold {wanted}, got {found}.")


def _check_ends(network: Network, wanted: Quantization | None) -> None:
    """Input and output are int8 with the input quantization `wanted`, or float32 without one."""
    kind = np.dtype(np.float32 if wanted is None else np.int8)
    if network.input_dtype != kind or network.output_dtype != kind:
        raise EdgekitError(
            f"The model must have {kind} input and output, got {network.input_dtype} and {network.output_dtype}."
        )
    got = network.input_quantization
    if got is None or wanted is None:
        return
    if got.zero_point != wanted.zero_point or abs(got.scale - wanted.scale) > 1e-6 * wanted.scale:
        raise EdgekitError(f"The input quantization must be {wanted}, got {got}.")
