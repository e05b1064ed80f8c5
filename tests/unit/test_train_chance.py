"""A network is told from chance: against networks that do not look, and against ones that know a little."""

import numpy as np
import pytest

from edgekit.train.chance import is_like_chance


@pytest.mark.parametrize(
    ("correct", "images", "expected"),
    [
        ((20, 0, 0, 0), (20,) * 4, True),
        ((0, 0, 2, 20), (20,) * 4, True),  # 27.5 % of 80
        ((89, 10), (100, 10), False),  # less top-1 than one answer has, but both are known
        ((8,) * 4, (20,) * 4, False),
        ((100, 0), (100, 0), False),  # one class has images: nothing can be told
        ((1, 1), (1, 1), True),  # two images tell nothing
    ],
)
def test_cases(correct, images, expected):
    assert is_like_chance(correct, images) is expected


def test_networks_that_do_not_look_are_nearly_all_found_and_ones_that_know_are_not():
    rng = np.random.default_rng(0)
    found, missed = [], []
    for _ in range(400):
        classes = int(rng.integers(2, 12))
        images = rng.integers(10, 60, classes)
        answers = rng.dirichlet(np.ones(classes))
        found.append(is_like_chance(rng.binomial(images, answers).tolist(), images.tolist()))
        missed.append(is_like_chance(rng.binomial(images, 0.4 + 0.6 * answers).tolist(), images.tolist()))
    # 95 % by construction, where the normal distribution is near enough.
    assert np.mean(found) > 0.93
    assert np.mean(missed) < 0.05
