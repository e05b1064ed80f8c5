"""Outputs that are closed at the same time."""

import threading
import time

import pytest

from edgekit_deploy.outputs.together import Together

HANG_SECONDS = 1.0


class Slow:
    """An output whose closing takes a while, and may fail."""

    def __init__(self, seconds, error=None):
        self.seconds, self.error, self.is_closed = seconds, error, False

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        time.sleep(self.seconds)
        self.is_closed = True
        if self.error:
            raise self.error


def test_hanging_ones_take_as_long_as_one():
    outputs = [Slow(HANG_SECONDS) for _ in range(6)]
    with Together() as together:
        assert [together.enter(output) for output in outputs] == outputs
        start = time.monotonic()
    assert HANG_SECONDS <= time.monotonic() - start < 3 * HANG_SECONDS
    assert all(output.is_closed for output in outputs)
    assert not any(thread.name.startswith("edgekit end") for thread in threading.enumerate())


def test_all_are_closed_whatever_one_raises():
    outputs = [Slow(0.1), Slow(0.0, RuntimeError("bad")), Slow(0.1)]
    with pytest.raises(RuntimeError, match="bad"), Together() as together:
        for output in outputs:
            together.enter(output)
    assert all(output.is_closed for output in outputs)


def test_those_that_were_opened_are_closed_when_another_cannot_be():
    class Closed(Slow):
        def __enter__(self):
            raise OSError("no such place")

    first = Slow(0.0)
    with pytest.raises(OSError, match="no such place"), Together() as together:
        together.enter(first)
        together.enter(Closed(0.0))
    assert first.is_closed


def test_nothing_open_is_nothing_to_close():
    with Together():
        pass
