"""The report's statistics against published examples, plain re-computation and simulation."""

import math

import numpy as np
import pytest

from benchmarks import interval_coverage
from edgekit.errors import InputError
from edgekit_quantize.report import statistics
from edgekit_quantize.report.gate import Outcome, judge_agreement, judge_drop
from edgekit_quantize.report.statistics import PairedCounts


# Newcombe 1998, "Two-sided confidence intervals for the single proportion", Table I, method 3.
@pytest.mark.parametrize(
    ("hits", "images", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_limits(hits, images, low, high):
    estimate = statistics.wilson(hits, images)
    assert estimate.value == pytest.approx(100 * hits / images)
    assert (estimate.low, estimate.high) == pytest.approx((100 * low, 100 * high), abs=0.006)


# Newcombe 1998, "Improved confidence intervals ... paired data", the worked examples of method 10.
@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        (PairedCounts(36, 12, 2, 0), 0.0569, 0.3404),
        (PairedCounts(18, 12, 2, 18), 0.0562, 0.3290),
        (PairedCounts(53, 0, 0, 1), -0.0729, 0.0729),
        (PairedCounts(0, 30, 0, 0), 0.8395, 1.0),
    ],
)
def test_paired_drop_gives_the_published_limits(counts, low, high):
    estimate = statistics.paired_drop(counts)
    assert estimate.value == pytest.approx(100 * (counts.lost - counts.gained) / counts.images)
    assert (estimate.low, estimate.high) == pytest.approx((100 * low, 100 * high), abs=0.011)


def test_paired_drop_turns_around_when_the_models_are_swapped():
    one, other = (
        statistics.paired_drop(PairedCounts(700, 31, 19, 250)),
        statistics.paired_drop(PairedCounts(700, 19, 31, 250)),
    )
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))


def test_paired_drop_of_a_million_images_does_not_overflow():
    estimate = statistics.paired_drop(PairedCounts(700_000, 12_000, 11_000, 277_000))
    assert estimate.value == pytest.approx(0.1)
    assert 0.07 < estimate.low < 0.1 < estimate.high < 0.13


@pytest.mark.parametrize("seed", [0, 1])
def test_the_interval_of_the_drop_covers_the_truth_95_times_in_100(seed):
    rate = interval_coverage.coverage(interval_coverage.draw_truths(2000, seed), seed + 1)
    print(f"coverage {100 * rate:.2f} %")
    assert 0.935 <= rate <= 0.965


# The corner with few changed images, where the interval is known to be too wide rather than too narrow.
def test_the_interval_is_never_much_too_narrow():
    for images, agreement in ((500, 0.99), (500, 0.90), (10_000, 0.99)):
        truth = interval_coverage.Truth(images, top1=0.75, drop=0.005, agreement=agreement)
        assert interval_coverage.coverage([truth] * 500, seed=3) >= 0.92


def test_simulated_networks_have_the_accuracies_that_they_are_said_to_have():
    truth = interval_coverage.Truth(1000, top1=0.8, drop=0.005, agreement=0.95)
    both, lost, gained, neither = truth.cells()
    assert both + lost + gained + neither == pytest.approx(1.0)
    assert both + lost == pytest.approx(0.8)
    assert lost - gained == pytest.approx(0.005)


def test_mcnemar_is_the_binomial_tail_counted_out():
    lost, gained = 9, 1
    tail = sum(math.comb(10, k) for k in (0, 1)) / 2**10
    assert statistics.mcnemar(PairedCounts(50, lost, gained, 40)) == pytest.approx(2 * tail)
    # Approval of a prime minister (Agresti, Categorical Data Analysis, 10.1): 86 and 150 changed their minds.
    tail = sum(math.comb(236, k) for k in range(87)) / 2**236
    assert statistics.mcnemar(PairedCounts(794, 150, 86, 570)) == pytest.approx(2 * tail, rel=1e-9)
    assert statistics.mcnemar(PairedCounts(5, 0, 0, 5)) == 1.0


def test_adjusted_p_values_follow_benjamini_and_hochberg():
    assert statistics.adjust([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.04, 0.04])
    assert statistics.adjust([]) == []


def test_no_image_is_refused():
    with pytest.raises(InputError, match="at least one image"):
        statistics.wilson(0, 0)
    with pytest.raises(InputError, match="at least one image"):
        statistics.paired_drop(PairedCounts(0, 0, 0, 0))


