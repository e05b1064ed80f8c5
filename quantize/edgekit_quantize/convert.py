"""The way of a model: ONNX → float TFLite → calibrate → quantize → verify → seal. Every stage is checked."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit import __version__, bundle
from edgekit.card import Card, InputSpec, Measurement, OutputSpec, Provenance, Quantization
from edgekit.errors import EdgekitError, InputError
from edgekit.files import write_whole
from edgekit.images import ImageSet, Prepared
from edgekit.preprocess import Image, normalize, quantization_table, to_int8
from edgekit.progress import console, progress_bar
from edgekit.quant import dequantize, sqnr_db
from edgekit.runtime import Network
from edgekit_quantize.calibrate import choose_range, collect
from edgekit_quantize.checks import Comparison, compare_floats
from edgekit_quantize.export import onnx_logits, torch_logits
from edgekit_quantize.golden import COUNT as GOLDEN_COUNT
from edgekit_quantize.golden import make_golden
from edgekit_quantize.graph import Graph
from edgekit_quantize.metadata import attach
from edgekit_quantize.quantizer import input_quantization, quantize
from edgekit_quantize.recipe import RangeRule, Recipe
from edgekit_quantize.source import ForeignOptions, Source, open_source
from edgekit_quantize.tflite import convert_onnx, tflite_logits

VERIFY_IMAGES = 64
_TOOLS = ("torch", "onnx", "onnx2tf", "tensorflow", "ai-edge-quantizer", "ai-edge-litert", "opencv-python", "numpy")


@dataclass
class Conversion:
    """What a conversion gives.

    Attributes:
        data: The sealed model file.
        card: The card inside it.
        comparisons: Float stages against each other.
        sqnr_db: Logits of int8 against float TFLite, on the verification images.
        agreement: Fraction of them on which both have the same top-1.
        seconds: Stage name to wall time.
        skipped: One line per calibration image that could not be read.
        warnings: What the user should know.
    """

    data: bytes = b""
    card: Card | None = None
    comparisons: list[Comparison] = field(default_factory=list)
    sqnr_db: float = 0.0
    agreement: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage and show that it runs."""
        start = time.perf_counter()
        with console.status(f"{name} …"):
            yield
        self.seconds[name] = time.perf_counter() - start


@dataclass(frozen=True)
class Calibration:
    """The calibration images in memory: cropped and resized for the network, and a few as they were."""

    pixels: NDArray[np.uint8]
    originals: list[Image]

    @property
    def verification(self) -> NDArray[np.uint8]:
        """At most VERIFY_IMAGES of `pixels`, spread evenly: files of one class lie side by side."""
        return self.pixels[_spread(len(self.pixels), VERIFY_IMAGES)]


def convert(
    open_float: Callable[[], Source], images: ImageSet, recipe: Recipe, *, name: str, seed: int = 0, threads: int = 2
) -> Conversion:
    """Convert and quantize a classifier to one self-describing int8 model.

    Args:
        open_float: Gives the float network as ONNX; called as the first, timed stage.
        images: Calibration images; at most `recipe.calibration_images` of them are used, drawn with `seed`.
        recipe: How to quantize.
        name: Of the model, for the card.
        seed: Of the draw.
        threads: Of the interpreters.

    Raises:
        InputError: Unusable network or images.
        EdgekitError: A stage does not agree with the one before it.
    """
    result = Conversion()
    with result.stage("PyTorch → ONNX"):
        source = open_float()
        calibration = _read_images(images, source.input, recipe, seed, result)
        sample = normalize(calibration.verification, source.input)
        from_onnx = onnx_logits(source.onnx, sample)
        if source.network is not None:
            before = torch_logits(source.network, sample)
            result.comparisons.append(compare_floats("PyTorch → ONNX", before, from_onnx))
    with result.stage("ONNX → float TFLite"):
        float_model = convert_onnx(source.onnx, calibration.pixels)
        from_tflite = tflite_logits(float_model, sample, threads)
        result.comparisons.append(compare_floats("ONNX → float TFLite", from_onnx, from_tflite))
    quantization = input_quantization(source.input)
    spec = replace(source.input, quantization=quantization)
    int8_model = _quantize(float_model, spec, calibration.pixels, recipe, threads, result)
    with result.stage("verify and seal"):
        output = _verify(int8_model, spec, calibration.verification, from_tflite, threads, result)
        _seal(int8_model, source, spec, output, calibration, recipe, name, seed, result)
    return result


def convert_file(
    text: str,
    foreign: ForeignOptions,
    images: ImageSet,
    recipe: Recipe,
    *,
    name: str,
    onnx_out: Path | None = None,
    seed: int = 0,
    threads: int = 2,
) -> Conversion:
    """`convert` what the user named: a .pt or .onnx file or "mobilenet_v2:imagenet"; see `source.open_source`.

    Args:
        text: What to convert.
        foreign: What an ONNX file does not say about itself.
        images: Calibration images.
        recipe: How to quantize.
        name: Of the model, for the card.
        onnx_out: The ONNX file is kept here, once the whole conversion has passed.
        seed: Of the choice of calibration images.
        threads: Of the interpreters.

    Raises:
        InputError: Unusable network or images.
        EdgekitError: A stage does not agree with the one before it.
    """
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
        onnx = Path(scratch) / "model.onnx"
        opened = partial(open_source, text, onnx, foreign)
        result = convert(opened, images, recipe, name=name, seed=seed, threads=threads)
        if onnx_out is not None:
            write_whole(onnx_out, onnx.read_bytes())
    return result


