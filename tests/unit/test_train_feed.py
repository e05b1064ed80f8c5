"""What is made ahead of a GPU: in order, in time, and with its mistakes."""

import threading
from functools import partial

import pytest

from edgekit.train.feed import ahead


def test_what_is_made_ahead_comes_in_its_order_and_ahead():
    begun, release = [], threading.Event()

    def task(number):
        begun.append(number)
        release.wait(10.0)
        return number

    results = ahead((partial(task, number) for number in range(20)), 2)
    threading.Timer(0.2, release.set).start()
    assert next(results) == 0
    # The caller has one; some more are under way or done.
    assert len(begun) >= 2
    assert list(results) == list(range(1, 20))
    assert sorted(begun) == list(range(20))


def test_a_mistake_ahead_is_told_where_it_belongs():
    tasks = [lambda: 1, lambda: 2, lambda: {}["lost"], lambda: 4]
    results = ahead(tasks, 1)
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(KeyError, match="lost"):
        next(results)
