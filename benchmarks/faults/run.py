"""A running `edgekit camera`, watched from outside: its answers and its log as they come."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from edgekit.errors import EdgekitError

# For what is to happen; what is promised is much less, and measured.
PATIENCE = 40.0
MOST_SECONDS = 5.0
DISASTER = re.compile(r"Traceback|Fatal|Segmentation|core dumped|terminate called")


class Failed(EdgekitError):
    """A fault was not survived as it should be."""


@dataclass(frozen=True)
class Outcome:
    """What became of a fault; seconds, None where there is nothing to measure.

    Attributes:
        line: What the log said of it.
        told: From the fault to that line.
        back: From the end of the fault to the next answer.
        pause: The longest one between two answers since the fault, where answers are to go on through it.
        end: From the signal (or the fault that ends the run) to the end of the process.
        exit_code: Of the process.
        counts: Captured, inferred, dropped; None where it never ran.
    """

    line: str
    told: float | None
    back: float | None
    pause: float | None
    end: float | None
    exit_code: int
    counts: tuple[int, int, int] | None


class Run:
    """`edgekit camera` as a process; use as a context manager.

    Args:
        folder: Where it runs; its measurements go there too.
        *arguments: After the model; "--jsonl -" to have its answers watched.
        model: The file.
        expect: The exit code that is right.
        hang_up_after: Answers after which its standard output is closed.
        is_headless: It is told to open no window.
        **environment: Added to that of this process, which must have no display.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str | Path,
        model: str = "model.tflite",
        expect: int = 0,
        hang_up_after: int | None = None,
        is_headless: bool = True,
        **environment: str,
    ) -> None:
        self.log: list[tuple[float, str]] = []
        self.answers: list[tuple[float, int]] = []
        self.times: list[str] = []
        self._stats = folder / "stats.json"
        self._stats.unlink(missing_ok=True)
        self._expect, self._hang_up_after = expect, hang_up_after
        self._planted: float | None = None
        self._told: float | None = None
        self._back: float | None = None
        self._line = self._last_line = ""
        self._watches_pauses = False
        fixed = (*(["--headless"] if is_headless else []), "--threads", "1", "--json", self._stats)
        self._is_watched = "-" in arguments and hang_up_after is None
        command = [sys.executable, "-m", "benchmarks.faults.entry", "camera", model, *fixed, *arguments]
        self.process = subprocess.Popen(
            [str(word) for word in command],
            cwd=folder,
            env={**os.environ, "COLUMNS": "200", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._threads = [
            threading.Thread(target=self._read, args=(stream, take), daemon=True)
            for stream, take in ((self.process.stdout, self._take_answer), (self.process.stderr, self._take_line))
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()

    def goes_on(self, count: int = 10) -> None:
        """Wait for `count` more answers."""
        goal = len(self.answers) + count
        self.wait(lambda: len(self.answers) >= goal, f"{count} more answers")

    def says(self, pattern: str, since: float = 0.0) -> str:
        """Wait for a line in the log; the line."""

        def found() -> list[tuple[float, str]]:
            return [(when, line) for when, line in list(self.log) if when >= since and re.search(pattern, line)]

        self.wait(lambda: bool(found()), f"a line with {pattern!r}")
        return found()[0][1]

    def plant(self, fault: Callable[[], object], pattern: str, goes_on: bool = False) -> None:
        """Let the fault begin, and wait until the log tells of it.

        Args:
            fault: Begins it.
            pattern: Of the line.
            goes_on: Answers are to go on all the while.
        """
        self._watches_pauses = goes_on
        self._planted = start = time.monotonic()
        fault()
        self._line = self.says(pattern, start)
        self._told = next(when for when, line in self.log if when >= start and line == self._line) - start

    def tells(self, pattern: str) -> None:
        """Wait for a line about what was so from the start."""
        self._line = self.says(pattern)

    def tells_in_the_end(self, pattern: str) -> None:
        """A line is to tell of the fault after the last answer."""
        self._last_line = pattern

    def goes_through(self, seconds: float) -> None:
        """Watch the answers for a while after a fault that is nothing to be told of at once."""
        self._planted = self._planted or time.monotonic()
        self._watches_pauses = True
        end = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() >= end, "time")
        self.goes_on()

    def mend(self, cure: Callable[[], object]) -> None:
        """End the fault, and wait for the next answer."""
        start = time.monotonic()
        cure()
        self.wait(lambda: self.answers[-1:] > [(start, 0)], "an answer")
        self._back = next(when for when, _ in self.answers if when > start) - start
        self.goes_on()

    def finish(self, number: int | None = signal.SIGTERM) -> Outcome:
        """End it with a signal (None: it ends by itself), and judge what does not depend on the fault.

        Raises:
            Failed: It crashed, hung, or lost count.
        """
        is_asked = number is not None
        start = time.monotonic() if is_asked or self._planted is None else self._planted
        if number is not None:
            self.process.send_signal(number)
        self.wait(lambda: self.process.poll() is not None, "its end")
        end = None if self._planted is None and not is_asked else time.monotonic() - start
        for thread in self._threads:
            thread.join(PATIENCE)
        text = "\n".join(line for _, line in self.log)
        code = self.process.returncode
        if code != self._expect or DISASTER.search(text):
            raise Failed(f"The exit code must be {self._expect}, got {code}: {text[-500:]}")
        stats = json.loads(self._stats.read_text()) if self._stats.exists() else None
        # The table at the end has them too, wrapped.
        self.log += [(time.monotonic(), note) for note in (stats or {}).get("notes", [])]
        if self._last_line:
            self.tells(self._last_line)
        return self._judged(Outcome(self._line, self._told, self._back, self._pause(), end, code, self._counts(stats)))

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until it is so.

        Raises:
            Failed: It took longer than PATIENCE, or the process ended meanwhile.
        """
        end = time.monotonic() + PATIENCE
        while not condition():
            is_over = self.process.poll() is not None and not any(thread.is_alive() for thread in self._threads)
            if (is_over and not condition()) or time.monotonic() > end:
                raise Failed(f"There must be {what}, got none; the log: {' / '.join(line for _, line in self.log)}")
            time.sleep(0.01)

    def _pause(self) -> float | None:
        if not self._watches_pauses or self._planted is None:
            return None
        times = [when for when, _ in self.answers if when >= self._planted]
        return max(b - a for a, b in zip([self._planted, *times], times, strict=False)) if times else MOST_SECONDS + 1.0

    def _counts(self, stats: dict[str, Any] | None) -> tuple[int, int, int] | None:
        if stats is None:
            return None
        captured, inferred, dropped = counts = (stats["captured"], stats["inferred"], stats["dropped"])
        frames = [frame for _, frame in self.answers]
        is_exact = captured == inferred + dropped and frames == sorted(set(frames))
        if not is_exact or (self._is_watched and len(frames) != inferred):
            raise Failed(f"The counts must be exact, got {counts} and {len(frames)} answers.")
        return counts

    @staticmethod
    def _judged(outcome: Outcome) -> Outcome:
        for name in ("told", "back", "pause", "end"):
            if (seconds := getattr(outcome, name)) is not None and seconds > MOST_SECONDS:
                raise Failed(f"Nothing must take more than {MOST_SECONDS:g} s, got {seconds:.1f} s ({name}).")
        return outcome

    def _read(self, stream: IO[bytes], take: Callable[[str], None]) -> None:
        for line in stream:
            take(line.decode("utf-8", "replace").rstrip())
            if self._hang_up_after is not None and len(self.answers) >= self._hang_up_after:
                stream.close()
                return

    def _take_answer(self, line: str) -> None:
        if line.startswith("{"):
            plain = json.loads(line)
            self.times.append(plain["at"])
            self.answers.append((time.monotonic(), plain["frame"]))

    def _take_line(self, line: str) -> None:
        if line:
            self.log.append((time.monotonic(), line))
