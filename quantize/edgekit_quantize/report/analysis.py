"""From the answers of all networks to the rows of the document."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import InputError
from edgekit_quantize.report import statistics
from edgekit_quantize.report.answers import Answers, Comparison, LayerNoise, Run
from edgekit_quantize.report.document import finite_or_none
from edgekit_quantize.report.facts import Confusion, Group, LayerRow, Pair, Stage

# Up to so many classes a confusion matrix can be read.
CONFUSION_CLASSES = 30
MOST_CONFUSIONS = 100
# A column with more values is a name, not a group.
MOST_TAG_VALUES = 50

Flags = NDArray[np.bool_]
_CHAIN = ("reference", "onnx", "float-tflite", "model")


def right(answers: Answers) -> Flags:
    """(N,) whether the best class is the true one."""
    return np.asarray(answers.rank == 0)


def agrees(one: Answers, other: Answers) -> Flags:
    """(N,) whether both give the same best class."""
    return np.asarray(one.top[:, 0] == other.top[:, 0])


def compare_pair(first: Answers, second: Answers) -> Pair:
    """The second network against the first, paired."""
    counts = statistics.paired_counts(right(first), right(second))
    same = agrees(first, second)
    return Pair(
        points=statistics.paired_drop(counts),
        counts=counts,
        mcnemar_p=statistics.mcnemar(counts),
        agreement=statistics.wilson(int(same.sum()), len(same)),
    )


def stages(comparison: Comparison, classes: int) -> tuple[Stage, ...]:
    """One row per run: by itself, against the reference, against the stage before.

    Args:
        comparison: All answers.
        classes: How many there are.
    """
    reference = comparison.runs[0]
    before: Run | None = None
    rows = []
    for run in comparison.runs:
        origin = before if run.role in _CHAIN else run_of(comparison, "model") if run.role == "builtin" else None
        rows.append(_stage(run, reference, origin, classes))
        before = run if run.role in _CHAIN else before
    return tuple(rows)


def with_unique_names(comparison: Comparison) -> Comparison:
    """The same, where a file of --also is not called like another stage: then its file name is taken."""
    names = [run.name for run in comparison.runs]
    runs = [
        replace(run, name=run.file or f"{run.name} (also)") if run.role == "also" and names.count(run.name) > 1 else run
        for run in comparison.runs
    ]
    return replace(comparison, runs=tuple(runs))


def run_of(comparison: Comparison, role: str) -> Run:
    """The first run of a role."""
    return next(run for run in comparison.runs if run.role == role)


def _stage(run: Run, reference: Run, origin: Run | None, classes: int) -> Stage:
    answers, is_reference = run.answers, run is reference
    is_right = right(answers)
    images = len(is_right)
    bins = statistics.reliability(answers.probabilities[:, 0].astype(np.float64), is_right)
    return Stage(
        role=run.role,
        name=run.name,
        format=run.format,
        runs_on=run.runs_on,
        file=run.file,
        sha256=run.sha256,
        top1=statistics.wilson(int(is_right.sum()), images),
        top5=statistics.wilson(int(np.sum(answers.rank < 5)), images) if classes > 5 else None,
        nll=float(answers.nll.mean()),
        calibration_error=statistics.calibration_error(bins),
        reliability=tuple(bins),
        drop=None if is_reference else compare_pair(reference.answers, answers),
        # Rounding can leave a tiny negative mean where the true value is zero.
        kl=None if is_reference else max(0.0, float(answers.kl.mean())),
        sqnr_db=None if is_reference else _sqnr_db(answers),
        step_from=origin.name if origin else "",
        step=compare_pair(origin.answers, answers) if origin else None,
    )


def class_groups(
    ours: Answers, theirs: Answers, targets: NDArray[np.int64], labels: Sequence[str]
) -> tuple[Group, ...]:
    """One row per class that has images, in the order of `labels`."""
    members = [("", labels[int(index)], targets == index) for index in np.unique(targets)]
    return _groups(ours, theirs, members)


def tag_groups(ours: Answers, theirs: Answers, tags: Sequence[dict[str, str]]) -> tuple[Group, ...]:
    """One row per value of each column of tags, sorted; an empty value counts as none."""
    members = []
    for column in tags[0]:
        values = np.asarray([row[column] for row in tags])
        members += [(column, str(value), np.asarray(values == value)) for value in np.unique(values) if value]
    return _groups(ours, theirs, members)


def check_tags(tags: Sequence[dict[str, str]]) -> None:
    """Refuse a column that tells images apart rather than groups.

    Raises:
        InputError: More than 50 different values.
    """
    for column in tags[0] if tags else ():
        values = {row[column] for row in tags}
        if len(values) > MOST_TAG_VALUES:
            raise InputError(
                f"A column of --tags must have at most {MOST_TAG_VALUES} values, got {len(values):,} in {column}.",
                "Leave the column out, or group its values.",
            )


def _groups(ours: Answers, theirs: Answers, members: Sequence[tuple[str, str, Flags]]) -> tuple[Group, ...]:
    before, after = right(ours), right(theirs)
    counts = [statistics.paired_counts(before[inside], after[inside]) for _, _, inside in members]
    p_values = statistics.adjust([statistics.mcnemar(c) for c in counts])
    return tuple(
        Group(
            label=label,
            column=column,
            images=c.images,
            float_top1=100.0 * (c.both_right + c.lost) / c.images,
            model_top1=100.0 * (c.both_right + c.gained) / c.images,
            drop=statistics.paired_drop(c),
            counts=c,
            adjusted_p=p,
        )
        for (column, label, _), c, p in zip(members, counts, p_values, strict=True)
    )


def confusions(
    ours: Answers, theirs: Answers, targets: NDArray[np.int64], labels: Sequence[str]
) -> tuple[Confusion, ...]:
    """Wrong answers whose number changed, the largest change first, at most 100."""
    classes = len(labels)
    cells = [targets * classes + answers.top[:, 0] for answers in (ours, theirs)]
    # Sparse: a thousand classes have a million cells, nearly all of them empty.
    places = np.unique(np.concatenate(cells))
    before, after = (np.bincount(np.searchsorted(places, c), minlength=len(places)) for c in cells)
    change = after - before
    order = np.argsort(-np.abs(change), kind="stable")
    wrong = [int(i) for i in order if change[i] and places[i] // classes != places[i] % classes]
    return tuple(
        Confusion(
            labels[int(places[i] // classes)],
            labels[int(places[i] % classes)],
            before=int(before[i]),
            after=int(after[i]),
        )
        for i in wrong[:MOST_CONFUSIONS]
    )


def confusion_change(
    ours: Answers, theirs: Answers, targets: NDArray[np.int64], labels: tuple[str, ...]
) -> tuple[tuple[tuple[int, ...], ...] | None, tuple[str, ...]]:
    """Confusion counts of model minus float with their labels; (None, ()) where the matrix is too large to read."""
    classes = len(labels)
    if classes > CONFUSION_CLASSES:
        return None, ()
    change = statistics.confusion(theirs.top[:, 0], targets, classes) - statistics.confusion(
        ours.top[:, 0], targets, classes
    )
    return tuple(tuple(int(n) for n in row) for row in change), labels


def layer_rows(layers: Sequence[LayerNoise] | None) -> tuple[LayerRow, ...] | None:
    """For the document, which knows no infinity."""
    if layers is None:
        return None
    return tuple(LayerRow(layer.name, layer.operator, finite_or_none(layer.sqnr_db), layer.macs) for layer in layers)


def _sqnr_db(answers: Answers) -> float | None:
    signal, noise = float(answers.signal.sum()), float(answers.noise.sum())
    return 10.0 * math.log10(signal / noise) if signal > 0.0 and noise > 0.0 else None
