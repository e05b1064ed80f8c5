"""The way of a model: ONNX → float TFLite → calibrate → quantize → verify → seal. Every stage is checked."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.files import write_whole
from edgekit.images import ImageSet
from edgekit.preprocess import normalize
from edgekit.progress import console
from edgekit.runtime import Kernels
from edgekit_quantize.calibration_images import CalibrationImages, read_calibration_images
from edgekit_quantize.export import onnx_logits, torch_logits
from edgekit_quantize.optimize import Calibration, optimize
from edgekit_quantize.quantizer import input_quantization, quantize
from edgekit_quantize.recipe import Recipe
from edgekit_quantize.seal import seal
from edgekit_quantize.source import ForeignOptions, Source, open_source
from edgekit_quantize.tflite import convert_onnx, tflite_logits
from edgekit_quantize.verify import Comparison, Int8Check, compare_floats, verify_int8


@dataclass(frozen=True)
class Conversion:
    """What a conversion gives.

    Attributes:
        data: The sealed model file.
        comparisons: Float stages against each other.
        check: The int8 model against the float one.
        seconds: Stage name to wall time.
        skipped: One line per calibration image that could not be read.
        warnings: What the user should know.
    """

    data: bytes
    comparisons: tuple[Comparison, ...]
    check: Int8Check
    seconds: dict[str, float]
    skipped: tuple[str, ...]
    warnings: tuple[str, ...]


def convert(
    text: str,
    images: ImageSet,
    recipe: Recipe,
    *,
    name: str,
    foreign: ForeignOptions | None = None,
    onnx_out: Path | None = None,
    seed: int = 0,
    threads: int = 2,
) -> Conversion:
    """Convert and quantize a classifier to one self-describing int8 model.

    Args:
        text: A .pt or .onnx file or "mobilenet_v2:imagenet"; see `source.open_source`.
        images: Calibration images; at most `recipe.calibration_images` of them are used.
        recipe: How to quantize.
        name: Of the model, for the card.
        foreign: What an ONNX file does not say about itself.
        onnx_out: The ONNX file is kept here, once the whole conversion has passed.
        seed: Of the choice of calibration images.
        threads: Of the interpreters.

    Raises:
        InputError: Unusable network or images.
        EdgekitError: A stage does not agree with the one before it.
    """
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
        with _stage("to ONNX", seconds):
            source = open_source(text, Path(scratch) / "model.onnx", foreign or ForeignOptions())
            chosen = read_calibration_images(images, source.input, recipe.calibration_images, seed)
            sample = normalize(chosen.verification, source.input)
            from_onnx = onnx_logits(source.onnx, sample)
            comparisons = _compare_with_torch(source, sample, from_onnx)
        with _stage("to float TFLite", seconds):
            float_model = convert_onnx(source.onnx, chosen.pixels)
            from_tflite = tflite_logits(float_model, sample, threads)
            comparisons += (compare_floats("ONNX → float TFLite", from_onnx, from_tflite),)
        spec = replace(source.input, quantization=input_quantization(source.input))
        with _stage("optimize", seconds, shows_itself=True):
            calibration = Calibration(chosen.fitting, spec, seed, threads)
            optimized, plan = optimize(float_model, calibration, recipe)
        with _stage("quantize", seconds):
            int8_model = quantize(optimized, plan)
        with _stage("verify and seal", seconds):
            check = verify_int8(int8_model, spec, chosen.verification, from_tflite, threads)
            data = seal(int8_model, source, chosen, recipe, comparisons, check, name=name, seed=seed)
        if onnx_out is not None:
            write_whole(onnx_out, source.onnx.read_bytes())
    return Conversion(data, comparisons, check, seconds, chosen.skipped, tuple(_warnings(chosen, check)))


def _warnings(chosen: CalibrationImages, check: Int8Check) -> Iterator[str]:
    if chosen.are_few:
        yield f"Only {len(chosen.pixels)} calibration images: ranges are little more than guesses; take 100 or more."
    if check.kernels is not Kernels.XNNPACK:
        yield "XNNPACK takes only a part of this network: slower, and other processors may give slightly other bits."


def _compare_with_torch(
    source: Source, sample: NDArray[np.float32], from_onnx: NDArray[np.float32]
) -> tuple[Comparison, ...]:
    if source.network is None:
        return ()
    return (compare_floats("PyTorch → ONNX", torch_logits(source.network, sample), from_onnx),)


@contextmanager
def _stage(name: str, seconds: dict[str, float], shows_itself: bool = False) -> Iterator[None]:
    """Time a stage and show that it runs."""
    start = time.perf_counter()
    if shows_itself:
        yield
    else:
        with console.status(f"{name} …"):
            yield
    seconds[name] = time.perf_counter() - start
