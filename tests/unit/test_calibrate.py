"""Histograms and ranges against numpy and brute force."""

import numpy as np
import pytest

from edgekit_quantize.calibrate import HALF_BINS, Extremes, Histogram, Range, mse_range


def batches(seed):
    """Activation-like values whose magnitude grows from batch to batch, so that bins must be merged."""
    rng = np.random.default_rng(seed)
    return [rng.normal(0.0, 10.0**exponent, 5000).astype(np.float32) for exponent in (-3, -1, 0, 1, 2)]


def filled(parts):
    histogram = Histogram()
    for part in parts:
        histogram.add(part)
    return histogram


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_images_does_not_matter(seed):
    parts = batches(seed)
    forward, backward = filled(parts), filled(parts[::-1])
    assert np.array_equal(forward.counts, backward.counts)
    assert (forward.exponent, forward.low, forward.high) == (backward.exponent, backward.low, backward.high)


def test_counts_are_those_of_numpy():
    parts = batches(11)
    histogram = filled(parts)
    edges = np.arange(-HALF_BINS, HALF_BINS + 1) * 2.0**histogram.exponent
    expected, _ = np.histogram(np.concatenate(parts), edges)
    assert np.array_equal(histogram.counts, expected)
    assert histogram.counts.sum() == sum(part.size for part in parts)


@pytest.mark.parametrize("kind", [Extremes, Histogram])
def test_extremes_contain_zero(kind):
    for values, expected in (([1.0, 5.0], (0.0, 5.0)), ([-2.0, 5.0], (-2.0, 5.0)), ([-3.0, -1.0], (-3.0, 0.0))):
        seen = kind()
        seen.add(np.array(values, np.float32))
        assert seen.range() == Range(*expected)


@pytest.mark.parametrize("kind", [Extremes, Histogram])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(kind, value):
    seen = kind()
    assert not seen.add(np.array([1.0, value, 2.0], np.float32))
    assert seen.add(np.array([-1.0], np.float32))
    assert seen.range() == Range(-1.0, 0.0)


def test_a_tensor_of_zeros_still_gets_a_range():
    zeros = filled([np.zeros(10, np.float32)])
    assert mse_range(zeros) == zeros.range() == Range(0.0, 1.0)


def quantization_error(values, chosen):
    scale = (chosen.high - chosen.low) / 255
    zero_point = round(-128 - chosen.low / scale)
    codes = np.clip(np.round(values / scale) + zero_point, -128, 127)
    return float(np.mean((values - (codes - zero_point) * scale) ** 2))


@pytest.mark.parametrize("distribution", ["normal", "relu with outliers", "laplace"])
def test_the_mse_range_is_near_the_best_of_a_brute_force_search(distribution):
    rng = np.random.default_rng(5)
    values = {
        "normal": rng.normal(0, 1, 40_000),
        "relu with outliers": np.append(np.maximum(0, rng.normal(0, 1, 40_000)), [30.0]),
        "laplace": rng.laplace(0, 1, 40_000),
    }[distribution].astype(np.float32)
    chosen = mse_range(filled([values]))
    grid = np.linspace(0.05, 1.0, 60)
    lows = [values.min() * f for f in grid] if values.min() < 0 else [0.0]
    best = min(quantization_error(values, Range(float(low), float(values.max() * f))) for low in lows for f in grid)
    # 10 %: the search works on bin centres and stops at 30 % of the observed range.
    assert quantization_error(values, chosen) <= 1.10 * best
