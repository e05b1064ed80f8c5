"""The page's pictures, from benchmarks/results/: agreement, seconds against SQNR, one image, age of an answer."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

from benchmarks.side_by_side.routes import OURS
from benchmarks.side_by_side.standings import CAMERA, OUR_ROUTES, able, read_result
from benchmarks.side_by_side.subjects import COUNTED, SUBJECTS
from benchmarks.support import RESULTS, interval, ratios

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EDGEKIT, OTHER = "#1f6f4a", "#9aa5b1"
WIDTH, ROW, DPI = 8.0, 0.23, 110

Rows = dict[str, tuple[float, float, float]]


def agreement() -> list[Path]:
    """How often int8 answers as float does, a panel for each network."""
    panels: dict[str, Rows] = {}
    for name, subject in SUBJECTS.items():
        rows = able(read_result(f"conversion-{name}").get("rows", {}))
        if rows:
            same = {route: row["same"] for route, row in rows.items()}
            panels[subject.title] = {route: (row["value"], row["low"], row["high"]) for route, row in same.items()}
    return _rows("agreement", panels, "same top-1 as the float network, %, with its 95 % interval", is_more_better=True)


def image() -> list[Path]:
    """Time of an image by edgekit's, a panel for each number of threads."""
    panels: dict[str, Rows] = {}
    for row in read_result(f"inference-{COUNTED}").get("rows", []):
        if OURS in row["ms"]:
            found = {route: ratios(row["ms"][OURS], ms) for route, ms in row["ms"].items()}
            bars = {route: (statistics.median(each), *interval(each)) for route, each in found.items()}
            panels[f"{SUBJECTS[COUNTED].title}, threads: {row['threads']}"] = bars
    return _rows("image", panels, "time of an image, by edgekit's int8 file, with its 95 % interval")


def age() -> list[Path]:
    """Age of an answer, with a light network and with one that is slower than the camera."""
    panels: dict[str, Rows] = {}
    for condition, title in (("light", "a light network"), ("heavy", "a network that is slower than the camera")):
        bars = {}
        for loop, row in read_result("cameras").get("loops", {}).items():
            if f"median_{condition}" in row:
                ages = [each["age_p99_ms"] for each in row[condition]]
                bars[loop] = (statistics.median(ages), min(ages), max(ages))
        if bars:
            panels[title] = bars
    return _rows(
        "age", panels, "age of an answer, p99, ms (logarithmic), with the range of the rounds", is_logarithmic=True
    )


def seconds() -> list[Path]:
    """Seconds from PyTorch to an int8 .tflite against SQNR, for the routes that took turns."""
    rows = {
        route: row
        for route, row in able(read_result(f"conversion-{COUNTED}").get("rows", {})).items()
        if "rounds" in row
    }
    if not rows:
        return []
    figure, panel = _panels(1, 4.0)
    for place, (route, row) in enumerate(sorted(rows.items(), key=lambda item: item[1]["sqnr_db"])):
        where = (statistics.median(row["rounds"]), row["sqnr_db"])
        panel[0].plot(*where, "o", color=EDGEKIT if route in OUR_ROUTES else OTHER)
        # Above and below in turn: neighbours' names would lie on each other.
        beside = (6, 4) if place % 2 else (6, -11)
        panel[0].annotate(route, where, xytext=beside, textcoords="offset points", fontsize=8)
    _logarithmic(panel[0])
    panel[0].margins(x=0.25, y=0.15)
    panel[0].set_title(SUBJECTS[COUNTED].title, fontsize=10)
    panel[0].set_xlabel("seconds from PyTorch to an int8 .tflite (logarithmic)")
    panel[0].set_ylabel("SQNR of the logits, dB")
    return [_saved(figure, "seconds")]


def _rows(
    name: str, panels: dict[str, Rows], label: str, *, is_more_better: bool = False, is_logarithmic: bool = False
) -> list[Path]:
    """A picture with a panel for each, points with their reach, best on top; none without panels."""
    if not panels:
        return []
    height = sum(1.0 + ROW * len(bars) for bars in panels.values())
    figure, axes = _panels(len(panels), height, [1.0 + ROW * len(bars) for bars in panels.values()])
    for (title, bars), panel in zip(panels.items(), axes, strict=True):
        titles = sorted(bars, key=lambda each: bars[each][0], reverse=not is_more_better)
        values = [bars[each][0] for each in titles]
        reach = [[bars[e][0] - bars[e][1] for e in titles], [bars[e][2] - bars[e][0] for e in titles]]
        colors = [EDGEKIT if each in (*OUR_ROUTES, CAMERA) else OTHER for each in titles]
        panel.errorbar(values, titles, xerr=reach, fmt="none", ecolor="black", elinewidth=1, zorder=2)
        panel.scatter(values, titles, color=colors, zorder=3)
        if is_logarithmic:
            _logarithmic(panel)
        for each, value, beyond in zip(titles, values, reach[1], strict=True):
            text = f"{value:.0f}" if is_logarithmic else f"{value:.2f}"
            where = (value + beyond, each)
            panel.annotate(text, where, xytext=(8, 0), textcoords="offset points", va="center", fontsize=8)
        panel.margins(x=0.12, y=0.1)
        panel.grid(axis="x", alpha=0.3)
        panel.set_title(title, fontsize=10)
        panel.tick_params(axis="y", labelsize=8)
    axes[-1].set_xlabel(label)
    return [_saved(figure, name)]


def _logarithmic(panel: Axes) -> None:
    """With plain numbers below it, as many as there is room for."""
    from matplotlib.ticker import LogFormatter

    panel.set_xscale("log")
    panel.xaxis.set_major_formatter(LogFormatter())
    panel.xaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(2.0, 0.4)))


def _panels(count: int, height: float, ratios_: list[float] | None = None) -> tuple[Any, list[Axes]]:
    mpl.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        count, 1, figsize=(WIDTH, height), squeeze=False, gridspec_kw={"height_ratios": ratios_ or [1.0] * count}
    )
    for panel in panels[:, 0]:
        panel.spines[["top", "right"]].set_visible(False)
    return figure, list(panels[:, 0])


def _saved(figure: Any, name: str) -> Path:
    from matplotlib import pyplot

    figure.tight_layout()
    target = RESULTS / f"side_by_side-{name}.png"
    figure.savefig(target, dpi=DPI)
    pyplot.close(figure)
    return target