def _read_images(images: ImageSet, spec: InputSpec, recipe: Recipe, seed: int, result: Conversion) -> Calibration:
    available = len(images.names)
    if not available:
        raise InputError("Calibration must have at least one image, got none.", "Check --calibration.")
    count = min(available, recipe.calibration_images)
    # Sorted, so that the choice is a set and the disk is read in order.
    chosen = np.sort(np.random.default_rng(seed).permutation(available)[:count])
    subset = images.subset(chosen)
    prepared = Prepared(subset, spec)
    readable, pixels = zip(*prepared, strict=True)
    result.skipped = prepared.skipped
    stacked = np.stack(pixels)
    originals = [subset.image(readable[i]) for i in _spread(len(readable), GOLDEN_COUNT)]
    if len(stacked) > 1 and (stacked == stacked[0]).all():
        raise InputError(f"Calibration images must differ, got {len(stacked)} identical ones.")
    if len(stacked) < 32:
        result.warnings.append(f"Only {len(stacked)} calibration images: ranges are guesses. 100 or more are better.")
    return Calibration(stacked, originals)


def _spread(available: int, wanted: int) -> NDArray[np.int64]:
    """Indices of at most `wanted` of `available` things, evenly spaced."""
    return np.unique(np.linspace(0, available - 1, min(available, wanted)).round().astype(np.int64))


def _quantize(
    float_model: bytes,
    spec: InputSpec,
    pixels: NDArray[np.uint8],
    recipe: Recipe,
    threads: int,
    result: Conversion,
) -> bytes:
    start = time.perf_counter()
    quantization = _required(spec.quantization)
    table = quantization_table(spec)
    with progress_bar(unit="images") as bar:
        task = bar.add_task("calibrate", total=len(pixels))

        def inputs() -> Iterator[NDArray[np.float32]]:
            # What the int8 network will really see, the rounding of its input included.
            for image in pixels:
                yield dequantize(to_int8(image, table), quantization.scale, quantization.zero_point)
                bar.advance(task)

        histograms = collect(float_model, inputs(), threads)
    result.seconds["calibrate"] = time.perf_counter() - start
    with result.stage("quantize"):
        graph = Graph(float_model)
        ranges = {
            # The largest logits are the answer: they are never clipped.
            name: choose_range(histogram, RangeRule.MINMAX if name == graph.output else recipe.activation_range)
            for name, histogram in histograms.items()
            if name != graph.input
        }
        return quantize(float_model, ranges, quantization)


def _verify(
    model: bytes,
    spec: InputSpec,
    pixels: NDArray[np.uint8],
    reference: NDArray[np.float32],
    threads: int,
    result: Conversion,
) -> Quantization:
    """Run the int8 model beside the float one; returns its output quantization."""
    network = Network(model, threads)
    if network.input_quantization is None or network.output_quantization is None:
        raise EdgekitError("The int8 model must have int8 input and output, got float.")
    wanted = _required(spec.quantization)
    got = network.input_quantization
    if got.zero_point != wanted.zero_point or abs(got.scale - wanted.scale) > 1e-6 * wanted.scale:
        raise EdgekitError(f"The input quantization must be {wanted}, got {got}.")
    output = network.output_quantization
    table = quantization_table(spec)
    codes = np.stack([network.run(to_int8(image, table)) for image in pixels])
    logits = dequantize(codes, output.scale, output.zero_point)
    result.sqnr_db = sqnr_db(reference, logits)
    result.agreement = float((logits.argmax(1) == reference.argmax(1)).mean())
    return output


def _seal(
    model: bytes,
    source: Source,
    spec: InputSpec,
    output: Quantization,
    calibration: Calibration,
    recipe: Recipe,
    name: str,
    seed: int,
    result: Conversion,
) -> None:
    description = f"{source.architecture.name} image classifier, {len(source.labels)} classes, {recipe.description}."
    described = attach(model, name, description, source.input)
    golden = make_golden(described, spec, calibration.originals)
    count = len(calibration.verification)
    card = Card(
        name=name,
        architecture=source.architecture,
        input=spec,
        output=OutputSpec(classes=len(source.labels), quantization=output),
        labels=source.labels,
        provenance=Provenance(
            tools={"edgekit": __version__} | {tool: metadata.version(tool) for tool in _TOOLS},
            recipe=recipe.name,
            seed=seed,
            reference_sha256=source.sha256,
            calibration_sha256=hashlib.sha256(calibration.pixels.tobytes()).hexdigest(),
            calibration_images=len(calibration.pixels),
        ),
        measurements=(
            *(comparison.measurement() for comparison in result.comparisons),
            Measurement("logits SQNR, int8 against float TFLite", round(result.sqnr_db, 2), "dB", count),
        ),
        golden=golden.samples,
        builtin_runtime=golden.builtin_runtime,
        builtin_bound=golden.builtin_bound,
    )
    result.data = bundle.seal(described, card, golden.files)
    result.card = bundle.parse(result.data, name).card


def _required(quantization: Quantization | None) -> Quantization:
    if quantization is None:
        raise EdgekitError("The input must be quantized at this stage, got a float input.")
    return quantization
