"""The report's plots as SVG data URIs: those of the classes, and all of them together.

Float and model differ in shape as well as in colour. Each plot is drawn small, so that a phone shows it at nearly full
size.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from edgekit_quantize.report import plots_confidence as confidence
from edgekit_quantize.report import plots_costs as costs
from edgekit_quantize.report.changes import Direction
from edgekit_quantize.report.document import Document
from edgekit_quantize.report.facts import Group
from edgekit_quantize.report.figures import FLOAT, GREY, INK, MODEL, STYLE, data_uri, short
from edgekit_quantize.report.verdict import title

MOST_CLASSES = 30
# With more classes than this, the confusion matrix needs the width of the page.
BROAD_CLASSES = 12
_WIDTH = 5.0


def draw_all(document: Document, truth: NDArray[np.float64]) -> dict[str, str]:
    """Every plot that the document has data for, as data URIs by name.

    Args:
        document: The report.
        truth: (N, 2) softmax of the true class under float and the model, in [0, 1].
    """
    name = document.judged.name
    with mpl.rc_context(STYLE):
        figures = {
            "truth": confidence.truth_density(truth, name),
            "reliability": confidence.reliability([document.reference, document.judged]),
            "accuracy": _accuracy(_shown(document.classes), name),
            "drop": _drop(_shown(document.classes), name),
        }
        if document.subgroups:
            figures["subgroups"] = _drop(_shown(document.subgroups), name)
        if document.confusion_change is not None:
            figures["confusion"] = _confusion(np.asarray(document.confusion_change), document.confusion_labels)
        if len(document.chain) > 2:
            figures["stages"] = costs.stage_drops(document.chain)
        if document.layers:
            figures["layers"] = costs.layer_noise(document.layers)
        if len(document.files) > 1 and len(document.costs.rows) > 1:
            figures["pareto"] = costs.pareto(document)
        return {name: data_uri(figure) for name, figure in figures.items()}


def _shown(groups: Sequence[Group]) -> list[Group]:
    """The largest drop first; of many, those at both ends."""
    rows = sorted(groups, key=lambda row: (-row.drop.value, row.label))
    half = MOST_CLASSES // 2
    return rows if len(rows) <= MOST_CLASSES else rows[:half] + rows[-half:]


def _accuracy(rows: Sequence[Group], name: str) -> Figure:
    """Dumbbells: top-1 of float and of the model, called `name`, for each class."""
    figure, axes = _class_axes(rows)
    places = np.arange(len(rows))
    ours, theirs = [row.float_top1 for row in rows], [row.model_top1 for row in rows]
    axes.hlines(places, ours, theirs, color=GREY, linewidth=2, zorder=1)
    axes.scatter(ours, places, s=75, color=FLOAT, marker="o", label="float", zorder=2, clip_on=False)
    axes.scatter(theirs, places, s=24, color=MODEL, marker="D", label=name, zorder=3, clip_on=False)
    axes.set_xlabel("top-1 accuracy, %")
    low = min([*ours, *theirs])
    axes.set_xlim(max(0.0, low - 3.0) if low > 20 else -2.0, 101.0)
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def _drop(rows: Sequence[Group], name: str) -> Figure:
    """The drop of each class with its interval; filled where it is beyond chance."""
    figure, axes = _class_axes(rows)
    axes.axvline(0.0, color=INK, linewidth=1)
    for place, row in enumerate(rows):
        colour = MODEL if row.drop.value > 0 else FLOAT if row.drop.value < 0 else GREY
        axes.plot([row.drop.low, row.drop.high], [place, place], color=colour, linewidth=2, alpha=0.55)
        face = colour if row.direction is not Direction.SAME else "white"
        axes.plot(row.drop.value, place, "o", markersize=6.5, markeredgewidth=1.6, color=colour, markerfacecolor=face)
    axes.set_xlabel(f"drop of top-1, points (right: {name} is worse)")
    return figure


def _confusion(change: NDArray[np.int64], labels: Sequence[str]) -> Figure:
    """Which answers became more (orange) or less (purple) frequent, per true class."""
    count = len(labels)
    width = _WIDTH if count <= BROAD_CLASSES else 1.6 * _WIDTH
    figure = Figure(figsize=(width, width * 0.98), layout="constrained")
    axes = figure.add_subplot()
    most = max(1, int(np.abs(change).max()))
    axes.imshow(change, cmap="PuOr_r", vmin=-1.3 * most, vmax=1.3 * most)
    size = 9 if count <= 20 else 7.5
    for row, column in zip(*np.nonzero(change), strict=True):
        value = int(change[row, column])
        colour = "white" if abs(value) > 0.75 * most else INK
        axes.text(column, row, f"{value:+d}".replace("-", "−"), ha="center", va="center", fontsize=size, color=colour)
    names = [short(label) for label in labels]
    axes.set_xticks(range(count), names, rotation=90 if count > 5 else 0, fontsize=9)
    axes.set_yticks(range(count), names, fontsize=9)
    axes.set_xticks(np.arange(count + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(count + 1) - 0.5, minor=True)
    axes.grid(visible=True, which="minor")
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("answer")
    axes.set_ylabel("true class")
    return figure


def _class_axes(rows: Sequence[Group]) -> tuple[Figure, Axes]:
    """Axes with one line per class, the first on top."""
    figure = Figure(figsize=(_WIDTH, 1.1 + 0.27 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_yticks(range(len(rows)), [short(title(row)) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=True, axis="both")
    axes.spines["left"].set_visible(False)
    return figure, axes
