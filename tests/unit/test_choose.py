"""The time that a recipe is expected to take."""

from types import SimpleNamespace

import numpy as np
import pytest

from edgekit_quantize.candidate import Candidate
from edgekit_quantize.choose import _expected_seconds
from edgekit_quantize.recipe import Tuning, load_recipe

MODEL = SimpleNamespace(images=SimpleNamespace(fitting=np.zeros((200, 2, 2, 3), np.uint8)))
PLAIN = load_recipe("int8-minmax")


def candidate(recipe, seconds):
    return Candidate(recipe, b"", None, seconds)


def tuned(steps):
    from dataclasses import replace

    return replace(PLAIN, tuning=Tuning(steps=steps, batch=8))


def test_without_experience_an_image_of_tuning_costs_as_much_as_one_of_calibration():
    # 10 s for 200 images: 0.05 s each, 2,400 of them, and calibration once more.
    assert _expected_seconds(MODEL, tuned(300), [candidate(PLAIN, 10.0)]) == pytest.approx(10.0 + 120.0)


def test_with_experience_its_rate_counts():
    made = [candidate(PLAIN, 10.0), candidate(tuned(300), 100.0)]
    assert _expected_seconds(MODEL, tuned(2000), made) == pytest.approx(10.0 + 90.0 * 2000 / 300)


def test_a_recipe_without_tuning_takes_as_long_as_any_other():
    assert _expected_seconds(MODEL, PLAIN, [candidate(tuned(300), 100.0), candidate(PLAIN, 8.0)]) == 8.0
