"""What is said about an int8 file that is far from its float network."""

import pytest

from edgekit.runtime import Kernels
from edgekit_quantize.recipe import Format
from edgekit_quantize.verify import Check


def check(sqnr_db, agreement, kind=Format.INT8):
    return Check(kind, Kernels.XNNPACK, None, None, sqnr_db, agreement, 50)


@pytest.mark.parametrize(("sqnr_db", "agreement"), [(4.0, 0.95), (15.0, 0.5)])
def test_a_file_far_from_float_is_warned_of(sqnr_db, agreement):
    (line,) = check(sqnr_db, agreement).warnings()
    assert f"{sqnr_db:.1f} dB, same top-1 on {agreement:.0%} of 50 images" in line
    assert "--explain" in line


def test_the_layer_view_is_not_advised_where_there_is_none():
    (line,) = check(4.0, 0.95, Format.DYNAMIC).warnings()
    assert "--explain" not in line


def test_a_close_file_is_not():
    assert list(check(13.0, 0.88).warnings()) == []
    assert list(check(float("inf"), 1.0).warnings()) == []
