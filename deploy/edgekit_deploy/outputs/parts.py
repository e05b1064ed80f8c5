"""Recordings in several files: their names, how many stay, and what killed processes have left of them."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edgekit.errors import InputError

STAMP = r"-\d{8}T\d{6}Z(-\d+)?"
# An unfinished file that nobody has written to for so long is nobody's.
ABANDONED_SECONDS = 3600.0


@dataclass(frozen=True)
class Parts:
    """A recording in several files.

    Attributes:
        minutes: Length of each, above 0.
        keep: How many stay, at least 1: older ones are removed, those of earlier runs first; also sooner, where the
            disk is nearly full. None: all stay.

    Raises:
        InputError: Other numbers.
    """

    minutes: float
    keep: int | None = None

    def __post_init__(self) -> None:
        """Check them."""
        if not 0.0 < self.minutes < float("inf"):
            raise InputError(f"--record-minutes must be above 0, got {self.minutes}.")
        if self.keep is not None and self.keep < 1:
            raise InputError(f"--record-keep must be at least 1, got {self.keep}.")


def place(recording: Path, taken: Path | None) -> Path:
    """Where a part that begins now goes: out-20261201T083000Z.mp4 for out.mp4, in UTC.

    Args:
        recording: As the user called it.
        taken: The part that is being finished, and has no file of that name yet.
    """
    stem = f"{recording.stem}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    found, number = recording.with_stem(stem), 1
    while found == taken or found.exists():  # the clock was set back
        number += 1
        found = recording.with_stem(f"{stem}-{number}")
    return found


def is_part(path: Path, recording: Path) -> bool:
    """Is that the name of a part of `recording`?"""
    is_named = re.fullmatch(_pattern(recording), path.name) is not None
    return is_named and path.parent.resolve() == recording.parent.resolve()


def remove_all_but(recording: Path, keep: int, own: Sequence[Path]) -> None:
    """Remove the oldest parts.

    Args:
        recording: As the user called it.
        keep: How many stay, at least 1.
        own: The parts of this run, in their order.
    """
    for path in _oldest_first(recording, own)[:-keep]:
        _is_removed(path)


def remove_oldest(recording: Path, own: Sequence[Path]) -> bool:
    """Remove one part, the oldest that can be removed; False if there is none but the newest."""
    return any(_is_removed(path) for path in _oldest_first(recording, own)[:-1])


def unfinished(recording: Path) -> list[Path]:
    """What is being written of a recording, in parts or not, or was when a process was killed."""
    # As `files.whole_file` calls them.
    name = rf"\.{re.escape(recording.stem)}({STAMP})?-[a-z0-9_]{{8}}{re.escape(recording.suffix)}"
    return _named(recording.parent, name)


def sweep(left: Iterable[Path]) -> None:
    """Remove those that nobody writes any more: gigabytes that nobody sees."""
    for path in left:
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                path.unlink()


def _oldest_first(recording: Path, own: Sequence[Path]) -> list[Path]:
    """Those of this run come last, whatever their times: a Raspberry Pi may begin with a clock that is far behind."""
    order = {path: number for number, path in enumerate(own)}
    found = []
    for path in _named(recording.parent, _pattern(recording)):
        with contextlib.suppress(OSError):  # another process may have removed it
            found.append((order.get(path, -1), path.stat().st_mtime, path))
    return [path for *_, path in sorted(found)]


def _pattern(recording: Path) -> str:
    return re.escape(recording.stem) + STAMP + re.escape(recording.suffix)


def _is_removed(path: Path) -> bool:
    """One that cannot be removed must not keep the others."""
    with contextlib.suppress(OSError):
        path.unlink()
        return True
    return False


def _named(folder: Path, pattern: str) -> list[Path]:
    """What is in a folder and called so; nothing if it may be written but not listed."""
    with contextlib.suppress(OSError):
        return [path for path in folder.iterdir() if re.fullmatch(pattern, path.name)]
    return []
