"""Lines to standard output or a named pipe, at once, with an end even when nobody reads."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path

from edgekit_deploy.outputs.background import Trouble

STDOUT = Path("-")
POLL_SECONDS = 0.1
# How long a reader that does not read may still hold up the end of the run.
GRACE_SECONDS = 0.5


class LineStream:
    """Writes each line at once. A slow reader slows the loop down, as pipes do; frames are dropped, not lines.

    Args:
        path: STDOUT, or a pipe or device that exists.
        is_stopping: Whether the run is to end: then a reader that does not read is waited for no more than
            GRACE_SECONDS.
        warn: Called with one line.

    Attributes:
        is_closed: The reader went away, or did not read at the end; further lines are ignored.
        lost: Lines that could not be written.
    """

    def __init__(self, path: Path, is_stopping: Callable[[], bool], warn: Callable[[str], None]) -> None:
        self.is_closed = False
        self.lost = 0
        self._path, self._is_stopping = path, is_stopping
        self._name = "standard output" if path == STDOUT else str(path)
        self._trouble = Trouble(warn)
        self._descriptor = _stdout_descriptor() if path == STDOUT else -1
        self._is_torn = False

    def write(self, line: bytes) -> None:
        """Write a line, with its newline."""
        if self.is_closed:
            return
        if self._path == STDOUT and self._descriptor < 0:
            sys.stdout.write(line.decode())
            sys.stdout.flush()
            return
        try:
            if self._descriptor < 0:
                self._open()
            self._send(b"\n" + line if self._is_torn else line)
        except BrokenPipeError:
            self.lost += 1
            self._give_up()
        except OSError as error:
            self.lost += 1
            self._trouble.begins(f"--jsonl: {self._name} cannot be written: {error.strerror}. Trying again.")
        else:
            self._trouble.ends(f"--jsonl: {self._name} can be written again; {self.lost} lines are missing.")

    def close(self) -> None:
        """Let go of a pipe."""
        if self._path != STDOUT and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self.is_closed = True

    def _open(self) -> None:
        """Open the pipe as soon as somebody reads it."""
        wait = _Wait(self._is_stopping)
        while True:
            try:
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                wait.check()
                time.sleep(POLL_SECONDS)
            else:
                return

    def _send(self, data: bytes) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        wait = _Wait(self._is_stopping)
        rest = memoryview(data)
        while rest:
            if not poll.poll(1e3 * POLL_SECONDS):
                wait.check()
                continue
            try:
                # A pipe that is ready takes so much without blocking.
                sent = os.write(self._descriptor, rest[: select.PIPE_BUF])
            except BlockingIOError:
                time.sleep(0.001)
                continue
            rest = rest[sent:]
            self._is_torn = bool(rest)

    def _give_up(self) -> None:
        self.is_closed = True
        if self._path == STDOUT:
            # What others may still print must go somewhere, or Python complains when it flushes at exit.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._descriptor)
            os.close(null)


class _Wait:
    """The patience with a reader that does not read."""

    def __init__(self, is_stopping: Callable[[], bool]) -> None:
        self._is_stopping = is_stopping
        self._until: float | None = None

    def check(self) -> None:
        """Go on waiting.

        Raises:
            BrokenPipeError: The run is to end, and the reader has had its time.
        """
        if self._until is None and self._is_stopping():
            self._until = time.monotonic() + GRACE_SECONDS
        if self._until is not None and time.monotonic() >= self._until:
            raise BrokenPipeError(errno.EPIPE, "nobody reads")


def _stdout_descriptor() -> int:
    """Of standard output, or -1 where it is not a file (a test's runner, a notebook)."""
    try:
        sys.stdout.flush()
        return sys.stdout.fileno()
    except (io.UnsupportedOperation, AttributeError):
        return -1
