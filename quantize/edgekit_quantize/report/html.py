"""The report as one HTML file that asks nobody for anything: styles, plots and pictures lie inside it."""

from __future__ import annotations

from importlib import resources

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from edgekit_quantize.report import plots, wording
from edgekit_quantize.report.document import Document

# From so many classes on, the table is folded away.
OPEN_CLASSES = 30


def render(document: Document, pictures: tuple[str, ...], truth: NDArray[np.float64]) -> str:
    """The page.

    Args:
        document: The report.
        pictures: Data URIs of the flipped images, in the order of `document.flips`.
        truth: (N, 2) softmax of the true class under float and the model, in [0, 1].
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        number=wording.number, interval=wording.interval, p_value=wording.p_value, size=wording.size
    )
    # The style sheet is ours: to escape its quotes would break it.
    style = Markup(_own_text("style.css"))  # noqa: S704
    return environment.from_string(_own_text("template.html.j2")).render(
        d=document,
        style=style,
        plots=plots.draw_all(document, truth),
        flips=list(zip(document.flips, pictures, strict=True)),
        rows=sorted(document.classes, key=lambda row: (-row.drop.value, row.label)),
        are_rows_open=len(document.classes) <= OPEN_CLASSES,
        most_plotted=plots.MOST_CLASSES,
        broad_from=plots.BROAD_CLASSES + 1,
        min_bin=plots.MIN_BIN,
        headline=_tied(wording.headline(document)),
        badge=wording.gate_badge(document),
        gate_sentence=wording.gate_sentence(document),
        significance=wording.significance(document),
        class_note=wording.class_note(document),
    )


def _tied(text: str) -> str:
    """No line break inside "95 %", an interval or "n = 750"."""
    for loose in (" %", " … ", " = "):
        text = text.replace(loose, loose.replace(" ", "\u00a0"))
    return text


def _own_text(name: str) -> str:
    return resources.files("edgekit_quantize.report").joinpath(name).read_text("utf-8")
