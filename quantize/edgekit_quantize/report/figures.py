"""How all plots look, and how they get into a page: as SVG data URIs, without a window system or global state.

Colours are Okabe and Ito's (2008), which colour-blind readers can tell apart.
"""

from __future__ import annotations

import base64
import io
import warnings

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
    # Text stays text: the browser has letters of every script, matplotlib's own font has not.
    "svg.fonttype": "none",
    # Without a salt, matplotlib makes up random ids: two pages of the same data would differ.
    "svg.hashsalt": "edgekit",
}


def data_uri(figure: Figure) -> str:
    """The figure as an SVG data URI, the same bytes for the same figure."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # It only measures letters that its font lacks; the browser draws them.
        warnings.filterwarnings("ignore", r"Glyph \d+", UserWarning)
        figure.savefig(buffer, format="svg", dpi=150, metadata={"Date": None, "Creator": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def short(label: str, most: int = 18) -> str:
    """A name as plots show it: one line of at most so many letters, and no formula, which a dollar sign would start."""
    label = " ".join(label.split())
    label = label if len(label) <= most else label[: most - 1] + "…"
    return label.replace("$", r"\$")
