"""Histograms against numpy's own percentiles."""

import numpy as np
import pytest

from edgekit_deploy.latency import RELATIVE_STEP, Histogram


@pytest.mark.parametrize("seed", range(5))
def test_percentiles_are_right_to_one_percent(seed):
    rng = np.random.default_rng(seed)
    values = np.exp(rng.normal(-5.0, 1.5, 4000))
    histogram = Histogram()
    for value in values:
        histogram.add(float(value))
    for percent in (1, 50, 90, 95, 99, 100):
        expected = np.percentile(values, percent, method="inverted_cdf")
        assert histogram.percentile(percent) == pytest.approx(expected, rel=RELATIVE_STEP)
    summary = histogram.summary()
    assert summary.count == 4000
    assert summary.mean == pytest.approx(1e3 * values.mean(), rel=1e-9)
    assert summary.max == 1e3 * values.max()


def test_empty_and_extreme_values():
    histogram = Histogram()
    assert histogram.summary().p99 == 0.0
    for value in (-1.0, 0.0, 1e-9, 1e9):
        histogram.add(value)
    assert histogram.percentile(50) <= 1.01e-6
    assert histogram.summary().max == 1e12
    assert histogram.percentile(100) <= 1e9
