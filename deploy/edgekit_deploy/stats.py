"""What a camera loop measured, as figures and as text."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from edgekit_deploy.health import Health
from edgekit_deploy.latency import Summary

STAGES = {
    "wait": "waiting for a frame",
    "preprocess": "crop, resize, quantize",
    "invoke": "network",
    "postprocess": "top classes",
    "draw": "overlay and window",
    "age": "capture to decision",
}
COLUMNS = ("p50 ms", "p95 ms", "p99 ms", "max ms")


@dataclass(frozen=True)
class CameraStats:
    """One run of the loop. At its end captured = inferred + dropped; while it runs up to two frames are on their way.

    Attributes:
        source: Name of the source.
        kernels: "xnnpack", "builtin" or "mixed".
        threads: Interpreter threads.
        ended: Why it ended: "end of stream", "limit", "window closed", "output closed", "SIGINT", "SIGTERM", "SIGHUP",
            or "source lost".
        seconds: From the first wait to the end.
        captured: Frames read.
        inferred: Frames classified.
        dropped: Frames replaced by a newer one before they could be classified.
        reconnects: How often the source was lost and came back.
        judged: Classified frames whose truth was known.
        correct: Those of them that were classified right.
        stages: Latency of each of STAGES, in milliseconds.
        health: The board's state at the end.
        throttled: What slowed the board down meanwhile.
        recorded: Frames in recordings that are whole, repeated ones included.
        recording_dropped: Frames in none: they came faster than they could be encoded, or nothing was recorded then.
        lines_lost: Decisions that stand in no line of JSON.
        notes: Things worth telling, a line each.
    """

    source: str
    kernels: str
    threads: int
    ended: str
    seconds: float
    captured: int
    inferred: int
    dropped: int
    reconnects: int
    judged: int
    correct: int
    stages: dict[str, Summary]
    health: Health
    throttled: tuple[str, ...]
    recorded: int = 0
    recording_dropped: int = 0
    lines_lost: int = 0
    notes: tuple[str, ...] = field(default=())

    @property
    def fps(self) -> float:
        """Classified frames per second."""
        return self.inferred / self.seconds if self.seconds > 0 else 0.0

    @property
    def accuracy(self) -> float | None:
        """Share of the judged frames that were right, 0 to 1; None if none was judged."""
        return self.correct / self.judged if self.judged else None

    def to_plain(self) -> dict[str, Any]:
        """What json.dumps takes: the attributes, `fps`, `accuracy`."""
        return {**dataclasses.asdict(self), "fps": self.fps, "accuracy": self.accuracy}

    def text(self) -> str:
        """For the terminal and for a service's journal: the stages in columns, and the figures below."""
        title = f"{self.source}: {self.inferred} frames in {self.seconds:.1f} s ({self.ended})"
        rows = [_row("stage", COLUMNS)]
        for stage, meaning in STAGES.items():
            line = self.stages[stage]
            if line.count:
                figures = (line.p50, line.p95, line.p99, line.max)
                rows.append(f"{_row(stage, (f'{value:.2f}' for value in figures))}  {meaning}")
        return "\n".join((title, *rows, *self.lines()))

    def lines(self) -> list[str]:
        """The figures below the table."""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        lines = [
            f"{self.fps:.1f} fps, {self.kernels} kernels, {threads}",
            f"{self.captured} captured = {self.inferred} inferred + {self.dropped} dropped",
        ]
        if self.reconnects:
            lines.append(f"lost and found again: {self.reconnects}")
        if self.accuracy is not None:
            lines.append(f"accuracy {100 * self.accuracy:.2f} % ({self.correct} of {self.judged} frames)")
        if self.recorded or self.recording_dropped:
            lines.append(f"{self.recorded} frames recorded, {self.recording_dropped} dropped by the recorder")
        if self.lines_lost:
            lines.append(f"{self.lines_lost} lines of JSON are missing")
        if board := self._board():
            lines.append(board)
        return [*lines, *self.notes]

    def _board(self) -> str:
        health = self.health
        figures = (
            ("{:.0f} °C", health.temperature),
            ("slowed down by {}", ", ".join(self.throttled) or None),
            ("{:.0f} MiB of memory at most", health.peak),
        )
        return ", ".join(text.format(value) for text, value in figures if value is not None)


def _row(stage: str, cells: Iterable[str]) -> str:
    return f"{stage:<12}" + "".join(f"{cell:>9}" for cell in cells)
