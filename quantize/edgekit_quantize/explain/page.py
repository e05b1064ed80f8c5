"""The layer view as one HTML page."""

from __future__ import annotations

from edgekit.errors import EdgekitError
from edgekit_quantize.candidate import Candidate, FloatModel
from edgekit_quantize.explain import measure, plots, wording
from edgekit_quantize.report.page import render_page, tied

_HISTOGRAMS = 12
_NAMED = 3


def explain(model: FloatModel, candidate: Candidate, name: str, threads: int) -> str:
    """The page for an int8 conversion that has passed.

    Args:
        model: The float network and the images.
        candidate: What was made of it.
        name: Of the model.
        threads: Of the interpreters.

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
        threads,
    )
    check = candidate.check
    layers = [view for view in views if view.own_share is not None]
    return render_page(
        "edgekit_quantize.explain",
        "template.html.j2",
        name=name,
        recipe=candidate.recipe,
        check=check,
        headline=tied(wording.headline(check.sqnr_db, check.agreement, check.images)),
        is_held_back=not images.are_few,
        views=views,
        layers=layers,
        named=layers[:_NAMED],
        remedies=wording.remedies(layers[:_NAMED], candidate.recipe),
        named_share=sum(view.own_share or 0.0 for view in layers[:_NAMED]),
        pictured=[(view, plots.histogram_plot(view)) for view in views[:_HISTOGRAMS]],
        depth_plot=plots.depth_plot(views),
        images=min(measure.IMAGES, len(images.verification)),
        blame_images=min(measure.BLAME_IMAGES, len(images.verification)),
        wording=wording,
    )
