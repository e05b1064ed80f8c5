"""Writes benchmarks/RESULTS.md, edgekit beside others, from the tables and raw numbers in benchmarks/results/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.side_by_side import provenance
from benchmarks.side_by_side.conversion import ROUNDS
from benchmarks.side_by_side.standings import OUR_ROUTES, Kind, Place, Standing, standings, table
from benchmarks.side_by_side.subjects import SUBJECTS
from benchmarks.support import RESULTS, markdown
from edgekit.errors import GateError
from edgekit.files import write_whole

OUT = Path(__file__).parents[1] / "RESULTS.md"
OURS, OTHERS = "#1f6f4a", "#9aa5b1"
HEAD = """# Edgekit beside others, measured

Written by `make bench`. Every tool has an environment of its own with pinned versions
(`benchmarks/side_by_side/environments.py` and `locks/`), and is given the same float network and the same images: up to
250 for calibration, others to judge. Where a peer cannot do it, the row says why. Raw numbers:
`benchmarks/results/side_by_side-*.json`.
"""
SUMMARY = """## In short

Edgekit's default recipe (where it says so, another one), and the best of the others, whoever it is. *Equal*: for *same
top-1*, the 95 % interval of the difference on the same images has zero in it; for an image on this machine and for
camera loops, the ratio's range over the rounds has 1 in it, or its median is within 2 % (loops: 5 %) of 1; else no
further apart than 0.1 dB, 1 % of bytes and instructions, 5 % of conversion times.
"""
CONVERSION = f"""## Conversion to int8

*Drop* of top-1 against the float network in points (negative: better than float) and *same top-1* as float, each with
its 95 % interval; *SQNR* of the logits; seconds and peak memory of the whole command, its start included. Seconds with
a * are medians of {ROUNDS} rounds in turns, of the routes that begin at PyTorch; the others are one run each: onnx2tf
and TFLiteConverter begin at the ONNX file that edgekit exported, and onnx2tf writes other formats besides; ONNX
Runtime's and OpenVINO's routes begin there too. *Verified*: the command tries the file before it hands it out (edgekit:
the float stages compared, kernels compared, golden samples; its seconds hold that).
"""
INFERENCE = """## One image on a PC

Everyone in turns, in one run; median of the rounds' medians, and the ratio to edgekit's file in the same round with its
range. The input is in the file's own form already; copying it in and the answer out counts. The float files answer as
the float network does, or are left out.
"""
PI = """## Instructions on a Raspberry Pi's cores

Emulated, one thread, counted by a plugin; instructions are not milliseconds. *Network*: input in the file's own form,
copied in where the runtime wants it. *Frame* is 640×480 BGR to the five best classes: edgekit's own path around its
file, the usual float preparation around the others'. MediaPipe has threads of its own, so its count is approximate.
"""
CAMERA = """## Camera loops

