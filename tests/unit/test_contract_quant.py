"""Quantization against the formula, in plain Python."""

import math
import random

import numpy as np
import pytest

from edgekit.quant import dequantize, quantize, softmax, sqnr_db, top_k


def by_formula(real: float, scale: float, zero_point: int) -> int:
    code = math.floor(round(real / scale, 3) + zero_point + 0.5)
    return max(-128, min(127, code))


@pytest.mark.parametrize("seed", range(5))
def test_quantize_is_the_formula(seed):
    rng = random.Random(seed)
    scale, zero_point = rng.uniform(1e-3, 1.0), rng.randint(-128, 127)
    reals = [rng.uniform(-200, 200) * scale for _ in range(500)] + [0.0, 1e9, -1e9]
    expected = [by_formula(real, scale, zero_point) for real in reals]
    got = quantize(np.array(reals), scale, zero_point)
    assert got.dtype == np.int8
    assert got.tolist() == expected


def test_ties_go_up_and_ends_are_clipped():
    assert quantize(np.array([0.5, -0.5, 1.5, -1.5, 126.5, 127.5, -128.5, -129.5]), 1.0, 0).tolist() == [
        1, 0, 2, -1, 127, 127, -128, -128,
    ]  # fmt: skip


def test_codes_survive_the_round_trip():
    codes = np.arange(-128, 128, dtype=np.int8)
    for scale, zero_point in ((0.007843138, -1), (0.1, 127), (3.5, -128)):
        assert np.array_equal(quantize(dequantize(codes, scale, zero_point), scale, zero_point), codes)
    real = dequantize(codes, 0.25, -1)
    assert real.dtype == np.float32
    assert real[0] == 0.25 * -127


def test_softmax():
    probabilities = softmax(np.array([[1000.0, 1000.0, -1000.0], [0.0, math.log(3.0), 0.0]]))
    np.testing.assert_allclose(probabilities, [[0.5, 0.5, 0.0], [0.2, 0.6, 0.2]], atol=1e-6)


def test_top_k_orders_and_settles_ties_by_index():
    codes = np.array([5, -128, 127, 5, 127, -128], np.int8)
    assert top_k(codes, 4).tolist() == [2, 4, 0, 3]
    assert top_k(codes, 99).tolist() == [2, 4, 0, 3, 1, 5]


def test_sqnr():
    reference = np.array([3.0, 4.0])
    assert sqnr_db(reference, reference) == math.inf
    assert sqnr_db(reference, reference + np.array([0.3, 0.4])) == pytest.approx(20.0, abs=1e-9)
