"""One recipe tried on one float network: a model file in the making, and how far it is from float."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgekit.card import InputSpec
from edgekit_quantize import formats
from edgekit_quantize.calibration_images import FEW_IMAGES, CalibrationImages
from edgekit_quantize.optimize import Calibration, Optimized, calibrated_ranges, optimize
from edgekit_quantize.quantizer import input_quantization, quantize
from edgekit_quantize.recipe import Format, Recipe
from edgekit_quantize.source import Source
from edgekit_quantize.unsupported import naming_nodes
from edgekit_quantize.verify import Check, Comparison, verify

_UNKNOWN = "Equalization and tuning do not know {}: these, and what depends on them, keep their calibrated ranges."
_TOO_FEW_TO_TUNE = f"Tuning was left out: it needs {FEW_IMAGES} calibration images, or it learns them by heart."
_TUNING_LEFT_OUT = (
    "Tuning was left out: on the images held back it was no closer to float. More steps, or more and more varied "
    "calibration images, would help."
)


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
        check: Against float, on images that the recipe has not seen, unless there are too few to hold any back.
        seconds: Wall time.
        optimized: What was quantized; None unless the format is INT8.
        is_tuned: Whether tuning was carried out and kept.
        notes: What the user should know.
    """

    recipe: Recipe
    flatbuffer: bytes
    check: Check
    seconds: float
    optimized: Optimized | None = None
    is_tuned: bool = False
    notes: tuple[str, ...] = ()


def make_candidate(model: FloatModel, recipe: Recipe, seed: int, threads: int) -> Candidate:
    """Carry out a recipe and check the result.

    Raises:
        InputError: The network cannot be brought into the recipe's format; the cause is named.
        EdgekitError: The result is not what the recipe says.
    """
    start = time.perf_counter()
    make = _int8 if recipe.format is Format.INT8 else _with_float_ends
    candidate = make(model, recipe, seed, threads)
    return replace(candidate, seconds=time.perf_counter() - start)


def _int8(model: FloatModel, recipe: Recipe, seed: int, threads: int) -> Candidate:
    spec = replace(model.source.input, quantization=input_quantization(model.source.input))
    is_too_much = model.images.are_few and recipe.tuning is not None
    applied = replace(recipe, tuning=None) if is_too_much else recipe
    optimized = optimize(model.flatbuffer, _calibration(model, spec, seed), applied)
    made = []
    for plan in filter(None, (optimized.tuned, optimized.plan)):
        with naming_nodes(model.source.onnx):
            flatbuffer = quantize(optimized.float_model, plan)
        check = verify(flatbuffer, Format.INT8, spec, model.images.verification, model.logits, threads)
        made.append(Candidate(recipe, flatbuffer, check, 0.0, optimized, is_tuned=plan is optimized.tuned))
    # Few or monotonous images may teach what does not hold for others.
    best = max(made, key=lambda candidate: candidate.check.sqnr_db)
    notes = [_UNKNOWN.format(", ".join(optimized.unknown))] if optimized.unknown else []
    if is_too_much:
        notes.append(_TOO_FEW_TO_TUNE)
    elif best is not made[0]:
        notes.append(_TUNING_LEFT_OUT)
    return replace(best, notes=tuple(notes))


def _with_float_ends(model: FloatModel, recipe: Recipe, seed: int, threads: int) -> Candidate:
    spec, ranges = model.source.input, {}
    if recipe.format is Format.INT16X8:
        calibration = _calibration(model, spec, seed)
        ranges = calibrated_ranges(model.flatbuffer, calibration, recipe.activation_range)
    with naming_nodes(model.source.onnx):
        flatbuffer = formats.make(model.flatbuffer, recipe.format, ranges)
    check = verify(flatbuffer, recipe.format, spec, model.images.verification, model.logits, threads)
    return Candidate(recipe, flatbuffer, check, 0.0)


def _calibration(model: FloatModel, spec: InputSpec, seed: int) -> Calibration:
    return Calibration(model.images.fitting, model.images.targets, spec, seed)
