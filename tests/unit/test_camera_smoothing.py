"""Verdicts against a plain reference: a weighted sum written out, and the rules read off their description."""

import itertools
import math
import timeit
import tracemalloc

import numpy as np
import pytest

from edgekit.errors import InputError
from edgekit_deploy.smoothing import Decider, Rules, Verdict, read_thresholds

LABELS = ("cat", "dog", "owl")
# float32 sums of a few hundred terms below 1.
AVERAGE_TOLERANCE = 2e-6
MOST_MICROSECONDS = 15.0


def vector(*values):
    return np.array(values, np.float32)


def weighted_sum(frames, times, seconds):
    """The average at the last frame, in float64, from the weights of all frames at once."""
    weights = [math.exp(-(times[-1] - times[0]) / seconds)]
    for before, time in itertools.pairwise(times):
        weights.append((1 - math.exp(-(time - before) / seconds)) * math.exp(-(times[-1] - time) / seconds))
    assert math.isclose(sum(weights), 1.0)
    return sum(weight * frame.astype(float) for weight, frame in zip(weights, frames, strict=True))


@pytest.mark.parametrize("seed", range(10))
def test_the_average_is_the_weighted_sum(seed):
    rng = np.random.default_rng(seed)
    seconds, classes = rng.uniform(0.05, 3.0), int(rng.integers(1, 40))
    decider = Decider([str(i) for i in range(classes)], Rules(smoothing=seconds))
    times = np.cumsum(rng.exponential(0.05, 200)) + 1e5
    frames = rng.dirichlet(np.ones(classes), 200).astype(np.float32)
    for count in range(1, 201):
        verdict = decider.update(frames[count - 1], times[count - 1])
        expected = weighted_sum(frames[:count], times[:count], seconds)
        assert verdict.probability == pytest.approx(expected.max(), abs=AVERAGE_TOLERANCE)


@pytest.mark.parametrize("fps", [5, 15, 30, 120])
def test_the_frame_rate_does_not_matter(fps):
    decider = Decider(LABELS, Rules(smoothing=0.5))
    decider.update(vector(1, 0, 0), 0.0)
    shown = [decider.update(vector(0, 1, 0), frame / fps) for frame in range(1, 4 * fps + 1)]
    # After half a second 63 % of the average are the new picture's, at any rate.
    crossed = next(i for i, verdict in enumerate(shown, 1) if verdict.label == "dog") / fps
    assert 0.5 * math.log(2) <= crossed <= 0.5 * math.log(2) + 1 / fps
    assert shown[-1].probability == pytest.approx(1 - math.exp(-4 / 0.5), abs=AVERAGE_TOLERANCE)


class Reference:
    """The rules, read off the description, on exact numbers and without a state but the history."""

    def __init__(self, rules, thresholds):
        self.rules, self.thresholds = rules, thresholds
        self.answer, self.history = None, []

    def called_for(self, probabilities):
        ranked = sorted(range(len(probabilities)), key=lambda i: (-probabilities[i], i))
        first = ranked[0]
        stays = self.answer is not None and (
            first == self.answer or probabilities[first] < probabilities[self.answer] + self.rules.margin
        )
        if stays:
            enough = probabilities[self.answer] >= self.thresholds[self.answer] - self.rules.margin
            return self.answer if enough else None
        return first if probabilities[first] >= self.thresholds[first] else None

    def update(self, probabilities, time):
        self.history.append((time, self.called_for(probabilities)))
        wish = self.history[-1][1]
        since = time
        for before, called_for in reversed(self.history):
            if called_for != wish:
                break
            since = before
        if wish != self.answer and time - since >= self.rules.hold:
            self.answer = wish
            self.history.clear()
        return self.answer


@pytest.mark.parametrize("seed", range(200))
def test_the_rules_as_described(seed):
    rng = np.random.default_rng(seed)
    # All numbers are multiples of 1/64: exact in float32, with many ties and exact hits.
    margin, threshold = rng.choice([0, 4, 8, 16]) / 64, rng.choice([0, 16, 24, 32, 40]) / 64
    rules = Rules(margin=margin, threshold=threshold, hold=rng.choice([0, 8, 32, 100]) / 64)
    own = {label: rng.integers(0, 65) / 64 for label in LABELS if rng.random() < 0.3}
    reference = Reference(rules, [own.get(label, threshold) for label in LABELS])
    decider = Decider(LABELS, rules, own)
    time, answers = 1000.0, []
    for _ in range(150):
        time += rng.integers(0, 33) / 64
        cuts = sorted(rng.integers(0, 65, 2))
        probabilities = vector(cuts[0], cuts[1] - cuts[0], 64 - cuts[1]) / 64
        verdict = decider.update(probabilities, time)
        answers.append(reference.update(probabilities.tolist(), time))
        assert verdict.index == answers[-1]
        shown = verdict.index if verdict.index is not None else int(probabilities.argmax())
        assert verdict == Verdict(answers[-1], None if verdict.index is None else LABELS[shown], probabilities[shown])


def test_with_everything_off_the_verdict_is_the_best_guess():
    rng = np.random.default_rng(3)
    decider = Decider(LABELS, Rules())
    for time in range(300):
        probabilities = rng.integers(0, 4, 3).astype(np.float32) / 8
        verdict = decider.update(probabilities, float(time))
        assert (verdict.index, verdict.probability) == (probabilities.argmax(), probabilities.max())


