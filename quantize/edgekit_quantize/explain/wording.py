"""The layer view in plain words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum, auto

import numpy as np

from edgekit_quantize.explain.measure import TensorView
from edgekit_quantize.recipe import RangeRule, Recipe
from edgekit_quantize.report.page import tied
from edgekit_quantize.report.wording import number

# From here on a cause is named. Per-channel weights of a trained layer round at 35 to 50 dB.
_MUCH_SATURATED = 0.01
_POOR_WEIGHTS_DB = 25.0
_LITTLE_USED = 1.0 / 3.0
# Twice the default; no network was seen to gain from more.
_MANY_STEPS = 600
# The part of the values that a range ought to be made for.
_BULK = 0.999


class Cause(Enum):
    """Why a layer loses.

    CLIPPED: values lie beyond the range.
    TAIL: the range is much wider than what nearly all values need.
    WEIGHTS: the weights round badly.
    LEVELS: nothing of these.
    """

    CLIPPED = auto()
    TAIL = auto()
    WEIGHTS = auto()
    LEVELS = auto()


def decibels(value: float) -> str:
    """Such as "19.4 dB", never broken across lines."""
    return tied(f"{number(value, 1)} dB") if math.isfinite(value) else "same"


def percent(share: float) -> str:
    """Such as "4.2 %", and "< 0.01 %" rather than a nought for what is there; never broken across lines."""
    if 0.0 < share < 1e-4:
        return "<\u00a00.01\u00a0%"
    return tied(f"{number(100.0 * share, 1 if share >= 0.01 else 2)} %" if share else "0 %")


def headline(sqnr_db: float, agreement: float, images: int) -> str:
    """What int8 does to the answers.

    Args:
        sqnr_db: Of the logits.
        agreement: Share of images with the same top-1, in [0, 1].
        images: How many.
    """
    same = f"int8 and float give the same answer on {percent(agreement)} of {images} images"
    if not math.isfinite(sqnr_db):
        return f"{same}, with the same logits."
    size = 10.0 ** (-sqnr_db / 20.0)
    return f"{same}; the logits are off by {percent(size)} of their size."


def title(view: TensorView) -> str:
    """Such as "#12 CONV_2D 14×14×96"."""
    return f"#{view.depth} {view.operator} {'×'.join(map(str, view.shape))}"


def short_name(view: TensorView) -> str:
    """The last part of the name: fused operators leave several, the one that computes last."""
    return view.name.rpartition(";")[2]


def cause(view: TensorView) -> Cause:
    """What is most conspicuous about a layer."""
    if view.saturated >= _MUCH_SATURATED:
        return Cause.CLIPPED
    if bulk_share(view) < _LITTLE_USED:
        return Cause.TAIL
    if view.weight_sqnr_db is not None and view.weight_sqnr_db < _POOR_WEIGHTS_DB:
        return Cause.WEIGHTS
    return Cause.LEVELS


def diagnosis(view: TensorView) -> str:
    """The cause of a layer's error, with its number."""
    match cause(view):
        case Cause.CLIPPED:
            return f"{percent(view.saturated)} of its values lie beyond the range and are clipped."
        case Cause.TAIL:
            return (
                f"A few large values stretch the range: {percent(_BULK)} of all lie in "
                f"{percent(bulk_share(view))} of it, and share few levels."
            )
        case Cause.WEIGHTS:
            return (
                f"The file's weights are only {decibels(view.weight_sqnr_db or 0.0)} near the float ones: in one "
                "filter they differ too much in size for one scale."
            )
        case Cause.LEVELS:
            return (
                f"Nearly all values need {percent(bulk_share(view))} of the range, and the file's weights are "
                f"{decibels(view.weight_sqnr_db or 0.0)} near the float ones: both in order. The network is sensitive "
                "here, and 256 levels are few."
            )


def remedies(views: Sequence[TensorView], recipe: Recipe) -> list[str]:
    """What can be done about these layers under this recipe, each thing once."""
    return list(dict.fromkeys(_remedy(cause(view), recipe) for view in views))


def _remedy(reason: Cause, recipe: Recipe) -> str:
    is_mse = recipe.activation_range is RangeRule.MSE
    match reason:
        case Cause.CLIPPED if is_mse:
            return 'Set activation_range = "minmax" in the recipe, and calibrate with more, and more varied, images.'
        case Cause.CLIPPED:
            return "Calibrate with more, and more varied, images: the ranges do not hold for those held back."
        case Cause.TAIL if is_mse or recipe.tuning is not None:
            return "Set a higher equalization in the recipe: it brings small channels up before ranges are chosen."
        case Cause.TAIL:
            return 'Set activation_range = "mse" in the recipe: it gives up rare large values for finer steps.'
        case Cause.WEIGHTS:
            return "Set a lower equalization in the recipe: it leaves the next layer's weights uneven."
        case Cause.LEVELS if recipe.tuning is None:
            return "Take --recipe int8: it tunes weights until the answers are those of the float network."
        case Cause.LEVELS if recipe.tuning.steps >= _MANY_STEPS:
            return "Nothing: what is left is the rounding of eight bits itself."
        case Cause.LEVELS:
            return "Set more tuning steps in the recipe, or take --recipe int8-qat, which trains for int8."


def bulk_share(view: TensorView) -> float:
    """Part of the range, in [0, 1], that all but a thousandth of the values seen in calibration need."""
    counts = view.histogram.counts
    reached = np.cumsum(counts) / max(1, int(counts.sum()))
    tail = (1.0 - _BULK) / 2.0
    centers = view.histogram.centers()
    low, high = (float(centers[np.searchsorted(reached, part)]) for part in (tail, 1.0 - tail))
    return min(1.0, (max(high, 0.0) - min(low, 0.0)) / (view.range.high - view.range.low))
