"""The report as one HTML file that asks nobody for anything: styles, plots and pictures lie inside it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit_quantize.report import plots, wording
from edgekit_quantize.report.document import Document
from edgekit_quantize.report.page import render_page, tied

# From so many classes on, the table is folded away.
OPEN_CLASSES = 30


def render(document: Document, pictures: tuple[str, ...], truth: NDArray[np.float64]) -> str:
    """The page.

    Args:
        document: The report.
        pictures: Data URIs of the flipped images, in the order of `document.flips`.
        truth: (N, 2) softmax of the true class under float and the model, in [0, 1].
    """
    return render_page(
        "edgekit_quantize.report",
        "template.html.j2",
        d=document,
        plots=plots.draw_all(document, truth),
        flips=list(zip(document.flips, pictures, strict=True)),
        rows=sorted(document.classes, key=lambda row: (-row.drop.value, row.label)),
        are_rows_open=len(document.classes) <= OPEN_CLASSES,
        most_plotted=plots.MOST_CLASSES,
        broad_from=plots.BROAD_CLASSES + 1,
        min_bin=plots.MIN_BIN,
        headline=tied(wording.headline(document)),
        badge=wording.gate_badge(document),
        gate_sentence=wording.gate_sentence(document),
        significance=wording.significance(document),
        class_note=wording.class_note(document),
    )
