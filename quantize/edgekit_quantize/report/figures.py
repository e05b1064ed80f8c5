"""How all plots look, and how they get into a page: as SVG data URIs, without a window system or global state.

Colours are Okabe and Ito's (2008), which colour-blind readers can tell apart.
"""

from __future__ import annotations

import base64
import io

from matplotlib.figure import Figure

FLOAT, MODEL, INK, FAINT, GREY = "#0072B2", "#D55E00", "#1f2933", "#d5dbe1", "#8894a0"
STYLE = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "figure.facecolor": "white",
    # Without a salt, matplotlib makes up random ids: two pages of the same data would differ.
    "svg.hashsalt": "edgekit",
}


def data_uri(figure: Figure) -> str:
    """The figure as an SVG data URI, the same bytes for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", dpi=150, metadata={"Date": None, "Creator": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode()}"
