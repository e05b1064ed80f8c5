"""One recipe tried on one float network: a model file in the making, and how far it is from float."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgekit_quantize import formats
from edgekit_quantize.calibration_images import CalibrationImages
from edgekit_quantize.optimize import Calibration, calibrated_ranges, optimize
from edgekit_quantize.plan import Plan
from edgekit_quantize.quantizer import input_quantization, quantize
from edgekit_quantize.recipe import Format, Recipe
from edgekit_quantize.source import Source
from edgekit_quantize.unsupported import naming_nodes
from edgekit_quantize.verify import Check, Comparison, verify


@dataclass(frozen=True)
class FloatModel:
    """What every recipe starts from.

    Attributes:
        source: The network as the user gave it.
        images: Calibration images.
        flatbuffer: The float TFLite network.
        logits: (N, classes) float32, its answers to `images.verification`.
        comparisons: How far the stages up to it deviate.
    """

    source: Source
    images: CalibrationImages
    flatbuffer: bytes
    logits: NDArray[np.float32]
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True)
class Candidate:
    """What a recipe made.

    Attributes:
        recipe: The recipe.
        flatbuffer: The model, without card.
        check: Against float, on images that the recipe has not seen.
        seconds: Wall time.
        optimized: The float network that was quantized, and the plan; None unless the format is INT8.
    """

    recipe: Recipe
    flatbuffer: bytes
    check: Check
    seconds: float
    optimized: tuple[bytes, Plan] | None


def make_candidate(model: FloatModel, recipe: Recipe, seed: int, threads: int) -> Candidate:
    """Carry out a recipe and check the result.

    Raises:
        InputError: The network cannot be brought into the recipe's format; the cause is named.
        EdgekitError: The result is not what the recipe says.
    """
    start = time.perf_counter()
    spec, pixels = model.source.input, model.images.fitting
    optimized = None
    with naming_nodes(model.source.onnx):
        if recipe.format is Format.INT8:
            spec = replace(spec, quantization=input_quantization(spec))
            optimized = optimize(model.flatbuffer, Calibration(pixels, spec, seed, threads), recipe)
            flatbuffer = quantize(*optimized)
        else:
            needs_ranges = recipe.format is Format.INT16X8
            calibration = Calibration(pixels, spec, seed, threads)
            rule = recipe.activation_range
            ranges = calibrated_ranges(model.flatbuffer, calibration, rule) if needs_ranges else {}
            flatbuffer = formats.make(model.flatbuffer, recipe.format, ranges)
    check = verify(flatbuffer, recipe.format, spec, model.images.verification, model.logits, threads)
    return Candidate(recipe, flatbuffer, check, time.perf_counter() - start, optimized)
