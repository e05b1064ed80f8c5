"""What a labelled clip really shows, frame by frame."""

from __future__ import annotations

import bisect
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import InputError

HEADER = ["frame", "label"]


@dataclass(frozen=True)
class Truth:
    """From frame `starts[i]` on the class is `classes[i]`, until the next start.

    Attributes:
        starts: Frame indices, strictly rising.
        classes: Class indices, as many.
    """

    starts: tuple[int, ...]
    classes: tuple[int, ...]

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.starts, self.starts[1:], strict=False))
        if not rising or len(self.starts) != len(self.classes):
            raise InputError(f"The truth's frames must rise, with one class each, got {self.starts[:20]}.")

    def at(self, frame: int) -> int | None:
        """Class index of a frame; None before the first start."""
        position = bisect.bisect_right(self.starts, frame)
        return self.classes[position - 1] if position else None

    @classmethod
    def read(cls, path: str | Path, labels: Sequence[str]) -> Truth:
        """Read a CSV with the header `frame,label`; labels by name.

        Raises:
            InputError: Not such a file, or a label that the model does not have.
        """
        try:
            with Path(path).open(newline="", encoding="utf-8-sig") as file:
                rows = [row for row in csv.reader(file) if row]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{path} must be a readable CSV file, got: {error}.") from error
        if not rows or [cell.strip() for cell in rows[0]] != HEADER or len(rows) < 2:
            raise InputError(
                f"{path} must be a CSV with the header frame,label and at least one row, got {rows[:1] or 'nothing'}.",
                "Each row says from which frame (counted from 0) on which label is right.",
            )
        index_of = {label: index for index, label in enumerate(labels)}
        pairs = [_pair(row, index_of, f"{path} line {line}") for line, row in enumerate(rows[1:], 2)]
        return cls(tuple(start for start, _ in pairs), tuple(index for _, index in pairs))


def _pair(row: list[str], index_of: dict[str, int], where: str) -> tuple[int, int]:
    if len(row) != 2 or not row[0].strip().isdecimal():
        raise InputError(f"{where} must be a frame number and a label, got {','.join(row)!r}.")
    label = row[1].strip()
    if label not in index_of:
        known = ", ".join(list(index_of)[:12]) + (", ..." if len(index_of) > 12 else "")
        raise InputError(f"{where} must name one of the model's labels ({known}), got {label!r}.")
    return int(row[0]), index_of[label]
