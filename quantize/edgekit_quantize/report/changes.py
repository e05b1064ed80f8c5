"""The parts of a report on costs, and on what changed since an older report."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from edgekit_quantize.report.statistics import Estimate


class Direction(StrEnum):
    """Of a change: beyond chance to the better, to the worse, or neither."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "same"


@dataclass(frozen=True)
class Change:
    """A figure of the baseline report and of this one.

    Attributes:
        what: "top-1", "agreement", "class NAME", "file size" or "latency p50".
        unit: "%", "bytes" or "ms".
        before: In the baseline.
        after: Here.
        difference: After minus before, in points, paired (Newcombe); null for sizes and times.
        direction: By the rule of `baseline`.
    """

    what: str
    unit: str
    before: float
    after: float
    difference: Estimate | None
    direction: Direction


@dataclass(frozen=True)
class Since:
    """What changed since the baseline report.

    Attributes:
        name: The baseline's model.
        file_sha256: Of its file.
        same_reference: Whether both were held against the same reference.
        changes: Top-1, agreement (with the same reference), and the classes that changed beyond chance.
    """

    name: str
    file_sha256: str
    same_reference: bool
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class CostRow:
    """What one stage or file costs on this machine; null where it does not apply.

    Attributes:
        name: As the stage's.
        size: Bytes of the file, or of the checkpoint's weights.
        macs: Multiply-accumulates per image.
        p50_ms: Median latency of one image, in ms.
        p90_ms: 90th percentile.
        p99_ms: 99th percentile.
        threads: Of the interpreter.
        peak_mib: Peak resident memory of a fresh process that runs it, in MiB.
    """

    name: str
    size: int
    macs: int | None
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    threads: int | None
    peak_mib: float | None


@dataclass(frozen=True)
class Costs:
    """All that is measured in time or memory: the one part that differs between two runs.

    Attributes:
        machine: Processor and its number of cores.
        rows: One per stage or file that was measured.
        changes: File size and latency since the baseline.
    """

    machine: str
    rows: tuple[CostRow, ...]
    changes: tuple[Change, ...]
