"""A shell command at each new answer."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Self

from edgekit.errors import InputError
from edgekit_deploy.outputs.background import Background
from edgekit_deploy.outputs.decided import Change, Changes, Decided

LIMIT_SECONDS = 10.0
# What a command may still take when the run ends, before it is killed.
CLOSE_SECONDS = 1.5
KILLED_SECONDS = 0.5


class Hook:
    """Runs `command` with /bin/sh when the answer changes; use as a context manager.

    The command finds in its environment EDGEKIT_LABEL (empty: nothing is sure), EDGEKIT_PROBABILITY (0 to 1) and
    EDGEKIT_PREVIOUS (the label of the call before; empty at the first). Labels never become part of the command's
    text. What it prints goes to standard error. One runs at a time; of the changes meanwhile only the newest counts,
    and it counts only if it differs from what the command was last called with. Edgekit's other variables, which may
    hold passwords, are taken out of its environment.

    Args:
        command: Shell text.
        warn: Called with one line, from any thread: at the first command that fails, and at the first that is killed.
        limit: Seconds after which a command, and what it started, is killed.

    Attributes:
        runs: Commands that were started.
        failures: Those that ended with another exit code than 0, or were killed.

    Raises:
        InputError: An empty command, or a limit of 0 or less.
    """

    def __init__(
        self, command: str, *, warn: Callable[[str], None] | None = None, limit: float = LIMIT_SECONDS
    ) -> None:
        if not command.strip() or "\0" in command or not limit > 0.0:
            raise InputError(f"--on-change must be a command with a time limit above 0, got {command!r} and {limit}.")
        self.runs = self.failures = 0
        self._command, self._limit, self._warn = command, limit, warn or (lambda line: None)
        # Now: other threads may change the environment later, while it would be read.
        self._base = {name: value for name, value in os.environ.items() if not name.startswith("EDGEKIT_")}
        self._changes = Changes()
        self._called_with: str | None = None
        self._told: set[str] = set()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_over = False
        self._worker = Background[Change]("--on-change", self._handle, capacity=1, warn=self._warn)

    def __enter__(self) -> Self:
        """Nothing to do."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Let the last command finish, for CLOSE_SECONDS at most."""
        if self._worker.close(CLOSE_SECONDS):
            return
        with self._lock:
            self._is_over = True
            if self._process is not None:
                _kill(self._process)
        self._worker.close(KILLED_SECONDS)
        self._tell_once("end", f"--on-change: {self._command!r} was still running at the end, and was killed.")

    def write(self, decision: Decided) -> None:
        """Call the command if the answer is another one."""
        if change := self._changes.of(decision.verdict):
            self._worker.put(change)

    def _handle(self, changes: list[Change]) -> None:
        change = changes[-1]
        if change.label == self._called_with:
            return
        environment = _environment(self._base, change, self._called_with)
        self._called_with = change.label
        with self._lock:
            if self._is_over:
                return
            process = self._process = _start(self._command, environment)
        self.runs += 1
        self._wait_for(process)

    def _wait_for(self, process: subprocess.Popen[bytes]) -> None:
        try:
            code = process.wait(self._limit)
        except subprocess.TimeoutExpired:
            _kill(process)
            process.wait()
            self.failures += 1
            self._tell_once("limit", f"--on-change: {self._command!r} took more than {self._limit:g} s; it was killed.")
        else:
            if code and not self._is_over:
                self.failures += 1
                self._tell_once("code", f"--on-change: {self._command!r} failed with exit code {code}.")
        finally:
            with self._lock:
                self._process = None

    def _tell_once(self, kind: str, line: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            self._warn(line)


def _start(command: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C ends the loop, not the command; and all that it starts can be killed together.
    return subprocess.Popen(  # noqa: S603 (the user's own command)
        ["/bin/sh", "-c", command],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=_stderr(),
        start_new_session=True,
    )


def _stderr() -> int:
    """The descriptor of standard error: standard output is for decisions."""
    try:
        return sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        return subprocess.DEVNULL


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _environment(base: Mapping[str, str], change: Change, previous: str | None) -> dict[str, str]:
    return {
        **base,
        "EDGEKIT_LABEL": _clean(change.label),
        "EDGEKIT_PROBABILITY": f"{change.probability:.6f}",
        "EDGEKIT_PREVIOUS": _clean(previous),
    }


def _clean(label: str | None) -> str:
    """A label that an environment can hold: no NUL, no half of a surrogate pair."""
    return (label or "").replace("\0", "").encode("utf-8", "replace").decode()
