"""The way of a model: ONNX → float TFLite → a recipe, or the best of several → seal. Every stage is checked."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgekit.card import Measurement
from edgekit.images import ImageSet
from edgekit.preprocess import Image, normalize
from edgekit.progress import console
from edgekit_quantize.calibration_checks import check_normalization, sanity_warnings
from edgekit_quantize.calibration_images import read_calibration_images
from edgekit_quantize.candidate import Candidate, FloatModel
from edgekit_quantize.choose import Choice, Limit, choose
from edgekit_quantize.export import onnx_logits, torch_logits
from edgekit_quantize.proof import Proof, prove
from edgekit_quantize.recipe import Format, Recipe
from edgekit_quantize.seal import seal
from edgekit_quantize.source import ForeignOptions, Source, open_source
from edgekit_quantize.tflite import convert_with, tflite_logits
from edgekit_quantize.verify import Check, Comparison, compare_floats, is_one_answer
from edgekit_quantize.workers import Workers


@dataclass(frozen=True)
class Conversion:
    """What a conversion gives.

    Attributes:
        data: The sealed model file.
        onnx: The ONNX file that it was made from.
        page: The layer view, HTML; None unless it was asked for.
        comparisons: Float stages against each other.
        choice: The recipe taken, and all that were tried.
        proof: Of an int8 file.
        seconds: Stage name to wall time.
        skipped: One line per calibration image that could not be read.
        warnings: What the user should know.
    """

    data: bytes
    onnx: bytes
    page: str | None
    comparisons: tuple[Comparison, ...]
    choice: Choice
    proof: Proof | None
    seconds: dict[str, float]
    skipped: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def check(self) -> Check:
        """The finished model against the float one."""
        return self.choice.candidate.check


def convert(
    workers: Workers,
    images: ImageSet,
    recipes: Sequence[Recipe],
    *,
    name: str,
    foreign: ForeignOptions | None = None,
    explain: bool = False,
    seed: int = 0,
    threads: int = 2,
    budget: float = float("inf"),
    limit: Limit | None = None,
    golden: Sequence[Image] = (),
) -> Conversion:
    """Convert and quantize a classifier to one self-describing model.

    Args:
        workers: Started for this conversion on what is converted.
        images: Calibration images; at most `Recipe.calibration_images` of them are used.
        recipes: How to quantize; of several, `choose.choose` takes one.
        name: Of the model, for the card.
        foreign: What an ONNX file does not say about itself.
        explain: Make the layer view too; for INT8 recipes.
        seed: Of everything drawn.
        threads: Of the interpreters.
        budget: Seconds for all recipes together; see `choose.choose`.
        limit: How much accuracy may be lost; see `choose.choose`.
        golden: RGB uint8 (H, W, 3), for golden samples; by default some of the calibration images.

    Raises:
        InputError: Unusable network or images.
        GateError: No recipe keeps the limit.
        EdgekitError: A stage does not agree with the one before it.
    """
    seconds: dict[str, float] = {}
    model = _float_model(workers, images, recipes, foreign or ForeignOptions(), seed, threads, seconds)
    with _stage("quantize", seconds):
        choice = choose(model, recipes, seed=seed, threads=threads, budget=budget, limit=limit)
    chosen = choice.candidate
    with _stage("prove", seconds):
        proof = _prove(model, chosen, threads)
    with _stage("seal", seconds), console.status("seal …"):
        measurements = _measurements(model, choice, proof)
        shown = golden or model.images.originals
        data = seal(model.source, model.images, chosen, measurements, shown, name=name, seed=seed)
    page = None
    if explain:
        with _stage("explain", seconds):
            page = _explain(model, chosen, name)
    exported = workers.onnx.read_bytes()
    warnings = tuple(_warnings(model, choice, proof))
    return Conversion(data, exported, page, model.comparisons, choice, proof, seconds, model.images.skipped, warnings)


def _float_model(
    workers: Workers,
    images: ImageSet,
    recipes: Sequence[Recipe],
    foreign: ForeignOptions,
    seed: int,
    threads: int,
    seconds: dict[str, float],
) -> FloatModel:
    """The stages that all recipes share."""
    with _stage("to ONNX", seconds), console.status("to ONNX …"):
        source = open_source(workers, foreign)
        check_normalization(source.input)
        most = max(recipe.calibration_images for recipe in recipes)
        chosen = read_calibration_images(images, source.input, source.labels, most, seed)
        sample = normalize(chosen.verification, source.input)
        from_onnx = onnx_logits(source.onnx, sample)
        comparisons = _compare_with_torch(source, sample, from_onnx)
    with _stage("to float TFLite", seconds), console.status("to float TFLite …"):
        is_static = any(recipe.format in (Format.INT8, Format.INT16X8) for recipe in recipes)
        flatbuffer = convert_with(workers.tflite, source.onnx, chosen.verification, is_static)
        logits = tflite_logits(flatbuffer, sample, threads)
        comparisons += (compare_floats("ONNX → float TFLite", from_onnx, logits),)
    return FloatModel(source, chosen, flatbuffer, logits, comparisons)


def _prove(model: FloatModel, chosen: Candidate, threads: int) -> Proof | None:
    if chosen.check.format is not Format.INT8:
        return None
    spec = replace(model.source.input, quantization=chosen.check.input)
    return prove(chosen.flatbuffer, spec, model.images.verification, threads)


def _measurements(model: FloatModel, choice: Choice, proof: Proof | None) -> tuple[Measurement, ...]:
    return (
        *(comparison.measurement() for comparison in model.comparisons),
        *choice.candidate.check.measurements(),
        *choice.measurements(),
        *(() if proof is None else proof.measurements()),
    )


def _warnings(model: FloatModel, choice: Choice, proof: Proof | None) -> Iterator[str]:
    yield from choice.candidate.notes
    yield from choice.candidate.check.warnings()
    if is_one_answer(model.logits):
        yield (
            f"The float network calls all {len(model.logits)} images that it was checked on "
            f"{model.source.labels[int(model.logits[0].argmax())]!r}: either calibration images of other classes are "
            "missing or few, or it does not tell the classes apart."
        )
    if choice.seen:
        yield (
            f"{choice.seen} of the --evaluation images are calibration images too: the drop they show is too small. "
            "Judge by others."
        )
    if model.source.note:
        yield model.source.note
    yield from sanity_warnings(model.images, model.source.input)
    if proof is not None:
        yield from proof.warnings()


def _explain(model: FloatModel, chosen: Candidate, name: str) -> str:
    # It draws with matplotlib, which a conversion without it must not wait for.
    from edgekit_quantize.explain.page import explain

    return explain(model, chosen, name)


def _compare_with_torch(
    source: Source, sample: NDArray[np.float32], from_onnx: NDArray[np.float32]
) -> tuple[Comparison, ...]:
    if source.network is None:
        return ()
    return (compare_floats("PyTorch → ONNX", torch_logits(source.network, sample), from_onnx),)


@contextmanager
def _stage(name: str, seconds: dict[str, float]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start
