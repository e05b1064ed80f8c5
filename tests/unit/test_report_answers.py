"""What is kept of logits, against plain definitions."""

import numpy as np
from scipy import special, stats

from edgekit_quantize.report.answers import answers_of, joined

# float64 sums in another order.
CLOSE = 1e-9


def _logits(seed: int, images: int = 40, classes: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, (images, classes)).astype(np.float32)


def test_every_figure_is_what_scipy_says():
    logits, reference = _logits(1), _logits(2)
    targets = np.random.default_rng(3).integers(0, 7, 40)
    got = answers_of(logits, reference, targets)
    ours, theirs = (special.softmax(x.astype(np.float64), axis=1) for x in (logits, reference))
    rows = np.arange(40)
    np.testing.assert_allclose(got.truth, ours[rows, targets], atol=CLOSE)
    np.testing.assert_allclose(got.nll, -np.log(ours[rows, targets]), atol=CLOSE)
    np.testing.assert_allclose(got.kl, [stats.entropy(p, q) for p, q in zip(theirs, ours, strict=True)], atol=CLOSE)
    np.testing.assert_allclose(got.signal, (reference.astype(np.float64) ** 2).sum(1), rtol=CLOSE)
    np.testing.assert_allclose(got.noise, ((logits.astype(np.float64) - reference) ** 2).sum(1), rtol=CLOSE)
    order = [sorted(range(7), key=lambda c: (-row[c], c)) for row in logits]
    assert got.top.tolist() == [row[:5] for row in order]
    assert got.rank.tolist() == [row.index(t) for row, t in zip(order, targets, strict=True)]
    np.testing.assert_allclose(got.probabilities, np.sort(ours)[:, ::-1][:, :5], atol=1e-6)


def test_a_tie_goes_to_the_lower_index():
    logits = np.asarray([[1, 2, 2, 0], [3, 3, 3, 3]], np.float32)
    got = answers_of(logits, logits, np.asarray([2, 3]))
    assert got.top.tolist() == [[1, 2, 0, 3], [0, 1, 2, 3]]
    assert got.rank.tolist() == [1, 3]


def test_the_reference_differs_in_nothing_from_itself():
    logits = _logits(4)
    got = answers_of(logits, logits, np.zeros(40, np.int64))
    assert not got.kl.any()
    assert not got.noise.any()


def test_a_row_does_not_depend_on_its_neighbours():
    logits, reference = _logits(5), _logits(6)
    targets = np.random.default_rng(7).integers(0, 7, 40)
    whole = answers_of(logits, reference, targets)
    cuts = [slice(0, 1), slice(1, 12), slice(12, 40)]
    parts = joined([answers_of(logits[cut], reference[cut], targets[cut]) for cut in cuts])
    for name, values in vars(whole).items():
        np.testing.assert_array_equal(getattr(parts, name), values)


def test_logits_of_any_size_stay_finite():
    logits = np.asarray([[1e30, -1e30, 0.0]], np.float32)
    got = answers_of(logits, np.zeros((1, 3), np.float32), np.asarray([1]))
    assert all(np.isfinite(values).all() for values in vars(got).values())
    assert got.nll[0] == np.float64(np.float32(1e30)) * 2
