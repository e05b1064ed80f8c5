"""The layer view's plots. They show depths instead of names, which may be long or hold anything."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from edgekit_quantize.explain.measure import TensorView
from edgekit_quantize.report.figures import FLOAT, GREY, INK, MODEL, STYLE, data_uri

_BARS = 48
_MOST_BARS = 144
# Those of them that have the room.
_LABELLED = 3


def depth_plot(views: Sequence[TensorView]) -> str:
    """SQNR of the running network along its depth, above each layer's share of the error; a data URI.

    Args:
        views: The most harmful first.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 4.6), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        along = sorted((view for view in views if math.isfinite(view.sqnr_db)), key=lambda view: view.depth)
        upper.plot([v.depth for v in along], [v.sqnr_db for v in along], color=GREY, linewidth=1.2, zorder=1)
        layers = [view for view in views if view.own_share is not None]
        for kind, marker, colour, label in (
            (True, "o", FLOAT, "layers with weights"),
            (False, "D", GREY, "other operators"),
        ):
            chosen = [view for view in along if (view.own_share is not None) is kind]
            upper.scatter(
                [v.depth for v in chosen], [v.sqnr_db for v in chosen], s=20, marker=marker, color=colour, label=label
            )
        upper.set_ylabel("SQNR, dB")
        upper.grid(visible=True)
        lower.bar([v.depth for v in layers], [100.0 * (v.own_share or 0.0) for v in layers], color=MODEL, width=0.8)
        for rank, view in enumerate(layers[:_LABELLED]):
            if any(abs(view.depth - other.depth) < len(views) / 16 for other in layers[:rank]):
                continue
            share = 100.0 * (view.own_share or 0.0)
            lower.annotate(f"#{view.depth}", (view.depth, share), (0, 2), textcoords="offset points", ha="center")
        lower.margins(y=0.2)
        lower.set_ylabel("of the error, %")
        lower.set_xlabel("place in the network (#)")
        lower.grid(visible=True, axis="y")
        figure.legend(loc="outside upper center", ncols=2)
        return data_uri(figure)


def histogram_plot(view: TensorView) -> str:
    """The values of an activation on a logarithmic scale, with the ends of its range; a data URI."""
    inside, seen = view.range, view.histogram
    low, high = min(inside.low, seen.low), max(inside.high, seen.high)
    # Bars begin at the end of the range, so that none is half inside.
    width = max((inside.high - inside.low) / _BARS, (high - low) / _MOST_BARS)
    before, after = (math.ceil(length / width) for length in (inside.low - low, high - inside.low))
    edges = inside.low + width * np.arange(-before, after + 1)
    counts, _ = np.histogram(seen.centers(), bins=edges, weights=seen.counts)
    middles = (edges[:-1] + edges[1:]) / 2.0
    is_inside = (middles > inside.low) & (middles < inside.high)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.6, 1.7), layout="constrained")
        axes = figure.subplots()
        axes.bar(middles, counts, width=width, color=np.where(is_inside, FLOAT, MODEL), log=True)
        for end in (inside.low, inside.high):
            axes.axvline(end, color=INK, linewidth=1.2, linestyle=(0, (4, 2)))
        axes.set_yticks([])
        axes.minorticks_off()
        axes.spines["left"].set_visible(False)
        return data_uri(figure)
