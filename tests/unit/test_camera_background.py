"""The worker of slow outputs: order, bounds, errors told once, an end in time."""

import threading
import time

import pytest
from support.decisions import WAIT_SECONDS, wait_for

from edgekit.errors import InputError
from edgekit_deploy.outputs.background import Background, Trouble


class Gate:
    """A handler that stands still until it is opened."""

    def __init__(self):
        self.open, self.begun, self.batches = threading.Event(), threading.Event(), []

    def __call__(self, batch):
        self.begun.set()
        assert self.open.wait(WAIT_SECONDS)
        self.batches.append(batch)

    @property
    def items(self):
        return [item for batch in self.batches for item in batch]


def test_everything_is_handled_in_order_before_the_end():
    seen, told = [], []
    worker = Background("test", seen.extend, capacity=10_000, warn=told.append)
    for item in range(5000):
        worker.put(item)
    assert worker.close()
    assert seen == list(range(5000)) and worker.dropped == 0 and told == []


def test_the_newest_win_and_the_others_are_counted():
    gate = Gate()
    worker = Background("test", gate, capacity=3, warn=print)
    worker.put("first")
    assert gate.begun.wait(WAIT_SECONDS)
    for item in range(10):
        worker.put(item)
    assert worker.dropped == 7
    gate.open.set()
    assert worker.close(WAIT_SECONDS)
    assert gate.items == ["first", 7, 8, 9]
    worker.put("late")
    assert gate.items == ["first", 7, 8, 9] and worker.dropped == 7


def test_a_source_that_must_not_lose_waits_for_a_place():
    gate = Gate()
    worker = Background("test", gate, capacity=2, warn=print)
    threading.Timer(0.2, gate.open.set).start()
    for item in range(100):
        worker.put(item, wait=WAIT_SECONDS)
    assert worker.close(WAIT_SECONDS)
    assert gate.items == list(range(100)) and worker.dropped == 0


def test_waiting_for_a_place_ends():
    gate = Gate()
    worker = Background("test", gate, capacity=1, warn=print)
    worker.put(0)
    assert gate.begun.wait(WAIT_SECONDS)
    worker.put(1)
    start = time.monotonic()
    worker.put(2, wait=0.2)
    assert time.monotonic() - start >= 0.2 and worker.dropped == 1
    gate.open.set()
    assert worker.close(WAIT_SECONDS) and gate.items == [0, 2]


def test_an_error_is_told_once_and_the_next_items_are_handled():
    seen, told = [], []

    def handle(batch):
        for item in batch:
            seen.append(item)
            if item % 2:
                raise RuntimeError(f"no {item}")

    worker = Background("--test", handle, capacity=100, warn=told.append)
    for item in range(20):
        worker.put(item)
        wait_for(lambda item=item: seen[-1:] == [item])
    assert worker.close()
    assert told == ["--test failed: RuntimeError: no 1"]


def test_an_output_that_hangs_does_not_hold_up_the_end():
    gate = Gate()
    worker = Background("test", gate, capacity=5, warn=print)
    worker.put(0)
    assert gate.begun.wait(WAIT_SECONDS)
    worker.put(1)
    start = time.monotonic()
    assert not worker.close(0.3)
    # The promise to users is 5 s; a loaded machine gets some of them.
    assert 0.3 <= time.monotonic() - start < 5.0
    assert worker.dropped == 1
    gate.open.set()
    assert worker.close(WAIT_SECONDS)
    assert gate.items == [0]


def test_gathered_items_come_in_few_batches_but_never_later_than_half_a_queue():
    batches = []
    worker = Background("test", batches.append, capacity=20, warn=print, gather=WAIT_SECONDS)
    for item in range(9):
        worker.put(item)
    time.sleep(0.05)
    assert batches == []
    worker.put(9)
    wait_for(lambda: batches == [list(range(10))])
    worker.put(10)
    assert worker.close(WAIT_SECONDS / 2)
    assert batches[1:] == [[10]]


def test_gathered_items_are_handled_when_their_time_is_over():
    seen = []
    worker = Background("test", seen.extend, capacity=1000, warn=print, gather=0.05)
    for item in range(3):
        worker.put(item)
    wait_for(lambda: seen == [0, 1, 2])
    assert worker.close()


def test_no_thread_stays_behind():
    before = threading.active_count()
    for _ in range(5):
        assert Background("test", print, capacity=1, warn=print).close()
    wait_for(lambda: threading.active_count() <= before)


def test_no_capacity_is_refused():
    with pytest.raises(InputError, match="at least 1, got 0"):
        Background("test", print, capacity=0, warn=print)


def test_an_outage_is_told_once_and_its_end_once():
    told, now = [], [0.0]
    trouble = Trouble(told.append, quiet=60.0, clock=lambda: now[0])
    trouble.ends("never told")
    for _ in range(3):
        trouble.begins("broken")
    trouble.ends("fine")
    trouble.ends("fine again")
    assert told == ["broken", "fine"]
    # Another outage soon after is not told, and neither is its end.
    now[0] = 59.0
    trouble.begins("broken")
    trouble.ends("fine")
    assert told == ["broken", "fine"]
    now[0] = 61.0
    trouble.begins("broken")
    assert told == ["broken", "fine", "broken"]
