"""Every decision of a running loop as a line of JSON, for other programs."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from edgekit.errors import InputError
from edgekit_deploy.outputs.background import Background, Trouble
from edgekit_deploy.outputs.line_stream import STDOUT, LineStream
from edgekit_deploy.outputs.rotating_file import RotatingFile
from edgekit_deploy.outputs.wall_clock import WallClock, iso

if TYPE_CHECKING:
    from edgekit_deploy.outputs.decided import Decided

__all__ = ["STDOUT", "DecisionLog", "to_plain"]

# Lines are written so often at most: an SD card wears with every write, and stalls.
FLUSH_SECONDS = 1.0
# Lines that wait for a disk that is slow or full: half a minute of 120 frames a second, a few MB.
MOST_WAITING = 4096
# How long the loop of a source whose every frame counts waits for a disk that hangs.
PATIENCE_SECONDS = 2.0
LEAST_BYTES = 1024


class DecisionLog:
    """Writes JSON lines to a file or to standard output; use as a context manager.

    Standard output (and a named pipe) gets each line at once. A file is written once a second, from a thread of its
    own, and completely at the end. While it cannot be written (the disk is full, or gone) the newest MOST_WAITING lines
    are kept and written as soon as it can.

    Args:
        path: The file; STDOUT is standard output.
        warn: Called with one line, from any thread, when writing fails and when it works again.
        most_bytes: Begin another file at this size, see `RotatingFile`; None: never, and replace an existing file.
        keep: Older files that stay.
        is_lossless: Rather slow the loop down than lose a line.
        is_stopping: Whether the run is to end, see `LineStream`.
        clock: Tells the time of day of a frame.

    Attributes:
        is_closed: The reader of standard output went away; further decisions are ignored.

    Raises:
        InputError: The file's folder cannot be written, or a bad `most_bytes` or `keep`.
    """

    def __init__(
        self,
        path: Path,
        *,
        warn: Callable[[str], None] | None = None,
        most_bytes: int | None = None,
        keep: int = 3,
        is_lossless: bool = False,
        is_stopping: Callable[[], bool] | None = None,
        clock: WallClock | None = None,
    ) -> None:
        if (most_bytes is not None and most_bytes < LEAST_BYTES) or keep < 0:
            raise InputError(
                f"A log must have {LEAST_BYTES} bytes or more, and keep 0 or more, got {most_bytes}, {keep}."
            )
        warn = warn or (lambda line: None)
        self._clock = clock or WallClock()
        self._wait = PATIENCE_SECONDS if is_lossless else 0.0
        self._stream: LineStream | None = None
        self._file: _LogFile | None = None
        if path == STDOUT or (path.exists() and not path.is_file() and not path.is_dir()):
            self._stream = LineStream(path, is_stopping or (lambda: False), warn)
        else:
            from edgekit.files import check_writable

            check_writable(path)
            self._file = _LogFile(path, most_bytes, keep, warn)

    @property
    def is_closed(self) -> bool:
        """The reader of standard output went away; further decisions are ignored."""
        return self._stream is not None and self._stream.is_closed

    @property
    def lost(self) -> int:
        """Lines that stand nowhere, so far."""
        return self._stream.lost if self._stream else self._file.lost if self._file else 0

    def __enter__(self) -> Self:
        """Nothing to do: the file is made when there is something to write."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Write what is left, and close."""
        if self._stream is not None:
            self._stream.close()
        if self._file is not None:
            self._file.close()

    def write(self, decision: Decided) -> None:
        """Append one decision."""
        if self.is_closed:
            return
        plain = to_plain(decision, self._clock.at(decision.frame.timestamp))
        if self._stream is not None:
            self._stream.write(_line(plain))
        if self._file is not None:
            self._file.put(plain, self._wait)


class _LogFile:
    """Lines on their way to a file, off the hot path."""

    def __init__(self, path: Path, most_bytes: int | None, keep: int, warn: Callable[[str], None]) -> None:
        self._path, self._warn, self._trouble = path, warn, Trouble(warn)
        self._file = RotatingFile(path, most_bytes, keep)
        self._lines: deque[bytes] = deque()
        self._overflow = 0
        self._worker = Background[dict[str, Any]](
            "--jsonl", self._write, capacity=MOST_WAITING, warn=warn, gather=FLUSH_SECONDS
        )

    @property
    def lost(self) -> int:
        return self._overflow + self._worker.dropped

    def put(self, plain: dict[str, Any], wait: float) -> None:
        self._worker.put(plain, wait)

    def close(self) -> None:
        is_done = self._worker.close()
        lost = self.lost + (len(self._lines) if is_done else 0)
        if not is_done:
            self._warn(f"--jsonl: the disk of {self._path} hangs; the newest lines may be missing.")
        elif lost:
            self._overflow = lost - self._worker.dropped
            self._warn(f"--jsonl: {lost} lines are missing in {self._path}.")

    def _write(self, batch: list[dict[str, Any]]) -> None:
        self._lines.extend(map(_line, batch))
        try:
            self._file.append(self._lines)
        except OSError as error:
            while len(self._lines) > MOST_WAITING:
                self._lines.popleft()
                self._overflow += 1
            self._trouble.begins(
                f"--jsonl: {self._path} cannot be written: {error.strerror}. "
                f"Free some space; the newest {MOST_WAITING} lines are kept."
            )
        else:
            self._trouble.ends(f"--jsonl: {self._path} can be written again; {self._overflow} lines are missing.")


def to_plain(decision: Decided, wall_seconds: float) -> dict[str, Any]:
    """What stands in a line.

    Args:
        decision: What was decided.
        wall_seconds: Since 1970, when the frame was captured.

    Returns:
        frame (index), time (media seconds), at (when it was captured, as `iso`, here still a number), name (if the
        frame has one), label and probability of the verdict (label None: nothing is sure), top: pairs of label and
        probability, best first, for this frame alone. Probabilities are 0 to 1.
    """
    frame, verdict = decision.frame, decision.verdict
    return {
        "frame": frame.index,
        "time": round(frame.media_time, 3),
        "at": wall_seconds,
        **({"name": frame.name} if frame.name else {}),
        "label": verdict.label,
        "probability": round(verdict.probability, 6),
        "top": [[guess.label, round(guess.probability, 6)] for guess in decision.result.top],
    }


def _line(plain: dict[str, Any]) -> bytes:
    """A line with its newline."""
    return (json.dumps({**plain, "at": iso(plain["at"])}) + "\n").encode()
