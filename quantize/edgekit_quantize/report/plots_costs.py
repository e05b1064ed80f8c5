"""Plots of where accuracy is lost, and of what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from edgekit_quantize.report.changes import CostRow
from edgekit_quantize.report.document import Document
from edgekit_quantize.report.facts import LayerRow, Stage
from edgekit_quantize.report.figures import FLOAT, GREY, INK, MODEL, short

# So many of the noisiest layers are named.
_NAMED = 3
_MARKERS = "oDs^vP*Xh"


def stage_drops(chain: Sequence[Stage]) -> Figure:
    """Points that each step loses against the stage before, with intervals."""
    figure = Figure(figsize=(5.0, 1.2 + 0.45 * (len(chain) - 1)), layout="constrained")
    axes = figure.add_subplot()
    axes.axvline(0.0, color=INK, linewidth=1)
    steps = [(stage, stage.step) for stage in chain if stage.step is not None]
    for place, (stage, step) in enumerate(steps):
        colour = MODEL if stage.role == "model" else FLOAT
        axes.plot([step.points.low, step.points.high], [place, place], color=colour, linewidth=2.5, alpha=0.55)
        axes.plot(step.points.value, place, "o", markersize=6.5, color=colour)
    axes.set_yticks(range(len(steps)), [f"{stage.step_from} → {stage.name}" for stage, _ in steps])
    axes.set_ylim(len(steps) - 0.5, -0.5)
    # A step that changes nothing at all would leave an axis without an extent.
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -0.1), max(high, 0.1))
    axes.set_xlabel("points of top-1 lost in this step")
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=True, axis="x")
    axes.spines["left"].set_visible(False)
    return figure


def layer_noise(layers: Sequence[LayerRow]) -> Figure:
    """SQNR along the network; a layer without any noise is left out, the noisiest are numbered."""
    seen = [(place, row.sqnr_db) for place, row in enumerate(layers, 1) if row.sqnr_db is not None]
    figure = Figure(figsize=(6.8, 2.9), layout="constrained")
    axes = figure.add_subplot()
    places, decibels = [place for place, _ in seen], [value for _, value in seen]
    axes.plot(places, decibels, color=GREY, linewidth=1)
    axes.plot(places, decibels, "o", color=MODEL, markersize=4)
    for place, value in sorted(seen, key=lambda pair: pair[1])[:_NAMED]:
        axes.annotate(f"#{place}", (place, value), (0, -13), textcoords="offset points", ha="center", fontsize=9)
    axes.margins(y=0.15)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("place in the network (#)")
    axes.set_ylabel("SQNR, dB")
    axes.grid(visible=True, axis="y")
    return figure


def pareto(document: Document) -> Figure:
    """Top-1 over latency and over size; files that another beats in both are grey, the others joined."""
    costs = {row.name: row for row in document.costs.rows}
    files = [(stage, costs[stage.name]) for stage in document.files if stage.name in costs]
    has_latency = bool(files) and all(row.p50_ms is not None for _, row in files)
    # One line of the legend holds two names.
    figure = Figure(figsize=(6.8, 3.1 + 0.12 * len(files)), layout="constrained")
    axes = figure.subplots(1, 2 if has_latency else 1, sharey=True, squeeze=False)[0]
    if has_latency:
        _front(axes[0], [(stage, row.p50_ms or 0.0) for stage, row in files], f"latency, ms ({_threads(files)})")
    _front(axes[-1], [(stage, row.size / 1e6) for stage, row in files], "size, MB")
    axes[0].set_ylabel("top-1, %")
    figure.legend(handles=_names(files), loc="outside upper center", ncols=2)
    return figure


def _threads(files: Sequence[tuple[Stage, CostRow]]) -> str:
    counts = sorted({row.threads for _, row in files if row.threads is not None})
    return f"{' or '.join(map(str, counts))} thread{'s' if counts != [1] else ''}"


def front(files: Sequence[tuple[Stage, float]]) -> list[tuple[Stage, float]]:
    """The files (with their cost) that no other beats in accuracy and cost together (Pareto); the cheapest first."""
    best = [pair for pair in files if not any(_beats(other, pair) for other in files)]
    return sorted(best, key=lambda pair: pair[1])


def _front(axes: Axes, files: Sequence[tuple[Stage, float]], label: str) -> None:
    best = front(files)
    axes.plot([cost for _, cost in best], [stage.top1.value for stage, _ in best], color=FLOAT, linewidth=1.2)
    for (stage, cost), marker in zip(files, cycle(_MARKERS), strict=False):
        colour = MODEL if stage.role == "model" else FLOAT if (stage, cost) in best else GREY
        half = np.asarray([[stage.top1.value - stage.top1.low], [stage.top1.high - stage.top1.value]])
        axes.errorbar(cost, stage.top1.value, half, fmt=marker, color=colour, markersize=6, elinewidth=1, capsize=2)
    # From zero on, a difference looks as large as it is.
    axes.set_xlim(0.0, 1.15 * max(cost for _, cost in files))
    axes.set_xlabel(label)
    axes.grid(visible=True)


def _names(files: Sequence[tuple[Stage, CostRow]]) -> list[Line2D]:
    """For the legend: names beside the points would cover each other."""
    return [
        Line2D([], [], linestyle="", marker=marker, color=INK, label=short(stage.name, 34))
        for (stage, _), marker in zip(files, cycle(_MARKERS), strict=False)
    ]


def _beats(one: tuple[Stage, float], other: tuple[Stage, float]) -> bool:
    (stage, cost), (second, second_cost) = one, other
    is_as_good = stage.top1.value >= second.top1.value and cost <= second_cost
    return is_as_good and (stage.top1.value > second.top1.value or cost < second_cost)
