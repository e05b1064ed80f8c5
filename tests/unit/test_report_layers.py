"""The signal-to-noise ratio of a layer, channel by channel."""

import numpy as np
import pytest

from edgekit_quantize.report.layers import _Sums


def ratio(wanted, got):
    sums = _Sums()
    half = len(wanted) // 2
    for rows in (slice(0, half), slice(half, None)):
        sums.add(wanted[rows], got[rows])
    return sums.sqnr_db


@pytest.fixture
def wanted():
    return np.random.default_rng(0).normal(0, 1, (4000, 4)).astype(np.float32)


def test_noise_is_measured_whatever_each_channels_factor(wanted):
    noise = np.random.default_rng(1).normal(0, 0.1, wanted.shape).astype(np.float32)
    factors = np.asarray([1.0, 0.25, 8.0, 3.0], np.float32)
    # 20 dB by construction; 16,000 draws tell it to a tenth.
    assert ratio(wanted, wanted + noise) == pytest.approx(20.0, abs=0.1)
    assert ratio(wanted, (wanted + noise) * factors) == pytest.approx(ratio(wanted, wanted + noise), abs=1e-3)


def test_equal_values_have_no_noise(wanted):
    assert ratio(wanted, wanted) > 100.0


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda values: np.zeros_like(values), 0.0),
        (lambda values: -values, 0.0),
        # Half of the power is lost: 10·log10(2).
        (lambda values: values * np.asarray([1, 0, 1, 0], np.float32), 3.0),
        (lambda values: values * np.asarray([1, 1, 1, -1], np.float32), 6.0),
    ],
    ids=["all dead", "turned round", "half dead", "one turned round"],
)
def test_dead_and_inverted_channels_are_noise(wanted, edit, expected):
    assert ratio(wanted, edit(wanted)) == pytest.approx(expected, abs=0.2)