The same network camera (MJPEG, 640×480, 30 fps) with numbers painted into its frames, one core for each loop. The two
samples were rewritten without their windows, see `benchmarks/side_by_side/peers/loops/`. OpenCV's sample takes a float
network. A loop that reads frames in order answers for older and older ones where the network is slower than the camera.
"""
# By what is compared: what it would take where edgekit is behind. A line without a word is not published.
WOULD_TAKE: dict[Kind, str] = {
    Kind.AGREEMENT: (
        "on our MobileNetV1, biases corrected layer by layer (NNCF) keep 0.4 % more of the float network's "
        "answers, though the logits are further from its own: tuning makes the squared error of all logits "
        "small, and that is not the same. Not tried yet: such a correction before tuning, and a measure that "
        "counts images near a decision for more."
    ),
    Kind.SQNR: (
        "on MobileNetV1, biases corrected layer by layer (NNCF) end nearer to the float logits, though not "
        "with more of the float network's answers. Not tried yet: such a correction before tuning."
    ),
    Kind.SIZE: (
        "edgekit's file is the smallest .tflite, and its flatbuffer alone is smaller than ExecuTorch's file, "
        "which takes floats and has no card, no labels and no golden samples. These are some 0.1 MB with "
        "1,000 classes; it would take leaving them out."
    ),
    Kind.SECONDS: (
        "edgekit compares every stage with PyTorch and tries the file on three sets of kernels before it "
        "hands it out; the others hand out what they made. `int8` tunes for most of its time besides."
    ),
    Kind.IMAGE: (
        "on the networks for ImageNet, OpenVINO's own kernels for this processor are faster with one thread. "
        "A .tflite runs on LiteRT's (XNNPACK), whoever wrote it; it would take another runtime. Edgekit is "
        "made for the Pi: see the instructions there."
    ),
    Kind.NETWORK: (
        "without dot-product instructions (A53, A72) int8 takes no fewer instructions than the best float "
        "kernels: ncnn's are fewer on the A72, ONNX Runtime's int8 ones on the A53. With them (A76) nobody "
        "takes fewer. It would take other kernels in XNNPACK. What it is in milliseconds is not known: a "
        "float network's weights are four times the bytes."
    ),
    Kind.FRAME: (
        "what the network alone is behind by, see there. The rest of a frame is 4 million instructions with "
        "edgekit, 10 million with these."
    ),
}


def main() -> None:
    """Write the page and its plot.

    Raises:
        GateError: Edgekit is behind where WOULD_TAKE says nothing.
    """
    lines = standings({name: subject.title for name, subject in SUBJECTS.items()})
    parts = [HEAD, SUMMARY, table(lines) + "\n", *remedies(lines), CONVERSION, *_section("conversion")]
    if plot := _agreement():
        parts.append(f"![Same top-1 as float]({plot.relative_to(OUT.parent)})\n")
    parts += [INFERENCE, *_section("inference"), PI, *_section("pi_cores")]
    if cameras := _read("cameras"):
        parts += [CAMERA, f"({provenance.line(cameras)})\n", (RESULTS / "side_by_side-cameras.md").read_text()]
    write_whole(OUT, "\n".join([*parts, *_versions()]))


def remedies(lines: list[Standing]) -> list[str]:
    """What it would take, once for each thing that edgekit is behind in."""
    behind = dict.fromkeys(line.kind for line in lines if line.place is Place.BEHIND)
    if silent := [kind for kind in behind if kind not in WOULD_TAKE]:
        raise GateError(f"WOULD_TAKE must say what it would take, got nothing for: {', '.join(silent)}.")
    return ["Where it is behind:\n", *(f"- *{kind}*: {WOULD_TAKE[kind]}" for kind in behind), ""] if behind else []


def _read(name: str) -> dict[str, Any]:
    path = RESULTS / f"side_by_side-{name}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def _section(step: str) -> list[str]:
    """The tables of a step, a network each."""
    parts = []
    for name, subject in SUBJECTS.items():
        if found := _read(f"{step}-{name}"):
            images = (
                f"{found['images']:,} images, {found['calibration_images']} for calibration; "
                if "images" in found
                else ""
            )
            parts += [f"**{subject.title}** ({images}{provenance.line(found)})\n"]
            parts += [(RESULTS / f"side_by_side-{step}-{name}.md").read_text()]
            if "float_top1" in found:
                top1 = found["float_top1"]
                parts += [f"Float: {top1['value']:.2f} % ({top1['low']:.2f} … {top1['high']:.2f}).\n"]
    return parts


def _versions() -> list[str]:
    """A table of the peers; both, where results know different ones."""
    known: dict[str, set[str]] = {}
    for path in sorted(RESULTS.glob("side_by_side-*.json")):
        for name, version in json.loads(path.read_text(encoding="utf-8"))["peers"].items():
            known.setdefault(name, set()).add(version)
    rows = [(name, " or ".join(sorted(versions))) for name, versions in sorted(known.items())]
    return ["## Versions\n", markdown(("environment", "packages"), rows), ""] if rows else []


def _agreement() -> Path | None:
    """Bars of how often int8 answers as float does, a panel for each network."""
    found: dict[str, dict[str, Any]] = {}
    for name, subject in SUBJECTS.items():
        if rows := _read(f"conversion-{name}").get("rows"):
            found[subject.title] = {route: row["same"] for route, row in rows.items() if "failed" not in row}
    if not found:
        return None
    mpl.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(len(found), 1, figsize=(8.0, 3.6 * len(found)), squeeze=False)
    for (title, rows), panel in zip(found.items(), panels[:, 0], strict=True):
        routes = sorted(rows, key=lambda route: rows[route]["value"])
        values = [rows[route]["value"] for route in routes]
        reach = [
            [rows[r]["value"] - rows[r]["low"] for r in routes],
            [rows[r]["high"] - rows[r]["value"] for r in routes],
        ]
        panel.barh(routes, values, xerr=reach, color=[OURS if route in OUR_ROUTES else OTHERS for route in routes])
        panel.bar_label(panel.containers[-1], fmt="%.1f", padding=8)
        panel.set_xlim(max(0.0, min(values) - 5.0), 102.0)
        panel.set_title(title, fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
    panels[-1, 0].set_xlabel("same top-1 as the float network, %, with its 95 % interval")
    figure.tight_layout()
    target = RESULTS / "side_by_side-agreement.png"
    figure.savefig(target, dpi=110)
    pyplot.close(figure)
    return target


if __name__ == "__main__":
    main()
