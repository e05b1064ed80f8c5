"""What is said about an int8 file that is far from its float network."""

import numpy as np
import pytest

from edgekit.runtime import Kernels
from edgekit_quantize.recipe import Format
from edgekit_quantize.verify import Check, is_one_answer


def check(sqnr_db, agreement, kind=Format.INT8):
    return Check(kind, Kernels.XNNPACK, None, None, sqnr_db, agreement, 50)


@pytest.mark.parametrize(("sqnr_db", "agreement"), [(4.0, 0.95), (15.0, 0.5)])
def test_a_file_far_from_float_is_warned_of(sqnr_db, agreement):
    (line,) = check(sqnr_db, agreement).warnings()
    assert f"{sqnr_db:.1f} dB, same top-1 on {agreement:.0%} of 50 images" in line
    assert "--explain" in line


@pytest.mark.parametrize(
    ("answers", "expected"), [([1, 1, 1, 1, 1, 1], True), ([1, 1, 1, 1, 1, 0], False), ([1, 1, 1, 1, 1], False)]
)
def test_one_answer_to_all_of_enough_images(answers, expected):
    assert is_one_answer(np.eye(3, dtype=np.float32)[answers]) is expected


def test_a_single_logit_is_no_answer():
    assert not is_one_answer(np.ones((50, 1), np.float32))


def test_the_layer_view_is_not_advised_where_there_is_none():
    (line,) = check(4.0, 0.95, Format.DYNAMIC).warnings()
    assert "--explain" not in line


def test_a_close_file_is_not():
    assert list(check(13.0, 0.88).warnings()) == []
    assert list(check(float("inf"), 1.0).warnings()) == []
