"""The layer view as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.errors import EdgekitError
from edgekit_quantize.candidate import Candidate, FloatModel
from edgekit_quantize.explain import measure, plots, wording
from edgekit_quantize.explain.measure import TensorView
from edgekit_quantize.recipe import Recipe
from edgekit_quantize.report.page import render_page, tied
from edgekit_quantize.verify import Check

_HISTOGRAMS = 12
_NAMED = 3


def explain(model: FloatModel, candidate: Candidate, name: str) -> str:
    """The page for an int8 conversion that has passed.

    Args:
        model: The float network and the images.
        candidate: What was made of it.
        name: Of the model.

    Raises:
        EdgekitError: The candidate is not of an INT8 recipe.
    """
    if candidate.optimized is None:
        raise EdgekitError(f"The layer view must be of an int8 recipe, got {candidate.recipe.name}.")
    images = model.images
    views = measure.measure(
        candidate.optimized.float_model,
        candidate.flatbuffer,
        images.fitting,
        images.verification,
        model.source.input,
    )
    judged = min(measure.IMAGES, len(images.verification))
    return draw(
        name,
        candidate.recipe,
        candidate.check,
        views,
        judged,
        is_held_back=not images.are_few,
        is_tuned=candidate.is_tuned,
    )


def draw(
    name: str,
    recipe: Recipe,
    check: Check,
    views: Sequence[TensorView],
    images: int,
    *,
    is_held_back: bool,
    is_tuned: bool,
) -> str:
    """The page, from what was measured.

    Args:
        name: Of the model.
        recipe: What made the file.
        check: Of the file as a whole.
        views: The most harmful first.
        images: How many were run through both networks.
        is_held_back: Whether neither calibration nor tuning has seen the images of `check`.
        is_tuned: Whether the file's weights and ranges were tuned.
    """
    layers = [view for view in views if view.own_share is not None]
    worst = layers[:_NAMED]
    return render_page(
        "edgekit_quantize.explain",
        "template.html.j2",
        name=name,
        recipe=recipe,
        check=check,
        headline=tied(wording.headline(check.sqnr_db, check.agreement, check.images)),
        is_held_back=is_held_back,
        is_tuned=is_tuned,
        views=views,
        layers=layers,
        not_alone=sum(view.own_share is None and view.weight_sqnr_db is not None for view in views),
        worst=worst,
        worst_share=sum(view.own_share or 0.0 for view in worst),
        remedies=wording.remedies(worst, recipe),
        pictured=[(view, plots.histogram_plot(view)) for view in views[:_HISTOGRAMS]],
        depth_plot=plots.depth_plot(views),
        images=images,
        blame_images=min(measure.BLAME_IMAGES, images),
        wording=wording,
    )
