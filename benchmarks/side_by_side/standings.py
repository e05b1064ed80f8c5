"""Where edgekit stands: for each thing that counts, its figure and the best of the others, from benchmarks/results/."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from operator import itemgetter
from typing import Any

from benchmarks.side_by_side.routes import OURS, QUICK
from benchmarks.support import RESULTS, interval, markdown, ratios

OUR_ROUTES = (OURS, QUICK)
CAMERA, PLAIN = "edgekit camera", "plain script: float preparation, LiteRT int8"
EXAMPLE = "TensorFlow's Raspberry Pi example, LiteRT int8"
# How far apart counts as equal. In parts of edgekit's: of bytes and instructions, of an image in turns (two files of
# edgekit with the same operators are 1 % apart), of whole commands and loops. Agreement in points, SQNR in dB.
EXACT, IN_TURNS, TIMED, POINTS, DECIBELS = 0.01, 0.02, 0.05, 0.1, 0.1


class Kind(StrEnum):
    """What is compared."""

    AGREEMENT = "same top-1 as float"
    SQNR = "SQNR of the logits"
    SIZE = "size"
    SECONDS = "PyTorch to int8 .tflite"
    MEMORY = "peak memory of that"
    IMAGE = "one image"
    NETWORK = "instructions of the network"
    FRAME = "instructions of a frame"
    CPU = "camera loop: CPU per answer"
    BESIDE = "camera loop: CPU per answer without the network"
    AGE = "camera loop: age of an answer, p99"
    SLOW_AGE = "the same with a network slower than the camera"


class Place(StrEnum):
    """Where edgekit is."""

    FIRST = "first"
    EQUAL = "equal"
    # Neither: its interval reaches beyond what counts as equal, and it is not apart beyond that and beyond chance.
    UNDECIDED = "undecided"
    BEHIND = "behind"


@dataclass(frozen=True)
class Standing:
    """A line of the summary.

    Attributes:
        kind: What is compared.
        on: On which network, with which recipe and how many threads.
        ours: Edgekit's figure, with its unit.
        other: The best of the others, and who it is.
        place: Edgekit's.
    """

    kind: Kind
    on: str
    ours: str
    other: str
    place: Place


def standings(subjects: Mapping[str, str]) -> list[Standing]:
    """Of all that was measured.

    Args:
        subjects: Title by name of each network.
    """
    return [line for name, title in subjects.items() for line in _of_network(name, title)] + _cameras()


def table(lines: list[Standing]) -> str:
    """In Markdown."""
    rows = [(f"{line.kind}{', ' if line.on else ''}{line.on}", line.ours, line.other, line.place) for line in lines]
    return markdown(("", "edgekit", "best of the others", "edgekit is"), rows)


def place(ahead: float, room: float, within: tuple[float, float] | None = None) -> Place:
    """Where edgekit is.

    Args:
        ahead: How far its figure is before another, negative if behind.
        room: So far apart still counts as equal.
        within: The 95 % interval of `ahead`; None: it is exact.
    """
    low, high = within or (ahead, ahead)
    if -room <= low and high <= room:
        return Place.EQUAL
    if abs(ahead) <= room or low <= 0.0 <= high:
        return Place.UNDECIDED
    return Place.FIRST if ahead > 0 else Place.BEHIND


def standing(
    kind: Kind,
    on: str,
    ours: float,
    others: Mapping[str, float],
    text: Callable[[float], str],
    *,
    room: float,
    is_more_better: bool = False,
) -> list[Standing]:
    """A line, or none without others.

    Args:
        kind: What is compared.
        on: On what.
        ours: Edgekit's figure.
        others: Theirs, by title.
        text: How a figure is written.
        room: How far apart figures may be that count as equal, in their own unit.
        is_more_better: Is the largest the best one?
    """
    if not others:
        return []
    best = (max if is_more_better else min)(others, key=lambda title: others[title])
    ahead = (ours - others[best]) * (1 if is_more_better else -1)
    return [Standing(kind, on, text(ours), f"{text(others[best])}, {best}", place(ahead, room))]


def read_result(name: str) -> dict[str, Any]:
    """Of a step, by its name; empty if it was not taken."""
    path = RESULTS / f"side_by_side-{name}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def _of_network(name: str, title: str) -> list[Standing]:
    lines = _conversion(title, able(read_result(f"conversion-{name}").get("rows", {})))
    for row in read_result(f"inference-{name}").get("rows", []):
        lines += _inference(title, row)
    return lines + _cores(title, read_result(f"pi_cores-{name}").get("instructions", {}))


def _conversion(title: str, rows: dict[str, Any]) -> list[Standing]:
    if OURS not in rows:
        return []
    others, size = _others(rows), rows[OURS]["bytes"]
    lines = _agreement(title, rows[OURS], others)
    noise = {route: row["sqnr_db"] for route, row in others.items()}
    ours, text = rows[OURS]["sqnr_db"], "{:.1f} dB".format
    lines += standing(Kind.SQNR, title, ours, noise, text, room=DECIBELS, is_more_better=True)
    bytes_ = {route: row["bytes"] for route, row in others.items()}
    lines += standing(Kind.SIZE, title, size, bytes_, lambda value: f"{value / 1e3:,.0f} kB", room=EXACT * size)
    # In turns and from PyTorch on, or they cannot be compared.
    seconds = {route: row["rounds"] for route, row in rows.items() if "rounds" in row}
    for route in (route for route in OUR_ROUTES if route in seconds):
        on = f"{route}: {title}"
        lines += _in_turns(Kind.SECONDS, on, seconds[route], _others(seconds), "{:.0f} s".format, TIMED)
        peaks = {other: rows[other]["peak_mb"] for other in _others(seconds)}
        mine, text = rows[route]["peak_mb"], "{:,.0f} MB".format
        lines += standing(Kind.MEMORY, on, mine, peaks, text, room=TIMED * mine)
    return lines


def _agreement(title: str, ours: dict[str, Any], others: dict[str, Any]) -> list[Standing]:
    """By the difference on the same images."""
    if not others:
        return []
    best = max(others, key=lambda route: others[route]["same"]["value"])
    found = others[best]["behind_edgekit"]
    where = place(found["value"], POINTS, (found["low"], found["high"]))
    mine, other = (f"{row['same']['value']:.1f} %" for row in (ours, others[best]))
    text = f"{other} ({-found['high']:+.1f} … {-found['low']:+.1f}), {best}"
    return [Standing(Kind.AGREEMENT, title, mine, text, where)]


def _inference(title: str, row: dict[str, Any]) -> list[Standing]:
    if OURS not in row["ms"]:
        return []
    on = f"threads: {row['threads']}, {title}"
    return _in_turns(Kind.IMAGE, on, row["ms"][OURS], _others(row["ms"]), "{:.2f} ms".format, IN_TURNS)


def _in_turns(
    kind: Kind,
    on: str,
    ours: Sequence[float],
    others: Mapping[str, Sequence[float]],
    text: Callable[[float], str],
    room: float,
) -> list[Standing]:
    """By the median of ratios in the same rounds."""
    if not others:
        return []
    found = {title: ratios(ours, theirs) for title, theirs in others.items()}
    medians = {title: statistics.median(values) for title, values in found.items()}
    best = min(medians, key=lambda title: medians[title])
    low, high = interval(found[best])
    where = place(medians[best] - 1.0, room, (low - 1.0, high - 1.0))
    figure, other = (text(statistics.median(values)) for values in (ours, others[best]))
    return [Standing(kind, on, figure, f"{other} (×{low:.2f} … {high:.2f}), {best}", where)]


def _cores(title: str, found: dict[str, Any]) -> list[Standing]:
    lines = []
    for core in found.get(OURS, {}):
        counts = able({route: row[core] for route, row in found.items()})
        for kind, what in ((Kind.NETWORK, "invoke"), (Kind.FRAME, "frame")):
            figures = {route: row[what] for route, row in counts.items() if what in row}
            if OURS in figures:
                ours, others = figures[OURS], _others(figures)
                text, room = (lambda value: f"{value / 1e6:.0f} M"), EXACT * figures[OURS]
                lines += standing(kind, f"{core}: {title}", ours, others, text, room=room)
    return lines


def _cameras() -> list[Standing]:
    loops = read_result("cameras").get("loops", {})
    lines = []
    for kind, name, figure, text in (
        (Kind.CPU, "light", itemgetter("cpu_ms"), "{:.2f} ms"),
        (Kind.BESIDE, "light", beside, "{:.2f} ms"),
        (Kind.AGE, "light", itemgetter("age_p99_ms"), "{:.0f} ms"),
        (Kind.SLOW_AGE, "heavy", itemgetter("age_p99_ms"), "{:.0f} ms"),
    ):
        taken = {title: row[name] for title, row in loops.items() if name in row and name not in row["failed"]}
        figures = {title: [figure(each) for each in rounds] for title, rounds in taken.items()}
        known = {title: values for title, values in figures.items() if None not in values}
        if CAMERA in known:
            lines += _in_turns(kind, "", known.pop(CAMERA), known, text.format, TIMED)
    return lines


def beside(figures: Mapping[str, Any]) -> float | None:
    """CPU per answer without the network, where that can be run by itself."""
    return None if figures["bare_ms"] is None else figures["cpu_ms"] - figures["bare_ms"]


def able(rows: Mapping[str, Any]) -> dict[str, Any]:
    """Without those that failed."""
    return {title: row for title, row in rows.items() if "failed" not in row}


def _others(rows: Mapping[str, Any]) -> dict[str, Any]:
    return {title: row for title, row in rows.items() if title not in OUR_ROUTES}
