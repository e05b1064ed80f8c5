"""The decision drawn on a frame, readable on any frame size.

Small frames are enlarged first, to at least MIN_SIDE pixels; everything else is proportional to the frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from edgekit.preprocess import Image
from edgekit_deploy.classifier import Guess, Result
from edgekit_deploy.smoothing import Verdict

MIN_SIDE = 240
MAX_ASPECT_SIDE = 1920
FONT = cv2.FONT_HERSHEY_SIMPLEX
WHITE, GREY, GREEN, RED, AMBER = (255, 255, 255), (110, 110, 110), (80, 200, 60), (70, 70, 240), (40, 180, 250)
Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Hud:
    """The top line: frames per second, milliseconds from capture to decision, frames dropped, what slows the board."""

    fps: float
    latency_ms: float
    dropped: int
    warning: str = ""


def annotate(
    image: Image,
    result: Result,
    hud: Hud,
    truth: str | None = None,
    bars: int = 3,
    verdict: Verdict | None = None,
) -> Image:
    """Draw the best guesses and the figures.

    Args:
        image: (H, W, 3) uint8 BGR; drawn on in place if it is large enough, else an enlarged copy is.
        result: What to show.
        hud: The top line.
        truth: Label that is right, if known: the frame's border turns green or red.
        bars: How many guesses to show at most.
        verdict: The answer; it is told in a line of its own where it is not this frame's best guess.

    Returns:
        (H', W', 3) uint8 BGR, both sides at least MIN_SIDE.
    """
    canvas = enlarge(image)
    height, width = canvas.shape[:2]
    unit = max(12, min(height, width) // 20)
    _draw_hud(canvas, hud, unit)
    if verdict is not None and verdict.index != result.index:
        _draw_line(canvas, verdict.label or "nothing sure", unit * 3 // 2, unit, AMBER)
    guesses = result.top[:bars]
    top = height - len(guesses) * unit * 3 // 2 - unit // 2
    _shade(canvas, top, height)
    for row, guess in enumerate(guesses):
        _draw_bar(canvas, guess, top + unit // 4 + row * unit * 3 // 2, unit, _colour(guess, row, truth))
    if truth is not None:
        _draw_truth(canvas, truth, result.label, unit)
    return canvas


def banner(image: Image, text: str) -> Image:
    """A copy of a picture that `annotate` gave, with a line of text across its middle."""
    canvas = image.copy()
    unit = max(12, min(canvas.shape[:2]) // 20)
    _draw_line(canvas, text, canvas.shape[0] // 2 - unit, unit, RED)
    return canvas


def enlarge(image: Image) -> Image:
    """`image` itself, or a copy magnified by a whole factor (pixels stay square) and padded to MIN_SIDE."""
    height, width = image.shape[:2]
    factor = min(math.ceil(MIN_SIDE / min(height, width)), max(1, MAX_ASPECT_SIDE // max(height, width)))
    if factor > 1:
        size = (width * factor, height * factor)
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_NEAREST), np.uint8)
        height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        bottom, right = max(0, MIN_SIDE - height), max(0, MIN_SIDE - width)
        image = np.asarray(cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_CONSTANT), np.uint8)
    return np.ascontiguousarray(image)


def plain_text(text: str) -> str:
    """`text` in ASCII, all that OpenCV's fonts have: accents dropped, the rest as '?'."""
    if text.isascii():
        return text
    import unicodedata  # a table of a megabyte

    letters = (letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return "".join(letters).encode("ascii", "replace").decode()


def fitted(text: str, width: int, unit: int) -> str:
    """`text`, shortened with '...' until it is at most `width` pixels wide at this size; at least one character."""
    text = plain_text(text)
    if _text_width(text, unit) <= width:
        return text
    for length in range(len(text) - 1, 0, -1):
        if _text_width(text[:length] + "...", unit) <= width:
            return text[:length] + "..."
    return text[:1]


def _draw_hud(canvas: Image, hud: Hud, unit: int) -> None:
    _shade(canvas, 0, unit * 3 // 2)
    text = f"{hud.fps:.1f} fps  {hud.latency_ms:.1f} ms  {hud.dropped} dropped"
    if hud.warning:
        text = f"{hud.warning.upper()}  {text}"
    _text(canvas, text, unit // 2, unit // 4, unit, RED if hud.warning else WHITE, canvas.shape[1] - unit)


def _draw_line(canvas: Image, text: str, top: int, unit: int, colour: Colour) -> None:
    """A line across the picture, on a dark band."""
    _shade(canvas, top, top + unit * 3 // 2)
    _text(canvas, text, unit // 2, top + unit // 4, unit, colour, canvas.shape[1] - unit)


def _draw_bar(canvas: Image, guess: Guess, top: int, unit: int, colour: Colour) -> None:
    """One guess: a filled bar as long as its probability behind "label  87 %"."""
    left, right = unit // 2, canvas.shape[1] - unit // 2
    bottom = top + unit * 5 // 4
    end = left + round((right - left) * min(1.0, max(0.0, guess.probability)))
    cv2.rectangle(canvas, (left, top), (max(left + 1, end), bottom), colour, cv2.FILLED)
    percent = f"{100.0 * guess.probability:.0f} %"
    percent_width = _text_width(percent, unit)
    _text(canvas, percent, right - percent_width - unit // 4, top, unit, WHITE, right)
    _text(canvas, guess.label, left + unit // 4, top, unit, WHITE, right - left - percent_width - unit)


def _draw_truth(canvas: Image, truth: str, guessed: str, unit: int) -> None:
    colour = GREEN if truth == guessed else RED
    height, width = canvas.shape[:2]
    if truth != guessed:
        _draw_line(canvas, f"truth: {truth}", unit * 3, unit, colour)
    cv2.rectangle(canvas, (0, 0), (width - 1, height - 1), colour, max(2, unit // 4))


def _colour(guess: Guess, row: int, truth: str | None) -> Colour:
    if row:
        return GREY
    if truth is None:
        return AMBER
    return GREEN if guess.label == truth else RED


def _shade(canvas: Image, top: int, bottom: int) -> None:
    """Darken a band of rows to a third, so that text stands out on any picture."""
    band = canvas[max(0, top) : bottom]
    cv2.convertScaleAbs(band, dst=band, alpha=1 / 3)


def _text(canvas: Image, text: str, left: int, top: int, unit: int, colour: Colour, width: int) -> None:
    """Text of cap height about `unit` with a dark outline; (left, top) is the corner of its box."""
    shown = fitted(text, width, unit)
    origin = (left, top + unit)
    stroke = _stroke(unit)
    cv2.putText(canvas, shown, origin, FONT, unit / 30.0, (0, 0, 0), stroke + 2, cv2.LINE_AA)
    cv2.putText(canvas, shown, origin, FONT, unit / 30.0, colour, stroke, cv2.LINE_AA)


def _text_width(text: str, unit: int) -> int:
    return int(cv2.getTextSize(text, FONT, unit / 30.0, _stroke(unit))[0][0])


def _stroke(unit: int) -> int:
    return max(1, round(unit / 12))
