"""Recordings in several files: their names, how many stay, and what killed processes have left of them."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
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
        keep: How many stay, at least 1: older ones are removed, those of earlier runs as well; also sooner, where the
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
    name = re.escape(recording.stem) + STAMP + re.escape(recording.suffix)
    return path.parent.resolve() == recording.parent.resolve() and re.fullmatch(name, path.name) is not None


def remove_all_but(recording: Path, keep: int, newest: Path) -> None:
    """Remove the oldest parts.

    Args:
        recording: As the user called it.
        keep: How many stay, at least 1.
        newest: The part that was made just now, whatever its time.
    """
    for path in _oldest_first(recording, newest)[:-keep]:
        _is_removed(path)


def remove_oldest(recording: Path) -> bool:
    """Remove one part, the oldest that can be removed; False if there is none."""
    return any(_is_removed(path) for path in _oldest_first(recording))


def sweep(recording: Path) -> None:
    """Remove what killed processes have left of a recording, in parts or not: gigabytes that nobody sees."""
    # As `files.whole_file` calls them.
    name = rf"\.{re.escape(recording.stem)}({STAMP})?-[a-z0-9_]{{8}}{re.escape(recording.suffix)}"
    for path in _listed(recording.parent):
        if re.fullmatch(name, path.name):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                    path.unlink()


def _oldest_first(recording: Path, newest: Path | None = None) -> list[Path]:
    """Parts from the future come first.

    A Raspberry Pi without a network begins with a time long past, and what it records then must not give way to what is
    there already.
    """
    now, found = time.time(), []
    for path in _listed(recording.parent):
        if is_part(path, recording):
            with contextlib.suppress(OSError):  # another process may have removed it
                changed = path.stat().st_mtime
                found.append((path == newest, changed <= now, changed, path))
    return [path for *_, path in sorted(found)]


def _is_removed(path: Path) -> bool:
    """One that cannot be removed must not keep the others."""
    with contextlib.suppress(OSError):
        path.unlink()
        return True
    return False


def _listed(folder: Path) -> Iterator[Path]:
    """What is in it; nothing if it may be written but not listed."""
    with contextlib.suppress(OSError):
        yield from folder.iterdir()
