"""Every decision of a running loop as a line of JSON, for other programs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import IO, Any, Self

from edgekit.errors import InputError
from edgekit.files import check_writable
from edgekit_deploy.camera import Decision

STDOUT = Path("-")


class DecisionLog:
    """Writes JSON lines to a file, made anew with the first decision, or to stdout; use as a context manager.

    Each line is flushed at once: a reader sees a decision when it is made.

    Args:
        path: The file; STDOUT is standard output.

    Attributes:
        is_closed: The reader of standard output went away; further decisions are ignored.

    Raises:
        InputError: The file's folder cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.is_closed = False
        self._path = path
        self._file: IO[str] | None = sys.stdout if path == STDOUT else None
        if path != STDOUT:
            check_writable(path)

    def __enter__(self) -> Self:
        """Nothing to do: the file is made when there is something to write."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the file."""
        if self._file is not None and self._path != STDOUT:
            self._file.close()

    def write(self, decision: Decision) -> None:
        """Append one decision.

        Raises:
            InputError: The file cannot be written, or the disk is full.
        """
        if self.is_closed:
            return
        try:
            if self._file is None:
                self._file = self._path.open("w", encoding="utf-8")
            self._file.write(json.dumps(to_plain(decision)) + "\n")
            self._file.flush()
        except BrokenPipeError:
            self.is_closed = True
            # What is still buffered must go somewhere, or Python complains when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._file.fileno() if self._file else 1)
        except OSError as error:
            raise InputError(f"--jsonl must be writable, got: {error.strerror}.", "Choose another file.") from error


def to_plain(decision: Decision) -> dict[str, Any]:
    """What stands in a line: frame (index), time (media seconds), name (if the frame has one), label, probability, top.

    Probabilities are 0 to 1; `top` holds pairs of label and probability, best first.
    """
    frame, result = decision.frame, decision.result
    return {
        "frame": frame.index,
        "time": round(frame.media_time, 3),
        **({"name": frame.name} if frame.name else {}),
        "label": result.label,
        "probability": round(result.probability, 6),
        "top": [[guess.label, round(guess.probability, 6)] for guess in result.top],
    }
