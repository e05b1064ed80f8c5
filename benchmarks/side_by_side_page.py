"""Writes benchmarks/RESULTS.md, edgekit beside others, from the tables and raw numbers in benchmarks/results/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.side_by_side_all import SUBJECTS
from benchmarks.support import RESULTS, machine_line
from edgekit.files import write_whole

OUT = Path(__file__).parent / "RESULTS.md"
OURS, OTHERS = "#1f6f4a", "#9aa5b1"
HEAD = """# Edgekit beside others, measured

Written by `make bench`. Every peer has an environment of its own with pinned versions (`benchmarks/peers/`), and is
given the same float network and the same images: up to 250 for calibration, others to judge. Where a peer cannot do it,
the row says why. Raw numbers: `benchmarks/results/`.
"""
CONVERSION = """## Conversion to int8

*Drop* of top-1 against the float network in points (negative: better than float); *same top-1* as float; *SQNR* of the
logits; seconds and peak memory of the whole command, its start included. Edgekit's seconds hold the proof of the file:
the float stages compared, kernels compared, golden samples.
"""
INFERENCE = """## One image on a PC

Everyone in turns, five rounds; median of the rounds' medians, and of the ratio to edgekit's file in the same round.
"""
PI = """## Instructions on a Raspberry Pi's cores

Emulated, one thread, counted by a plugin: exact, but instructions are not milliseconds. *Frame* is 640×480 BGR to the
five best classes: edgekit's own path around its file, the usual float preparation around the others'.
"""
CAMERA = """## Camera loops

The same network camera (MJPEG, 640×480, 30 fps) with numbers painted into its frames, one core for each loop. The two
samples were rewritten without their windows, see `benchmarks/peers/loops/`.
"""


def main() -> None:
    """Write the page and its plots."""
    parts = [HEAD, CONVERSION, *_section("side_by_side-conversion")]
    if plot := _agreement():
        parts.append(f"![Same top-1 as float]({plot.relative_to(OUT.parent)})\n")
    parts += [INFERENCE, *_section("side_by_side-inference"), PI, *_section("pi_peers")]
    if (RESULTS / "camera_loops.md").exists():
        parts += [CAMERA, f"({machine_line('camera_loops')})\n", (RESULTS / "camera_loops.md").read_text()]
    write_whole(OUT, "\n".join(parts))


def _section(kind: str) -> list[str]:
    """The tables of a kind, a network each."""
    parts = []
    for name, subject in SUBJECTS.items():
        table = RESULTS / f"{kind}-{name}.md"
        if table.exists():
            parts += [f"**{subject.title}** ({machine_line(f'{kind}-{name}')})\n", table.read_text()]
    return parts


def _agreement() -> Path | None:
    """Bars of how often int8 answers as float does, a panel for each network."""
    found: dict[str, dict[str, Any]] = {}
    for name, subject in SUBJECTS.items():
        path = RESULTS / f"side_by_side-conversion-{name}.json"
        if path.exists():
            rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
            found[subject.title] = {route: row for route, row in rows.items() if "failed" not in row}
    if not found:
        return None
    mpl.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(len(found), 1, figsize=(8.0, 3.2 * len(found)), squeeze=False)
    for (title, rows), panel in zip(found.items(), panels[:, 0], strict=True):
        routes = sorted(rows, key=lambda route: rows[route]["same"]["value"])
        values = [rows[route]["same"]["value"] for route in routes]
        colours = [OURS if route.startswith("edgekit") else OTHERS for route in routes]
        panel.barh(routes, values, color=colours)
        panel.bar_label(panel.containers[0], fmt="%.1f", padding=2)
        panel.set_xlim(max(0.0, min(values) - 5.0), 101.0)
        panel.set_title(title, fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
    panels[-1, 0].set_xlabel("same top-1 as the float network, %")
    figure.tight_layout()
    target = RESULTS / "side_by_side-agreement.png"
    figure.savefig(target, dpi=110)
    return target


if __name__ == "__main__":
    main()
