"""How many threads the network is fastest with, found out by trying: on a Pi more is not always better."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edgekit.bundle import Bundle
from edgekit.runtime import Kernels, Network, available_cores

# Fewer threads win unless more are faster by this share: the capture thread and the web page want a core too.
INDIFFERENCE = 0.05
# From here on only the powers of two and all cores are tried.
MOST_TRIED_SINGLY = 4
LEAST_RUNS = 3
# A resting processor's clock needs a moment to rise; without this the first count would look slow.
WAKE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class ThreadChoice:
    """What was measured and chosen.

    Attributes:
        threads: The best number.
        medians: Milliseconds of one invoke by number of threads; empty where there was nothing to choose.
    """

    threads: int
    medians: dict[int, float]

    def __str__(self) -> str:
        """Such as "2 threads (1: 6.21 ms, 2: 3.92 ms)"."""
        figures = ", ".join(f"{count}: {median:.2f} ms" for count, median in self.medians.items())
        return f"{self.threads} thread{'s' if self.threads > 1 else ''}" + (f" ({figures})" if figures else "")


def pick_threads(
    bundle: Bundle, seconds: float = 1.0, cores: int | None = None, kernels: Kernels = Kernels.XNNPACK
) -> ThreadChoice:
    """Try `thread_counts(cores)` on the network alone, for about `seconds` in all, one after the other.

    Args:
        bundle: The model file.
        seconds: Loading included; slow models take longer, because each count is run LEAST_RUNS times.
        cores: The most threads to try; default: the cores that this process may use.
        kernels: As for `Network`.

    Raises:
        InputError: As `Network`.
        MissingError: Likewise.
    """
    counts = thread_counts(cores or available_cores())
    if len(counts) == 1:
        return ThreadChoice(counts[0], {})
    share = seconds / len(counts)
    medians: dict[int, float] = {}
    for count in counts:
        medians[count] = _median_ms(bundle, count, kernels, share, 0.0 if medians else WAKE_SECONDS)
    return ThreadChoice(best_threads(medians), medians)


def thread_counts(cores: int) -> list[int]:
    """Numbers of threads worth trying: 1 to 4, then the powers of two, and `cores` itself."""
    doubled = []
    count = 2 * MOST_TRIED_SINGLY
    while count < cores:
        doubled.append(count)
        count *= 2
    return sorted({*range(1, min(cores, MOST_TRIED_SINGLY) + 1), *doubled, cores})


def best_threads(medians: Mapping[int, float]) -> int:
    """The smallest number whose median is within INDIFFERENCE of the best."""
    most = (1.0 + INDIFFERENCE) * min(medians.values())
    return min(count for count, median in medians.items() if median <= most)


def _median_ms(bundle: Bundle, count: int, kernels: Kernels, seconds: float, wake: float) -> float:
    """In a function of its own, so that never two networks are in memory."""
    end = time.perf_counter() + seconds
    network = Network(bundle.data, count, kernels)
    _fill(network)
    _run_for(network.invoke, wake)
    return float(1e3 * np.median(_durations(network.invoke, end)))


def _fill(network: Network) -> None:
    """Noise as the input: kernels take the same time for any values, but zeros would be a suspicious thing to time."""
    shape, kind = network.input_shape[1:], network.input_dtype
    network.input_view()[:] = np.random.default_rng(0).integers(-128, 128, shape).astype(kind)


def _run_for(work: Callable[[], None], seconds: float) -> None:
    """At least once: the first run is slower than the others."""
    end = time.perf_counter() + seconds
    work()
    while time.perf_counter() < end:
        work()


def _durations(work: Callable[[], None], end: float) -> list[float]:
    found: list[float] = []
    before = time.perf_counter()
    while before < end or len(found) < LEAST_RUNS:
        work()
        after = time.perf_counter()
        found.append(after - before)
        before = after
    return found
