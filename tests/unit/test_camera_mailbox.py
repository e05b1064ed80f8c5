"""captured = taken + dropped, exactly, whatever writer and reader do."""

import random
import threading
import time

import numpy as np
import pytest

from edgekit_deploy.capture import Capture
from edgekit_deploy.mailbox import Mailbox
from edgekit_deploy.sources.frames import Frame, SourceLost

PICTURE = np.zeros((2, 2, 3), np.uint8)


def frame(index: int) -> Frame:
    return Frame(PICTURE, time.monotonic(), index, index / 30.0)


class Scripted:
    """A source that does what a list says: a number of seconds to sleep before a frame, or an error to raise."""

    def __init__(self, script, lossless=False):
        self.name, self.lossless, self.fps, self.notes = "script", lossless, 30.0, []
        self.is_live = not self.lossless
        self.script, self.closed, self.read = script, 0, 0

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.closed += 1

    def describe(self):
        return self.name

    def __iter__(self):
        for index, step in enumerate(self.script):
            if isinstance(step, BaseException):
                raise step
            time.sleep(step)
            self.read += 1
            yield frame(index)


def test_newest_frame_wins():
    box = Mailbox()
    for index in range(5):
        assert box.put(frame(index))
    assert box.get(0).index == 4
    assert box.counts() == (5, 1, 4)
    assert box.get(0.01) is None
    assert not box.is_over


def test_last_frame_is_taken_before_the_end():
    box = Mailbox()
    box.put(frame(0))
    box.close_writer()
    assert not box.is_over
    assert box.get(0).index == 0
    assert box.is_over
    assert box.get(10) is None


def test_error_comes_after_the_last_frame():
    box = Mailbox()
    box.put(frame(0))
    box.close_writer(SourceLost("gone"))
    assert box.get(0).index == 0
    with pytest.raises(SourceLost, match="gone"):
        box.get(0)


def test_early_stop_counts_the_waiting_frame_as_dropped():
    box = Mailbox()
    box.put(frame(0))
    box.put(frame(1))
    box.close_reader()
    assert box.counts() == (2, 0, 2)
    assert not box.put(frame(2))
    assert box.counts() == (3, 0, 3)


def test_lossless_writer_waits_and_is_freed_by_the_readers_end():
    box = Mailbox(lossless=True)
    box.put(frame(0))
    answers = []
    writer = threading.Thread(target=lambda: answers.append(box.put(frame(1))))
    writer.start()
    time.sleep(0.05)
    assert writer.is_alive()
    assert box.get(0).index == 0
    writer.join(2)
    assert answers == [True]
    writer = threading.Thread(target=lambda: answers.append(box.put(frame(2))))
    writer.start()
    time.sleep(0.02)
    box.close_reader()
    writer.join(2)
    assert answers == [True, False]
    captured, taken, dropped = box.counts()
    assert (captured, taken, dropped) == (3, 1, 2)


@pytest.mark.parametrize("seed", range(40))
def test_books_balance_under_random_schedules(seed):
    rng = random.Random(seed)
    lossless = rng.random() < 0.3
    script = [rng.choice([0, 0, 0.0005, 0.002]) for _ in range(rng.randint(0, 60))]
    fails = rng.random() < 0.3
    if fails:
        script.insert(rng.randint(0, len(script)), SourceLost("pulled out"))
    stop_after = rng.randint(0, 80)
    source = Scripted(script, lossless)
    indices, lost = [], False
    with Capture(source) as capture:
        while len(indices) < stop_after:
            try:
                got = capture.get(0.2)
            except SourceLost:
                lost = True
                break
            if got is None:
                if capture.is_over:
                    break
                continue
            indices.append(got.index)
            time.sleep(rng.choice([0, 0, 0.001, 0.003]))
    captured, taken, dropped = capture.counts()
    assert captured == taken + dropped
    assert captured == source.read
    assert taken == len(indices)
    assert indices == sorted(set(indices))
    assert source.closed == 1
    assert not capture._session.thread.is_alive()
    if lossless:
        assert indices == list(range(len(indices)))
        assert dropped <= 2  # only what was on its way when the reader stopped
    if fails and len(indices) < stop_after:
        assert lost


def test_slow_reader_never_sees_an_old_frame():
    period, slow = 0.004, 0.03
    ages = []
    with Capture(Scripted([period] * 120)) as capture:
        while not capture.is_over:
            got = capture.get(0.5)
            if got is not None:
                ages.append(time.monotonic() - got.timestamp)
                time.sleep(slow)
    # One period and the scheduler's share; a queue would have let the age grow to 0.4 s.
    assert np.median(ages) < 0.1
    captured, taken, dropped = capture.counts()
    assert captured == 120 == taken + dropped
    assert dropped > 60


@pytest.mark.parametrize("error", [ValueError("x"), MemoryError(), SystemExit(3)])
def test_whatever_kills_the_thread_surfaces_here(error):
    with Capture(Scripted([0, error])) as capture:
        assert capture.get(1).index == 0
        with pytest.raises(type(error)):
            capture.get(1)


def test_a_source_that_cannot_open_starts_nothing():
    class Closed(Scripted):
        def __enter__(self):
            raise SourceLost("no camera")

    before = threading.active_count()
    with pytest.raises(SourceLost), Capture(Closed([])) as capture:
        capture.get(60.0)
    assert threading.active_count() == before


def test_a_blocked_read_does_not_block_the_end(monkeypatch):
    monkeypatch.setattr("edgekit_deploy.capture.JOIN_SECONDS", 0.1)
    release = threading.Event()

    class Hanging(Scripted):
        def __iter__(self):
            release.wait(10)
            return iter(())

    start = time.monotonic()
    with Capture(Hanging([])) as capture:
        assert capture.get(0.05) is None
    assert time.monotonic() - start < 2.0
    release.set()
    capture._session.thread.join(2)
