"""What a loop looks at once a second: the board, the system's clock, and unreadable pictures."""

import pytest

from edgekit_deploy.health import Health, Throttling
from edgekit_deploy.watch import PERIOD_SECONDS, Watch


class Machine:
    """Clocks and a board that do what the test says."""

    def __init__(self):
        self.now, self.wall, self.slow, self.looks, self.unreadable = 100.0, 1.7e9, (), 0, 0

    def read(self):
        self.looks += 1
        return Health(temperature=50.0, throttling=Throttling(self.slow))

    def watch(self):
        return Watch(lambda: self.unreadable, self.read, lambda: self.wall, lambda: self.now)

    def passes(self, seconds, jump=0.0):
        self.now += seconds
        self.wall += seconds + jump


def test_it_looks_once_a_second():
    machine = Machine()
    watch = machine.watch()
    for _ in range(101):
        assert watch.look() == []
        machine.passes(PERIOD_SECONDS / 10)
    assert machine.looks in (10, 11)
    assert watch.health.temperature == 50.0


def test_each_kind_of_slowness_is_told_once():
    machine = Machine()
    watch, told = machine.watch(), []
    for slow in ((), ("throttled",), (), ("throttled",), ("throttled", "under-voltage")):
        machine.slow = slow
        told += watch.look()
        machine.passes(2 * PERIOD_SECONDS)
    assert [line.split(":")[1].split(".")[0] for line in told] == [" throttled", " under-voltage"]
    assert watch.throttled == {"throttled", "under-voltage"}


@pytest.mark.parametrize(("jump", "is_told"), [(-3600.0, True), (-2.0, True), (-0.2, False), (3600.0, False)])
def test_a_clock_that_is_set_back_is_told(jump, is_told):
    machine = Machine()
    watch = machine.watch()
    assert watch.look() == []
    machine.passes(2 * PERIOD_SECONDS, jump)
    told = watch.look()
    assert len(told) == is_told
    assert not told or f"set back by {-jump:.0f} s" in told[0]
    # Once.
    machine.passes(2 * PERIOD_SECONDS)
    assert watch.look() == []


def test_unreadable_pictures_are_told_soon_and_then_once_a_minute():
    machine = Machine()
    watch, told = machine.watch(), []
    for second in range(150):
        # The last one comes before the last line.
        machine.unreadable += 10 <= second < 100
        told += [(second, line.split()[0]) for line in watch.look()]
        machine.passes(PERIOD_SECONDS)
    assert told == [(10, "1"), (70, "61"), (130, "90")]
