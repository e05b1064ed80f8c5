"""Frames, and what every source of frames has in common.

A source is a context manager and an iterator. End of stream and loss of camera are different things: a file or folder
that is over stops the iteration; a camera that stops delivering raises `SourceLost`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, Self

import cv2
import numpy as np

from edgekit.errors import MissingError
from edgekit.preprocess import Image

DEFAULT_FPS = 30.0
# What a device or file may call its frame rate without being taken for broken.
LEAST_FPS, MOST_FPS = 0.1, 1000.0


class SourceLost(MissingError):
    """The camera stopped delivering. `stats` is what the loop had measured until then (a `CameraStats`), if it ran."""

    stats: Any = None


class SourceRefused(SourceLost):
    """Something is there and says no (a wrong path or password): at the start, waiting for it would not help."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture.

    Attributes:
        image: (H, W, 3) uint8 BGR. It belongs to whoever receives it: sources never write to it again.
        timestamp: time.monotonic() seconds when it was captured.
        index: Its number in the stream, from 0; gaps are frames that nobody could read.
        media_time: Seconds since the start of the stream, by the stream's own clock (a file read fast keeps its pace).
        name: The image's own path, where it has one.
    """

    image: Image
    timestamp: float
    index: int
    media_time: float
    name: str = ""


class Source(Protocol):
    """What the loop needs of a source.

    Attributes:
        name: For messages.
        lossless: Every frame must be classified: the capture waits for the loop instead of dropping.
        is_live: It goes on for ever, and is opened anew after a loss; not a file, a folder or stdin. Ask once entered.
        fps: Frames per second of the stream's own clock.
        notes: One line for each thing worth telling at the end; grows while iterating.
    """

    name: str
    lossless: bool
    is_live: bool
    fps: float
    notes: list[str]

    def __enter__(self) -> Self:
        """Open it; errors of opening are raised here."""
        ...

    def __exit__(self, *exception: object) -> None:
        """Let go of the device or file."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """Frames until the end of the stream.

        Raises:
            SourceLost: The camera is gone.
        """
        ...

    def describe(self) -> str:
        """One line on what was opened (size, rate, format), once entered."""
        ...


def plausible_fps(told: float, otherwise: float) -> float:
    """The frame rate that a device or file tells, or `otherwise` if it makes no sense (0 and NaN are common)."""
    return told if LEAST_FPS <= told <= MOST_FPS else otherwise


def as_bgr(raw: Any) -> Image | None:
    """A decoded picture as (H, W, 3) uint8 BGR: grey widened, alpha dropped; None if it is empty or something else."""
    if raw is None or getattr(raw, "size", 0) == 0 or raw.dtype != np.uint8:
        return None
    if raw.ndim == 2 or (raw.ndim == 3 and raw.shape[2] == 1):
        return np.asarray(cv2.cvtColor(raw, cv2.COLOR_GRAY2BGR), np.uint8)
    if raw.ndim != 3 or raw.shape[2] not in (3, 4):
        return None
    return np.ascontiguousarray(raw[:, :, :3])
