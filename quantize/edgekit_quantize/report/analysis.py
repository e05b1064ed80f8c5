"""From the logits of both models to the rows of the document."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit_quantize.report import statistics
from edgekit_quantize.report.document import ClassRow, Drop, Stage, finite_or_none
from edgekit_quantize.report.statistics import Logits

# Up to so many classes a confusion matrix can be read.
CONFUSION_CLASSES = 30


@dataclass(frozen=True)
class Judged:
    """One model's logits, boiled down image by image; all arrays are (N,).

    Attributes:
        answer: Index of the best class.
        rank: Place of the true class, 0 = best.
        confidence: Softmax of the best class, in [0, 1].
        truth: Softmax of the true class, in [0, 1].
        nll: Mean negative log-likelihood, in nats.
        classes: How many classes there are.
    """

    answer: NDArray[np.int64]
    rank: NDArray[np.int64]
    confidence: NDArray[np.float64]
    truth: NDArray[np.float64]
    nll: float
    classes: int

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the best class is the true one."""
        return np.asarray(self.rank == 0)


def judge_logits(logits: Logits, targets: NDArray[np.int64]) -> Judged:
    """Hold logits (N, classes) against the true classes (N,)."""
    confidence, truth = statistics.probabilities(logits, targets)
    return Judged(
        # argmax takes the lowest index of a tie, as `rank_of_truth` and the device do.
        answer=logits.argmax(axis=1).astype(np.int64),
        rank=statistics.rank_of_truth(logits, targets),
        confidence=confidence,
        truth=truth,
        nll=statistics.negative_log_likelihood(logits, targets),
        classes=logits.shape[1],
    )


def stage(name: str, runs_on: str, size: int, judged: Judged) -> Stage:
    """One model's row; `size` in bytes."""
    images = len(judged.rank)
    bins = statistics.reliability(judged.confidence, judged.right)
    top5 = statistics.wilson(int(np.sum(judged.rank < 5)), images) if judged.classes > 5 else None
    return Stage(
        name=name,
        runs_on=runs_on,
        size=size,
        top1=statistics.wilson(int(judged.right.sum()), images),
        top5=top5,
        nll=judged.nll,
        calibration_error=statistics.calibration_error(bins),
        reliability=tuple(bins),
    )


def compare(reference: Logits, model: Logits, ours: Judged, theirs: Judged) -> Drop:
    """The paired comparison of the float network (`ours`) and the model file (`theirs`)."""
    counts = statistics.paired_counts(ours.right, theirs.right)
    return Drop(
        points=statistics.paired_drop(counts),
        counts=counts,
        mcnemar_p=statistics.mcnemar(counts),
        agreement=statistics.wilson(int(np.sum(ours.answer == theirs.answer)), len(ours.answer)),
        kl=statistics.mean_kl(reference, model),
        sqnr_db=finite_or_none(statistics.logits_sqnr(reference, model)),
    )


def class_rows(
    ours: Judged, theirs: Judged, targets: NDArray[np.int64], labels: tuple[str, ...]
) -> tuple[ClassRow, ...]:
    """One row per class that has images, in the order of `labels`."""
    present = [int(index) for index in np.unique(targets)]
    counts = [statistics.paired_counts(ours.right[targets == i], theirs.right[targets == i]) for i in present]
    p_values = statistics.adjust([statistics.mcnemar(c) for c in counts])
    return tuple(
        ClassRow(
            label=labels[index],
            images=c.images,
            float_top1=100.0 * (c.both_right + c.lost) / c.images,
            model_top1=100.0 * (c.both_right + c.gained) / c.images,
            drop=statistics.paired_drop(c),
            counts=c,
            adjusted_p=p,
        )
        for index, c, p in zip(present, counts, p_values, strict=True)
    )


def confusion_change(
    ours: Judged, theirs: Judged, targets: NDArray[np.int64], labels: tuple[str, ...]
) -> tuple[tuple[tuple[int, ...], ...] | None, tuple[str, ...]]:
    """Confusion counts of model minus float with their labels; (None, ()) where the matrix is too large to read."""
    classes = len(labels)
    if classes > CONFUSION_CLASSES:
        return None, ()
    change = statistics.confusion(theirs.answer, targets, classes) - statistics.confusion(ours.answer, targets, classes)
    return tuple(tuple(int(n) for n in row) for row in change), labels