def _logits(images: int, classes: int, seed: int, steps: float = 0.5) -> np.ndarray:
    # Coarse steps make ties, as int8 codes do.
    raw = np.random.default_rng(seed).normal(0, 2, (images, classes))
    return (np.round(raw / steps) * steps).astype(np.float32)


def test_counts_of_the_four_outcomes():
    first = np.asarray([True, True, False, False, True])
    second = np.asarray([True, False, True, False, False])
    assert statistics.paired_counts(first, second) == PairedCounts(1, 2, 1, 1)


def test_reliability_bins_and_their_error_by_hand():
    confidence = np.asarray([0.05, 0.1, 0.55, 0.6, 1.0])
    right = np.asarray([False, True, True, False, True])
    bins = statistics.reliability(confidence, right, bins=10)
    assert [(b.low, b.high, b.images) for b in bins] == [(0, 10, 2), (50, 60, 2), (90, 100, 1)]
    assert [b.confidence for b in bins] == pytest.approx([7.5, 57.5, 100])
    assert [b.accuracy for b in bins] == pytest.approx([50, 50, 100])
    assert statistics.calibration_error(bins) == pytest.approx((2 * 42.5 + 2 * 7.5) / 5)


def test_confusion_counts_true_class_down_and_answer_across():
    predicted, targets = np.asarray([0, 1, 1, 2, 0]), np.asarray([0, 0, 1, 2, 2])
    assert statistics.confusion(predicted, targets, 3).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]


@pytest.mark.parametrize(
    ("counts", "outcome"),
    [
        (PairedCounts(8900, 20, 18, 1062), Outcome.PASSED),
        (PairedCounts(8800, 180, 40, 980), Outcome.FAILED),
        (PairedCounts(880, 14, 6, 100), Outcome.UNDECIDED),
        (PairedCounts(880, 6, 5, 109), Outcome.UNDECIDED),
    ],
)
def test_the_gate_holds_the_upper_bound_against_the_limit(counts, outcome):
    drop = statistics.paired_drop(counts)
    assert outcome is (Outcome.PASSED if drop.high <= 0.5 else Outcome.FAILED if drop.low > 0.5 else Outcome.UNDECIDED)
    gate = judge_drop(counts, 0.5)
    assert gate.outcome is outcome
    assert (gate.images_needed is not None) == (outcome is Outcome.UNDECIDED)


# With hardly a flip the interval narrows nearly as the number of images, with many as its square root.
@pytest.mark.parametrize(
    ("counts", "limit"),
    [
        (PairedCounts(860, 22, 20, 98), 1.0),
        (PairedCounts(860, 30, 10, 98), 1.0),
        (PairedCounts(4, 0, 0, 2), 0.5),
        (PairedCounts(1, 0, 0, 0), 0.5),
        (PairedCounts(70, 0, 0, 30), 0.5),
        (PairedCounts(450, 1, 0, 149), 0.5),
    ],
)
def test_so_many_images_as_the_gate_asks_for_decide_and_half_of_them_do_not(counts, limit):
    gate = judge_drop(counts, limit)
    assert gate.outcome is Outcome.UNDECIDED

    def at(images):
        return judge_drop(statistics.scaled(counts, images / counts.images), limit).outcome

    assert at(1.05 * gate.images_needed) is not Outcome.UNDECIDED
    assert at(gate.images_needed / 2.0) is Outcome.UNDECIDED


@pytest.mark.parametrize(("same", "outcome"), [(990, Outcome.PASSED), (975, Outcome.UNDECIDED), (940, Outcome.FAILED)])
def test_the_gate_holds_the_lower_bound_of_the_agreement_against_the_limit(same, outcome):
    gate = judge_agreement(same, 1000, 97.0)
    assert gate.outcome is outcome
    if outcome is Outcome.UNDECIDED:
        times = 1.05 * gate.images_needed / 1000
        assert statistics.wilson(round(same * times), round(1000 * times)).low >= 97.0
    else:
        assert gate.images_needed is None


def test_a_drop_exactly_on_the_limit_asks_for_no_number():
    gate = judge_drop(PairedCounts(880, 10, 5, 105), 0.5)
    assert (gate.outcome, gate.images_needed) == (Outcome.UNDECIDED, None)
