"""The overlay: on every frame size, legible, and truthful about right and wrong."""

import numpy as np
import pytest
from support import tiny_model

from edgekit_deploy.classifier import Guess, Result, Timings
from edgekit_deploy.outputs.overlay import GREEN, MIN_SIDE, RED, Hud, annotate, enlarge, fitted, plain_text

HUD = Hud(fps=29.97, latency_ms=12.3, dropped=17)


def result(*labels: str) -> Result:
    rest = 1.0
    top = []
    for index, label in enumerate(labels):
        rest /= 2
        top.append(Guess(index, label, rest, 100 - index))
    return Result(tuple(top), Timings(0.0, 0.0, 0.0))


@pytest.mark.parametrize("size", [(16, 16), (1, 1), (17, 31), (48, 64), (480, 640), (1, 400), (300, 40), (2160, 3840)])
@pytest.mark.parametrize("truth", [None, "cat", "dog"])
def test_any_size(size, truth):
    image = np.full((*size, 3), 90, np.uint8)
    drawn = annotate(image, result("cat", "dog", "elk"), HUD, truth)
    assert drawn.dtype == np.uint8
    assert drawn.ndim == 3
    assert min(drawn.shape[:2]) >= MIN_SIDE
    # White letters are there, of about a twentieth of the height or more.
    assert (drawn.min(axis=2) > 200).sum() > 100


def test_large_frames_are_drawn_on_in_place():
    image = np.full((480, 640, 3), 90, np.uint8)
    assert np.shares_memory(annotate(image, result("cat"), HUD), image)


def test_enlarging_keeps_pixels_square():
    small = tiny_model.noise(0, 16, 20)
    large = enlarge(small)
    np.testing.assert_array_equal(large[7::15, 7::15], small)


@pytest.mark.parametrize(("truth", "colour"), [("cat", GREEN), ("dog", RED)])
def test_border_tells_right_from_wrong(truth, colour):
    drawn = annotate(np.full((480, 640, 3), 90, np.uint8), result("cat", "dog"), HUD, truth)
    for row, column in ((0, 0), (0, 320), (479, 0), (240, 639)):
        assert tuple(drawn[row, column]) == colour


def test_bar_is_as_long_as_its_probability():
    def bar(probability: float) -> int:
        guess = Guess(0, "", probability, 0)
        drawn = annotate(np.zeros((480, 640, 3), np.uint8), Result((guess,), Timings(0, 0, 0)), HUD, "")
        rows = drawn[420:475].astype(int)
        return int((np.abs(rows - GREEN).sum(axis=2) < 3).sum(axis=1).max())

    full = bar(1.0)
    assert bar(0.5) == pytest.approx(full / 2, abs=0.12 * full)  # letters cover some of it
    assert bar(0.0) < 0.05 * full


def test_long_and_foreign_labels_fit():
    assert plain_text("élan naïf") == "elan naif"
    assert plain_text("日本") == "??"
    long = "a label that is far too long for any frame of this world " * 3
    short = fitted(long, 200, 24)
    assert short.endswith("...") and len(short) < len(long)
    assert fitted("abc", 0, 24) == "a"
    annotate(np.zeros((16, 16, 3), np.uint8), result(long, "日本語", "naïve"), HUD, "日本語")
