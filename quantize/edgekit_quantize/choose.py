"""Trying recipes: the best by a distance to float that needs no labels, or the first that labels let pass."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.card import Measurement
from edgekit.errors import GateError
from edgekit.images import ImageSet, Prepared
from edgekit.preprocess import Image, normalize
from edgekit.progress import tracked
from edgekit.runtime import Network
from edgekit.train.chance import is_like_chance
from edgekit_quantize.blame import blame
from edgekit_quantize.candidate import Candidate, FloatModel, make_candidate
from edgekit_quantize.inference import PixelNetwork
from edgekit_quantize.recipe import Recipe
from edgekit_quantize.report.gate import Gate, Outcome, judge_drop
from edgekit_quantize.report.labels import targets_by_name
from edgekit_quantize.report.statistics import Estimate, paired_counts, paired_drop

_NAMED_LAYERS = 3
_BLAME_IMAGES = 16


@dataclass(frozen=True)
class Limit:
    """How much accuracy may be lost.

    Attributes:
        max_drop: In percentage points, for the upper bound of the 95 % interval.
        images: Labelled images; their classes are the model's, by name.
    """

    max_drop: float
    images: ImageSet


@dataclass(frozen=True)
class Attempt:
    """A recipe that was tried, or passed over.

    Attributes:
        recipe: The recipe.
        candidate: What it made; None if passed over.
        drop: Top-1 lost on the labelled images, in points; None without any.
        images: How many labelled images that was measured on.
        note: Why it was passed over, or what the labels say.
        gate: The drop held against the limit; None without labelled images.
    """

    recipe: Recipe
    candidate: Candidate | None
    drop: Estimate | None = None
    images: int = 0
    note: str = ""
    gate: Gate | None = None

    def measurements(self) -> tuple[Measurement, ...]:
        """What the labelled images say, for the model card."""
        if self.drop is None:
            return ()
        name = f"top-1 drop, {self.recipe.format} against float TFLite"
        return (Measurement(name, round(self.drop.value, 2), "points", self.images),)


@dataclass(frozen=True)
class Choice:
    """The outcome.

    Attributes:
        candidate: The chosen one.
        attempts: All recipes, in the order tried.
        seen: How many of the labelled images calibration saw as well: they judge too kindly.
    """

    candidate: Candidate
    attempts: tuple[Attempt, ...]
    seen: int = 0

    def measurements(self) -> tuple[Measurement, ...]:
        """What the labelled images say of the chosen one, for the model card."""
        return next(attempt.measurements() for attempt in self.attempts if attempt.candidate is self.candidate)


def choose(
    model: FloatModel,
    recipes: Sequence[Recipe],
    *,
    seed: int,
    threads: int,
    budget: float = float("inf"),
    limit: Limit | None = None,
) -> Choice:
    """Try recipes in their order.

    Args:
        model: The float network.
        recipes: At least one.
        seed: Of everything drawn.
        threads: Of the interpreters.
        budget: Seconds; a recipe that would overrun is passed over, but for the first.
        limit: With one, the first recipe that keeps it is taken and the rest not tried. Without, the one with the
            highest SQNR of the logits on images that no recipe has seen.

    Raises:
        GateError: No recipe keeps the limit, and the layers that cost most are named; or the float network is like
            chance.
        InputError: As `make_candidate`; or the labelled images do not belong to the model.
    """
    deadline = time.perf_counter() + budget
    judged = None if limit is None else _Judge(model, limit, threads)
    attempts: list[Attempt] = []
    for recipe in recipes:
        made = [attempt.candidate for attempt in attempts if attempt.candidate is not None]
        if made and time.perf_counter() + (expected := _expected_seconds(model, recipe, made)) > deadline:
            attempts.append(Attempt(recipe, None, note=f"passed over: it needs about {expected / 60:.1f} min"))
            continue
        candidate = make_candidate(model, recipe, seed, threads)
        if limit is None or judged is None:
            attempts.append(Attempt(recipe, candidate))
            continue
        drop, gate = judged(candidate)
        note = f"gate {limit.max_drop:g}: {gate.outcome}, n = {judged.images}"
        attempts.append(Attempt(recipe, candidate, drop, judged.images, note, gate))
        if gate.outcome is Outcome.PASSED:
            return Choice(candidate, tuple(attempts), judged.seen)
    best = max((a.candidate for a in attempts if a.candidate is not None), key=lambda c: c.check.sqnr_db)
    if limit is not None:
        raise _too_much_lost(model, attempts, best, limit)
    return Choice(best, tuple(attempts))


class _Judge:
    """Measures the drop of one candidate after another on the same labelled images, decoding them anew each time.

    Attributes:
        seen: How many of them are calibration images.
        images: How many could be read.
    """

    def __init__(self, model: FloatModel, limit: Limit, threads: int) -> None:
        self._spec, self._limit, self._threads = model.source.input, limit, threads
        self._targets = targets_by_name(limit.images, model.source.labels)
        calibration = {_digest(image) for image in (*model.images.fitting, *model.images.verification)}
        seen: list[bool] = []
        self._float_right = self._right(
            model.flatbuffer, "float", lambda pixels: seen.append(_digest(pixels) in calibration)
        )
        self.seen, self.images = sum(seen), len(seen)
        self._check_better_than_chance()

    def __call__(self, candidate: Candidate) -> tuple[Estimate, Gate]:
        """Drop in points with its interval, and what it means for the limit."""
        right = self._right(candidate.flatbuffer, candidate.recipe.name)
        counts = paired_counts(self._float_right, right)
        return paired_drop(counts), judge_drop(counts, self._limit.max_drop)

    def _check_better_than_chance(self) -> None:
        targets = self._targets[self._readable]
        correct, images = (
            np.bincount(labels, minlength=1).tolist() for labels in (targets[self._float_right], targets)
        )
        if is_like_chance(correct + [0] * (len(images) - len(correct)), images):
            raise GateError(
                "The float network must be better than chance on --evaluation for --max-drop to mean anything, got "
                f"{int(self._float_right.sum())} of {self.images} images right.",
                "Check the class names and their order, --mean and --std, and the training; or give more images.",
            )

    def _right(self, flatbuffer: bytes, name: str, look: Callable[[Image], None] = lambda _: None) -> NDArray[np.bool_]:
        """Which images are answered right; each is shown to `look` as well."""
        network = PixelNetwork(Network(flatbuffer, self._threads), self._spec)
        prepared = tracked(f"judge {name}", Prepared(self._limit.images, self._spec), len(self._targets))
        right, readable = [], []
        for index, pixels in prepared:
            right.append(network.logits(pixels).argmax() == self._targets[index])
            readable.append(index)
            look(pixels)
        self._readable = readable
        return np.asarray(right)


def _digest(pixels: Image) -> bytes:
    return hashlib.sha256(pixels.tobytes()).digest()


def _expected_seconds(model: FloatModel, recipe: Recipe, made: Sequence[Candidate]) -> float:
    """What a recipe will take, from what the others took; a step of tuning costs about what calibration costs."""
    plain = min(candidate.seconds for candidate in made)
    rates = [
        (candidate.seconds - plain) / (tuning.steps * tuning.batch)
        for candidate in made
        if (tuning := candidate.recipe.tuning) is not None
    ]
    rate = max(rates, default=0.0) or plain / len(model.images.fitting)
    return plain + (rate * recipe.tuning.steps * recipe.tuning.batch if recipe.tuning else 0.0)


def _too_much_lost(model: FloatModel, attempts: Sequence[Attempt], best: Candidate, limit: Limit) -> GateError:
    drops = "; ".join(
        f"{a.recipe.name} {a.drop.value:.2f} ({a.drop.low:.2f} … {a.drop.high:.2f})" for a in attempts if a.drop
    )
    passed_over = "".join(f"; {a.recipe.name} {a.note}" for a in attempts if a.candidate is None)
    message = f"The top-1 drop must be at most {limit.max_drop:g} points for certain, got {drops}{passed_over}."
    if too_few := [a for a in attempts if a.drop and a.gate and a.drop.value <= limit.max_drop]:
        needed = min((a.gate.images_needed for a in too_few if a.gate and a.gate.images_needed), default=None)
        wanted = f"about {needed:,}" if needed else "more"
        return GateError(message, f"{too_few[0].images} images are too few to decide: give {wanted} in --evaluation.")
    optimized = best.optimized
    sample = normalize(model.images.verification[:_BLAME_IMAGES], model.source.input)
    worst = [] if optimized is None else blame(optimized.float_model, optimized.plan, sample)
    if not worst:
        return GateError(message, "Give more labelled images, or a higher --max-drop.")
    layers = ", ".join(f"{layer.name} ({layer.share:.0%})" for layer in worst[:_NAMED_LAYERS])
    return GateError(
        message,
        f"Most of the error of {best.recipe.name}{' before tuning' if best.is_tuned else ''} comes from {layers}. "
        "Give more images, more --budget, a higher --max-drop, or another recipe.",
    )
