"""Post-training optimization, in the order of a recipe: equalize → calibrate → plan → tune."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.card import InputSpec
from edgekit.errors import EdgekitError
from edgekit.preprocess import Image, normalize, quantization_table, to_int8
from edgekit.progress import progress_bar, tracked
from edgekit.quant import dequantize
from edgekit.train.augment import Augmentation, augment
from edgekit_quantize.calibrate import Extremes, Histogram, Range, collect, mse_range
from edgekit_quantize.equalize import channel_maxima, equalize
from edgekit_quantize.graph import Graph, with_constants
from edgekit_quantize.plan import Plan, plan_for
from edgekit_quantize.recipe import RangeRule, Recipe, Tuning
from edgekit_quantize.tune import Batch, tune
from edgekit_quantize.twin import Twin
from edgekit_quantize.verify import compare_floats

_COMPARED = 8


@dataclass(frozen=True)
class Calibration:
    """The images that ranges and tuning see.

    Attributes:
        pixels: (N, height, width, 3) RGB uint8.
        targets: (N,) class of each; -1 where unknown.
        spec: The input, with the quantization of the file; None: float32.
        seed: Of everything drawn.
    """

    pixels: Image
    targets: NDArray[np.int64]
    spec: InputSpec
    seed: int

    def exact(self, pixels: Image) -> NDArray[np.float32]:
        """Normalized, for the float network."""
        return normalize(pixels, self.spec)

    def rounded(self, pixels: Image) -> NDArray[np.float32]:
        """Normalized, as the input of the file holds it."""
        quantization = self.spec.quantization
        if quantization is None:
            return self.exact(pixels)
        codes = to_int8(pixels, quantization_table(self.spec))
        return dequantize(codes, quantization.scale, quantization.zero_point)


@dataclass(frozen=True)
class Optimized:
    """What the techniques of a recipe lead to.

    Attributes:
        float_model: A float network of the same function as the one given.
        plan: By which it becomes int8.
        tuned: The same after tuning; None if the recipe has none, or there is nothing that can be tuned.
        unknown: Operators that equalization and tuning do not know: they, and what depends on them, are left as they
            are, with the ranges that calibration gave.
    """

    float_model: bytes
    plan: Plan
    tuned: Plan | None
    unknown: tuple[str, ...] = ()


def optimize(float_model: bytes, calibration: Calibration, recipe: Recipe) -> Optimized:
    """Carry out the techniques of an INT8 recipe.

    Raises:
        InputError: An activation holds NaN or infinity.
        EdgekitError: The input has no quantization; or tuning went astray.
    """
    if calibration.spec.quantization is None:
        raise EdgekitError("The input of an int8 network must have a quantization, got none.")
    twin = Twin(float_model)
    if recipe.equalization > 0.0:
        float_model = _equalized(float_model, twin, calibration, recipe.equalization)
        twin = Twin(float_model)
    ranges = calibrated_ranges(float_model, calibration, recipe.activation_range)
    plan = plan_for(twin.graph, ranges, calibration.spec.quantization)
    tuned = None
    if recipe.tuning is not None and twin.layers:
        tuned = _tuned(twin, plan, calibration, recipe.tuning)
    was_asked = recipe.tuning is not None or recipe.equalization > 0.0
    return Optimized(float_model, plan, tuned, twin.unknown_operators() if was_asked else ())


def calibrated_ranges(float_model: bytes, calibration: Calibration, rule: RangeRule) -> dict[str, Range]:
    """Ranges of all activations by `rule`; input and logits are never clipped, the largest logits are the answer.

    Raises:
        InputError: An activation holds NaN or infinity.
    """
    inputs = _inputs("calibrate", calibration)
    if rule is RangeRule.MINMAX:
        return {name: seen.range() for name, seen in collect(float_model, inputs, Extremes).items()}
    graph = Graph(float_model)
    ends = {graph.input, graph.output}
    histograms = collect(float_model, inputs, Histogram)
    return {name: seen.range() if name in ends else mse_range(seen) for name, seen in histograms.items()}


def _equalized(float_model: bytes, twin: Twin, calibration: Calibration, strength: float) -> bytes:
    maxima = channel_maxima(twin, (torch.from_numpy(image[None]) for image in _inputs("equalize", calibration)))
    result = with_constants(float_model, equalize(twin, maxima, strength))
    # What the maxima were taken of: on other inputs a RELU6 may clip more than before.
    sample = torch.from_numpy(calibration.rounded(calibration.pixels[:_COMPARED]))
    with torch.inference_mode():
        before, after = twin(sample), Twin(result)(sample)
    for name in twin.ends:
        compare_floats("equalization", before[name].numpy(), after[name].numpy())
    return result


def _inputs(name: str, calibration: Calibration) -> Iterator[NDArray[np.float32]]:
    """Every image, normalized as the input of the file holds it, with a bar called `name`."""
    return map(calibration.rounded, tracked(name, calibration.pixels, len(calibration.pixels)))


def _tuned(twin: Twin, plan: Plan, calibration: Calibration, options: Tuning) -> Plan:
    random = torch.Generator().manual_seed(calibration.seed)
    variation = Augmentation(flip=options.flip, zoom=options.zoom)
    images, targets = torch.from_numpy(calibration.pixels), torch.from_numpy(calibration.targets)

    def batches() -> Batch:
        chosen = torch.randperm(len(images), generator=random)[: options.batch]
        varied = augment(images[chosen], (images.shape[1], images.shape[2]), variation, random)
        pixels = varied.permute(0, 2, 3, 1).round().to(torch.uint8).numpy()
        exact, rounded = (torch.from_numpy(see(pixels)) for see in (calibration.exact, calibration.rounded))
        return Batch(exact, rounded, targets[chosen])

    with progress_bar("sqnr", unit="steps") as bar:
        task = bar.add_task("tune", total=options.steps, sqnr="")
        running = 0.0

        def advance(error: float) -> None:
            nonlocal running
            running = 0.95 * running + 0.05 * error if running else error
            bar.update(task, advance=1, sqnr=f"{-10.0 * math.log10(max(running, 1e-12)):.1f} dB")

        return tune(twin, plan, batches, options, advance)
