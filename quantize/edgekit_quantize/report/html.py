"""The report as one HTML file that asks nobody for anything: styles, plots and pictures lie inside it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit_quantize.report import baseline, plots, plots_confidence, verdict
from edgekit_quantize.report.document import Document
from edgekit_quantize.report.page import render_page, tied

# From so many classes on, the table is folded away.
OPEN_CLASSES = 30
MOST_CONFUSIONS = 15


def render(document: Document, pictures: tuple[str, ...], truth: NDArray[np.float64]) -> str:
    """The page.

    Args:
        document: The report.
        pictures: Data URIs of the flipped images, in the order of `document.flips`.
        truth: (N, 2) softmax of the true class under float and the model, in [0, 1].
    """
    groups = document.subgroups or ()
    return render_page(
        "edgekit_quantize.report",
        "template.html.j2",
        d=document,
        plots=plots.draw_all(document, truth),
        flips=list(zip(document.flips, pictures, strict=True)),
        rows=sorted(document.classes, key=lambda row: (-row.drop.value, row.label)),
        subgroups=sorted(groups, key=lambda row: (row.column, -row.drop.value, row.label)),
        are_rows_open=len(document.classes) <= OPEN_CLASSES,
        confusions=document.confusions[:MOST_CONFUSIONS],
        most_plotted=plots.MOST_CLASSES,
        broad_from=plots.BROAD_CLASSES + 1,
        min_bin=plots_confidence.MIN_BIN,
        headline=tied(verdict.headline(document)),
        badges=verdict.badges(document),
        sentences=[tied(text) for text in verdict.sentences(document)],
        rule=tied(baseline.RULE),
        changes=[(change, verdict.change_figures(change)) for change in document.changes],
        has_costs=any(row.p50_ms is not None for row in document.costs.rows),
        title=verdict.title,
    )
