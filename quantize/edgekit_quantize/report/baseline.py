"""This report against an older one of the same images: what got better or worse, and what of it counts.

The rule, so that noise fails nobody's build:

* top-1 and the agreement with the reference: worse when the whole 95 % interval of the paired difference, image by
  image, lies below zero;
* a class: worse when McNemar's exact p-value, adjusted over all classes (Benjamini–Hochberg), is below 0.05;
* the file: worse when it is more than 2 % larger;
* latency: worse when the median is above the baseline's 99th percentile and more than 25 % above its median; judged
  only on the same machine with as many threads.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import InputError
from edgekit_quantize.report import statistics
from edgekit_quantize.report.changes import Change, CostRow, Direction, Since
from edgekit_quantize.report.document import Document
from edgekit_quantize.report.facts import SIGNIFICANT, Outcomes
from edgekit_quantize.report.statistics import Estimate

LARGER = 0.02
SLOWER = 0.25
RULE = (
    "Top-1 and agreement count as worse when the whole 95 % interval of the paired difference lies below zero; a class "
    "when McNemar's exact test says so, adjusted over all classes (Benjamini–Hochberg, 5 %); the file when it is more "
    "than 2 % larger; latency when the median is above the baseline's 99th percentile and more than 25 % above its "
    "median, on the same machine with as many threads."
)

Flags = NDArray[np.bool_]


def pack(flags: Flags) -> str:
    """(N,) flags as base64, eight in a byte."""
    return base64.b64encode(np.packbits(flags).tobytes()).decode()


def unpack(text: str, count: int) -> Flags:
    """The reverse of `pack`.

    Raises:
        InputError: Not base64 of so many flags.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"The baseline's outcomes must be base64, got: {error}.") from error
    if len(data) != -(-count // 8):
        raise InputError(f"The baseline's outcomes must be of {count:,} images, got {len(data)} bytes.")
    return np.unpackbits(np.frombuffer(data, np.uint8), count=count).astype(np.bool_)


def read(path: Path) -> Document:
    """A report's JSON file.

    Raises:
        InputError: No such file, or no report.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"--baseline must be a readable report.json, got {path}: {error.strerror}.") from error
    return Document.from_json(text)


def check_same_data(baseline: Document, data_sha256: str, labels_sha256: str) -> None:
    """Refuse a baseline of other images or classes: a difference would say nothing about the model.

    Raises:
        InputError: It is.
    """
    check_same_labels(baseline, labels_sha256)
    if baseline.data.data_sha256 != data_sha256:
        raise InputError(
            f"The baseline must be of the same images, cropped alike, got others ({baseline.data.name}, "
            f"{baseline.data.images:,} images).",
            "Make the baseline again on these images.",
        )


def check_enough_images(baseline: Document, count: int) -> None:
    """Refuse fewer images than the baseline could read: they cannot be the same. To be asked before the long work.

    Raises:
        InputError: Too few.
    """
    if count < baseline.data.images:
        raise InputError(
            f"The baseline must be of the same images, got {baseline.data.images:,} there ({baseline.data.name}) and "
            f"at most {count:,} here.",
            "Make the baseline again on these images.",
        )


def check_same_labels(baseline: Document, labels_sha256: str) -> None:
    """Refuse a baseline of other classes, before the long work.

    Raises:
        InputError: It is.
    """
    if baseline.data.labels_sha256 != labels_sha256:
        raise InputError(
            "The baseline must be of the same classes in the same order, got others.",
            "Take a baseline of this model's classes.",
        )


def changes_since(
    baseline: Document, reference_sha256: str, outcomes: Outcomes, targets: NDArray[np.int64], labels: Sequence[str]
) -> Since:
    """The accuracy of two models on the same images, the baseline's first.

    Args:
        baseline: The older report.
        reference_sha256: Of this report's reference.
        outcomes: Of this report.
        targets: (N,) class indices.
        labels: Class names in index order.
    """
    count = len(targets)
    before, after = (unpack(o.model_right, count) for o in (baseline.outcomes, outcomes))
    changes = [_change("top-1", before, after)]
    is_same = bool(reference_sha256) and baseline.model.reference_sha256 == reference_sha256
    if is_same:
        pair = (unpack(o.model_agrees, count) for o in (baseline.outcomes, outcomes))
        changes.append(_change("agreement", *pair))
    changes += _classes(before, after, targets, labels)
    return Since(baseline.model.name, baseline.model.file_sha256, is_same, tuple(changes))


def cost_changes(baseline: Document, machine: str, now: CostRow) -> tuple[Change, ...]:
    """File size, and latency where both were measured on the same machine with as many threads."""
    old = next((row for row in baseline.costs.rows if row.name == baseline.judged.name), None)
    if old is None:
        return ()
    grown = now.size / max(1, old.size) - 1.0
    size = Direction.WORSE if grown > LARGER else Direction.BETTER if grown < -LARGER else Direction.SAME
    changes = [Change("file size", "bytes", float(old.size), float(now.size), None, size)]
    is_comparable = baseline.costs.machine == machine and old.threads == now.threads
    if is_comparable and old.p50_ms is not None and now.p50_ms is not None:
        changes.append(Change("latency p50", "ms", old.p50_ms, now.p50_ms, None, _speed(old, now)))
    return tuple(changes)


def _change(what: str, before: Flags, after: Flags) -> Change:
    difference = _gain(before, after)
    direction = (
        Direction.WORSE if difference.high < 0.0 else Direction.BETTER if difference.low > 0.0 else Direction.SAME
    )
    return Change(what, "%", 100.0 * float(before.mean()), 100.0 * float(after.mean()), difference, direction)


def _gain(before: Flags, after: Flags) -> Estimate:
    """After minus before, in points."""
    return statistics.paired_drop(statistics.paired_counts(after, before))


def _classes(before: Flags, after: Flags, targets: NDArray[np.int64], labels: Sequence[str]) -> list[Change]:
    """The classes that changed beyond chance."""
    present = [int(index) for index in np.unique(targets)]
    pairs = [(before[targets == i], after[targets == i]) for i in present]
    p_values = statistics.adjust([statistics.mcnemar(statistics.paired_counts(*pair)) for pair in pairs])
    changes = []
    for index, pair, p in zip(present, pairs, p_values, strict=True):
        if p < SIGNIFICANT:
            old, new = (100.0 * float(flags.mean()) for flags in pair)
            direction = Direction.WORSE if new < old else Direction.BETTER
            changes.append(Change(f"class {labels[index]}", "%", old, new, _gain(*pair), direction))
    return changes


def _speed(old: CostRow, now: CostRow) -> Direction:
    if _is_slower(old, now):
        return Direction.WORSE
    return Direction.BETTER if _is_slower(now, old) else Direction.SAME


def _is_slower(one: CostRow, other: CostRow) -> bool:
    """Whether `other` is slower than `one` beyond what one run's own spread explains."""
    if one.p50_ms is None or one.p99_ms is None or other.p50_ms is None:
        return False
    return other.p50_ms > max(one.p99_ms, (1.0 + SLOWER) * one.p50_ms)
