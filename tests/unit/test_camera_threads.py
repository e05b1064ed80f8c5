"""The number of threads: the rule on made-up figures, and a real choice on a real model."""

import time

import numpy as np
import pytest
from support import tiny_model

from edgekit_deploy import threads
from edgekit_deploy.threads import ThreadChoice, best_threads, pick_threads, thread_counts


@pytest.mark.parametrize(
    ("cores", "expected"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (4, [1, 2, 3, 4]), (6, [1, 2, 3, 4, 6]), (16, [1, 2, 3, 4, 8, 16])],
)
def test_counts(cores, expected):
    assert thread_counts(cores) == expected


@pytest.mark.parametrize(
    ("medians", "expected"),
    [
        ({1: 10.0, 2: 6.0, 3: 4.5, 4: 4.0}, 4),
        ({1: 10.0, 2: 6.0, 3: 4.1, 4: 4.0}, 3),
        ({1: 4.2, 2: 4.0, 4: 9.0}, 1),
        ({1: 4.3, 2: 4.1, 4: 4.0}, 2),
        ({1: 4.0, 2: 4.0}, 1),
    ],
)
def test_fewer_threads_win_within_five_percent(medians, expected):
    assert best_threads(medians) == expected


class FakeNetwork:
    """Takes as long for an invoke as its number of threads says."""

    seconds: dict[int, float]
    loaded: list[int]

    def __init__(self, data, count, kernels):
        self.input_shape, self.input_dtype = (1, 2, 2, 3), "int8"
        self._pixels = np.zeros((2, 2, 3), np.int8)
        self._seconds = self.seconds[count]
        self.loaded.append(count)

    def input_view(self):
        return self._pixels

    def invoke(self):
        time.sleep(self._seconds)


@pytest.mark.parametrize(("fastest", "others"), [(1, (2, 3)), (2, (1, 3)), (3, (1, 2))])
def test_the_fastest_is_chosen(monkeypatch, fastest, others):
    # Five times apart: far beyond what a loaded machine adds to the median of a sleep.
    FakeNetwork.seconds = {fastest: 0.004, **dict.fromkeys(others, 0.020)}
    FakeNetwork.loaded = []
    monkeypatch.setattr(threads, "Network", FakeNetwork)
    choice = pick_threads(tiny_model.parsed(), seconds=0.6, cores=3)
    assert choice.threads == fastest
    assert FakeNetwork.loaded == [1, 2, 3] == list(choice.medians)
    assert all(choice.medians[count] >= 1e3 * FakeNetwork.seconds[count] for count in (1, 2, 3))


def test_a_slow_model_is_run_three_times_each(monkeypatch):
    FakeNetwork.seconds, FakeNetwork.loaded = {1: 0.05, 2: 0.02}, []
    monkeypatch.setattr(threads, "Network", FakeNetwork)
    assert pick_threads(tiny_model.parsed(), seconds=0.001, cores=2).threads == 2


def test_a_real_model_takes_about_the_time_it_is_given():
    start = time.perf_counter()
    choice = pick_threads(tiny_model.parsed(), seconds=0.4, cores=2)
    assert 0.4 <= time.perf_counter() - start < 5.0
    assert set(choice.medians) == {1, 2} and choice.threads in (1, 2)
    assert all(0.0 < median < 1000.0 for median in choice.medians.values())
    assert str(choice).startswith(f"{choice.threads} thread") and "1: " in str(choice)


def test_with_one_core_there_is_nothing_to_try(monkeypatch):
    monkeypatch.setattr(threads, "Network", None)
    choice = pick_threads(tiny_model.parsed(), cores=1)
    assert choice == ThreadChoice(1, {}) and str(choice) == "1 thread"