def test_a_flickering_picture_gives_one_answer():
    frames = [vector(0.5, 0.4, 0.1), vector(0.44, 0.46, 0.1)] * 50
    decider = Decider(LABELS, Rules(margin=0.1))
    assert {decider.update(frame, i / 30).label for i, frame in enumerate(frames)} == {"cat"}
    decider = Decider(LABELS, Rules(hold=0.2))
    assert {decider.update(frame, i / 30).label for i, frame in enumerate(frames)} == {None}
    decider = Decider(LABELS, Rules(smoothing=0.5))
    assert {decider.update(frame, i / 30).label for i, frame in enumerate(frames)} == {"cat"}


def test_nothing_sure_is_an_answer_and_a_second_guess_is_none():
    decider = Decider(LABELS, Rules(threshold=0.6), {"cat": 0.9})
    assert decider.update(vector(0.7, 0.3, 0), 0.0) == Verdict(None, None, pytest.approx(0.7))
    assert decider.update(vector(0.3, 0.7, 0), 1.0).label == "dog"
    assert decider.update(vector(0.3, 0.3, 0.4), 2.0) == Verdict(None, None, pytest.approx(0.4))
    # A probability that is a threshold's float32 reaches it.
    decider.set_threshold(0.7)
    assert decider.update(vector(0.3, 0.7, 0), 3.0).label == "dog"
    decider.set_threshold(0.2)
    assert decider.update(vector(0.7, 0.3, 0), 4.0).label is None
    assert decider.update(vector(0.3, 0.3, 0.4), 5.0).label == "owl"


def test_a_clock_that_starts_again_starts_a_new_average_and_does_not_stop_changes():
    decider = Decider(LABELS, Rules(smoothing=10.0, hold=0.1))
    for time in (500.0, 500.2):
        decider.update(vector(1, 0, 0), time)
    assert decider.update(vector(0, 1, 0), 500.3).label == "cat"
    assert decider.update(vector(0, 1, 0), 0.0).label == "cat"
    assert decider.update(vector(0, 1, 0), 0.2) == Verdict(1, "dog", 1.0)


def test_the_buffer_is_neither_kept_nor_written():
    decider = Decider(LABELS, Rules(smoothing=1.0))
    buffer = vector(1, 0, 0)
    decider.update(buffer, 0.0)
    buffer[:] = vector(0, 1, 0)
    buffer.flags.writeable = False
    assert decider.update(buffer, 1.0).probability == pytest.approx(1 - math.exp(-1), abs=AVERAGE_TOLERANCE)


@pytest.fixture
def thousand():
    rng = np.random.default_rng(5)
    rules = Rules(smoothing=0.3, margin=0.1, hold=0.2, threshold=0.001)
    decider = Decider([f"class {i}" for i in range(1000)], rules)
    frames = [rng.dirichlet(np.full(1000, 0.05)).astype(np.float32) for _ in range(8)]
    times = iter(range(10**9))
    return lambda: decider.update(frames[next(times) % 8], next(times) / 30)


def test_a_frame_allocates_no_array(thousand):
    for _ in range(20):
        thousand()
    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(50):
            thousand()
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < 1000 * np.dtype(np.float32).itemsize


def test_a_frame_costs_little(thousand):
    # The best of many short runs: what the machine does beside this test does not count.
    seconds = min(timeit.repeat(thousand, number=50, repeat=200)) / 50
    assert 1e6 * seconds <= MOST_MICROSECONDS


def test_thresholds_from_a_file(tmp_path):
    path = tmp_path / "thresholds.toml"
    path.write_text('[thresholds]\n"cat" = 0.8\nowl = 1\n')
    assert read_thresholds(path, LABELS) == {"cat": 0.8, "owl": 1.0}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[thresholds]\n"cow" = 0.8\n', r"cat, dog, owl\), got 'cow'"),
        ('[thresholds]\n"cat" = 1.5\n', "threshold of 'cat' must be 0 to 1, got 1.5"),
        ('[thresholds]\n"cat" = "high"\n', "got 'high'"),
        ('[thresholds]\n"cat" = true\n', "got True"),
        ('[thresholds]\n"cat" = nan\n', "got nan"),
        ('"cat" = 0.8\n', r"one table, \[thresholds\], got cat"),
        ("", "got nothing"),
        ("thresholds = 0.5\n", "one table"),
        ("[thresholds\n", "readable TOML"),
        ("[thresholds]\n[other]\n", "got thresholds, other"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path, text, told):
    path = tmp_path / "thresholds.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=told) as caught:
        read_thresholds(path, LABELS)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_bad_bytes(tmp_path):
    with pytest.raises(InputError, match="readable TOML"):
        read_thresholds(tmp_path / "none.toml", LABELS)
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="readable TOML"):
        read_thresholds(tmp_path / "bad.toml", LABELS)


@pytest.mark.parametrize("values", [{"smoothing": -1.0}, {"margin": 1.1}, {"hold": math.inf}, {"threshold": math.nan}])
def test_bad_rules_are_refused(values):
    with pytest.raises(InputError, match="must be 0 to"):
        Rules(**values)


def test_bad_thresholds_and_vectors_are_refused():
    with pytest.raises(InputError, match="got 'cow'"):
        Decider(LABELS, Rules(), {"cow": 0.5})
    decider = Decider(LABELS, Rules())
    with pytest.raises(InputError, match="threshold must be"):
        decider.set_threshold(2.0)
    with pytest.raises(InputError, match=r"shape \(3,\), got \(2,\)"):
        decider.update(vector(1, 0), 0.0)
