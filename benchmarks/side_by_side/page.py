"""Writes benchmarks/RESULTS.md, edgekit beside others, from the tables and raw numbers in benchmarks/results/."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.side_by_side import plots, provenance
from benchmarks.side_by_side.conversion import ROUNDS
from benchmarks.side_by_side.inference import PAUSE
from benchmarks.side_by_side.remedies import remedies
from benchmarks.side_by_side.standings import POINTS, read_result, standings, table
from benchmarks.side_by_side.subjects import SUBJECTS
from benchmarks.support import RESULTS, markdown
from edgekit.errors import GateError
from edgekit.files import write_whole

OUT = Path(__file__).parents[1] / "RESULTS.md"
HEAD = """# Edgekit beside others, measured

Written by `make bench`, and holds what it measured, nothing else. Every tool has an environment of its own with pinned
versions (`benchmarks/side_by_side/environments.py` and `locks/`), and is given the same float network and the same
images: up to 250 for calibration, others to judge. Where a peer cannot do it, the row says why. Raw numbers:
`benchmarks/results/side_by_side-*.json`.

To measure it again: clone ajschumacher/imagen from GitHub, which has the photos for ImageNet's networks; `python -m
benchmarks.side_by_side.photos imagen/ photos/` picks those that were used here (`photos.csv`), and `make bench
CALIBRATION=photos/calibration EVALUATION=photos/evaluation` measures (two to three hours). Here they
were scaled to a short side of 256 pixels at most before, which no command here does: expect other digits. Your own
photos will do as well, in a folder per class (ImageNet's names). CIFAR-10 and the networks are fetched and checked by
hash. *QDQ*: pairs of quantize and dequantize in an ONNX file; *PT2E*: PyTorch's quantization of exported programs;
*NNCF*: OpenVINO's tool; *SQNR*: signal to quantization noise ratio.
"""
SUMMARY = f"""## In short

Edgekit's default recipe (where it says so, another one), and the best of the others, whoever it is; in brackets the 95
% interval of its lead over edgekit in points, or of the ratio of its time to edgekit's. *Equal*: no further apart, by
the whole interval, than {POINTS:g} points of same top-1, 0.1 dB, 1 % of bytes and instructions, 2 % of the time of an
image, 5 % of that of a conversion or a camera loop, and of memory. *First*, *behind*: further apart than that, and not
by chance. *Undecided*: neither can be told from so many images or rounds. (With fewer than six rounds, as of
conversions and of the network slower than the camera, the interval is the range of the rounds.) Times are compared
round by round: where a machine has two speeds, two medians need not have that ratio. Edgekit's two recipes are two
things: `int8-minmax` is the quick one, and agrees with the float network about as often as other min/max routes. The
*drop* of top-1 is in the tables below and not here: most routes' intervals overlap, and the lowest is not always
edgekit's. Whoever failed (the rows say so) is not among the others.
"""
CONVERSION = f"""## Conversion to int8

*Drop* of top-1 against the float network in points (negative: better than float) and *same top-1* as float, each with
its 95 % interval; *SQNR* of the logits; seconds and peak memory (of the route's own command, its start included).
Seconds with a * are medians of {ROUNDS} rounds in turns, from PyTorch to an int8 .tflite: where a route begins at an
ONNX file, `torch.onnx.export` before it counts too. The others are one run each of the route's own command, and cannot
be compared: two networks came as ONNX files, where edgekit begins there and litert-torch, ExecuTorch and PyTorch at the
same network as an exported program. onnx2tf writes other formats besides.

*All int8*: of a .tflite by its operators; the other runtimes are given floats. *Verified*: the command tries the file
before it hands it out; only edgekit's does (float stages compared, kernels compared, golden samples), and its seconds
hold that. *Labels, preprocessing*: TFLite Metadata in the file; other files have no standard for it.

ai-edge-quantizer's own calibration averages ranges as images come: high logits are cut off, and images whose best
classes are cut off alike are given the first of them. ncnn's tools for int8 and TinyNeuralNetwork come from their
repositories; what is not in the package index was not tried, so a best of the others is the best of those in the rows.
"""
INFERENCE = f"""## One image on a PC

Everyone in turns, in one run, by chance in another order in each round, {PAUSE:g} s apart; the median of the rounds'
medians, and that of the ratios to edgekit's file in the same rounds with its 95 % interval. The input is in the file's
own form already; copying it in and the answer out counts. The float files answer as the float network does, or are left
out. With two threads on two cores, all else that the machine does shows, and some networks have two speeds, of which
either may come in any turn (raw numbers): a ratio whose interval is wide says little. PyTorch is compiled with its
defaults, and its weights frozen.
"""
PI = """## Instructions on a Raspberry Pi's cores

Emulated, one thread, counted by a plugin; instructions are not milliseconds. *Network*: input in the file's own form,
copied in where the runtime wants it. *Frame* is 640×480 BGR to the five best classes: edgekit's own path around its
file, the usual float preparation around the others', so that frames differ where networks do not. MediaPipe has threads
of its own, so its count is approximate, and PyTorch's differ by some per cent from call to call. There, these versions
run: {wheels}. Not counted, since the network has the same operators with other numbers in them: {alike}.
"""
CAMERA = """## Camera loops

The same network camera (MJPEG, 640×480, 30 fps) with numbers painted into its frames, one core for each loop; medians
of rounds in turns. MobileNetV2 1.0 with random weights at 224 pixels; at 1280, where it is slower than the camera.
*CPU* is that of the loop's process, decoding included; *without the network*: less the network's own in a loop of its
own, where that can be run (a difference; OpenCV's is another network). *Age*: from the camera's sending a frame to the
answer. The samples were rewritten without their windows, and on this camera instead of a USB one
(`benchmarks/side_by_side/peers/loops/`); of TensorFlow's example, what its Task Library does in C++ is done with OpenCV
and numpy, since the library ended at Python 3.11; that and the plain script run in edgekit's environment. OpenCV's
sample takes a float network. All but edgekit read through OpenCV's own HTTP client (FFmpeg). A loop that reads frames
in order answers for older and older ones where the network is slower than the camera; how old, what lies between
decides: a USB camera's driver has few buffers.
"""


def main() -> None:
    """Write the page and its pictures.

    Raises:
        GateError: Edgekit is behind where nothing is said of what it would take; the page is written.
    """
    text, silent = page()
    write_whole(OUT, text)
    if silent:
        raise GateError(f"WOULD_TAKE must say what it would take, got nothing for: {', '.join(silent)}.")


def page() -> tuple[str, list[str]]:
    """Its text, and what edgekit is behind in without a word."""
    lines = standings({name: subject.title for name, subject in SUBJECTS.items()})
    said, silent = remedies(lines)
    parts = [HEAD, SUMMARY, table(lines) + "\n", *said, CONVERSION, *_section("conversion")]
    parts += [*_pictures(plots.agreement(), "Same top-1 as float"), *_pictures(plots.seconds(), "Seconds and SQNR")]
    parts += [INFERENCE, *_section("inference"), *_pictures(plots.image(), "Time of an image")]
    parts += _pi_cores()
    if cameras := read_result("cameras"):
        parts += [CAMERA, f"({provenance.line(cameras)})\n", (RESULTS / "side_by_side-cameras.md").read_text()]
        parts += _pictures(plots.age(), "Age of an answer")
    return "\n".join([*parts, *_versions()]), [str(kind) for kind in silent]


def _pictures(paths: list[Path], title: str) -> list[str]:
    return [f"![{title}]({path.relative_to(OUT.parent)})\n" for path in paths]


def _section(step: str) -> list[str]:
    """The tables of a step, a network each."""
    parts = []
    for name, subject in SUBJECTS.items():
        if found := read_result(f"{step}-{name}"):
            counts = ("images", "calibration_images")
            images = "{:,} images, {} for calibration; ".format(*map(found.get, counts)) if "images" in found else ""
            inputs = f", images and network {found['inputs'][:8]}" if "inputs" in found else ""
            parts += [f"**{subject.title}** ({images}{provenance.line(found)}{inputs})\n"]
            parts += [(RESULTS / f"side_by_side-{step}-{name}.md").read_text()]
            if "float_top1" in found:
                top1 = found["float_top1"]
                parts += [f"Float: {top1['value']:.2f} % ({top1['low']:.2f} … {top1['high']:.2f}).\n"]
    return parts


def _pi_cores() -> list[str]:
    """With what was installed there, which a wheel for aarch64 decides."""
    known = [found for name in SUBJECTS if (found := read_result(f"pi_cores-{name}"))]
    if not known:
        return []
    wheels = {words[0].replace("==", " "): None for found in known for words in found["wheels"].values() if words}
    torch = {word.replace("==", " ") for found in known for words in found["wheels"].values() for word in words}
    named = sorted(wheels.keys() | {word for word in torch if word.startswith("torch ")})
    alike = dict.fromkeys(title for found in known for title in found["not_counted"])
    return [PI.format(wheels=", ".join(named), alike="; ".join(alike)), *_section("pi_cores")]


def _versions() -> list[str]:
    """A table of the peers; both, where results know different ones."""
    known: dict[str, set[str]] = {}
    for path in sorted(RESULTS.glob("side_by_side-*.json")):
        for name, version in json.loads(path.read_text(encoding="utf-8"))["peers"].items():
            known.setdefault(name, set()).add(version)
    rows = [(name, " or ".join(sorted(versions))) for name, versions in sorted(known.items())]
    return ["## Versions\n", markdown(("environment", "packages"), rows), ""] if rows else []


if __name__ == "__main__":
    main()
