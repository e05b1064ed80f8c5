"""Plots of how sure the networks are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from edgekit_quantize.report.facts import Stage
from edgekit_quantize.report.figures import FLOAT, INK, MODEL

# A bin of the reliability diagram with fewer images is noise.
MIN_BIN = 10
_DENSITY = LinearSegmentedColormap.from_list("density", ["#b9d8ee", FLOAT, "#0b2545"])


def truth_density(truth: NDArray[np.float64], name: str) -> Figure:
    """Density of images over the softmax of the true class: float across, the model, called `name`, up."""
    figure, axes = _square_axes()
    grid, edges, _ = np.histogram2d(truth[:, 0], truth[:, 1], bins=40, range=[[0, 1], [0, 1]])
    shown = np.where(grid.T == 0, np.nan, grid.T)
    mesh = axes.pcolormesh(
        100 * edges, 100 * edges, shown, cmap=_DENSITY, norm=LogNorm(1, max(2, grid.max())), rasterized=True
    )
    axes.plot([0, 100], [0, 100], color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_xlabel("chance given to the true class by float, %")
    axes.set_ylabel(f"by {name}, %")
    bar = figure.colorbar(mesh, ax=axes, shrink=0.85, pad=0.02, format="{x:g}")
    bar.set_label("images")
    bar.outline.set_visible(False)
    return figure


def reliability(stages: Sequence[Stage]) -> Figure:
    """Accuracy over confidence for each model; the diagonal is a model that knows how sure it may be."""
    figure, axes = _square_axes()
    axes.grid(visible=True)
    axes.plot([0, 100], [0, 100], color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    for stage, colour, marker in zip(stages, (FLOAT, MODEL), ("o", "D"), strict=False):
        label = f"{stage.name} (off by {stage.calibration_error:.1f} points)"
        bins = [b for b in stage.reliability if b.images >= MIN_BIN]
        confidence, accuracy = [b.confidence for b in bins], [b.accuracy for b in bins]
        axes.plot(confidence, accuracy, marker=marker, markersize=5, color=colour, linewidth=1.6, label=label)
    axes.set_xlabel("confidence, %")
    axes.set_ylabel("accuracy, %")
    axes.legend(loc="lower right")
    return figure


def _square_axes() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.0, 4.4), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlim(-1, 101)
    axes.set_ylim(-1, 101)
    axes.set_aspect("equal")
    return figure, axes
