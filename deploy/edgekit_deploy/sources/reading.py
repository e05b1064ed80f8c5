"""What the live sources that OpenCV reads have in common: quiet opening, and telling a bad frame from a lost camera."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2

from edgekit.preprocess import Image
from edgekit_deploy.sources.frames import DEFAULT_FPS, Frame, SourceLost, as_bgr, plausible_fps

MOST_BAD_FRAMES = 30
# How long one read may block. Less than the 2 s after which the loop takes a source for hung and leaves its thread.
READ_SECONDS = 1.8
# How long connecting may take.
OPEN_SECONDS = 4.0
# How long there may be reads, but not one picture.
MOST_SECONDS_WITHOUT_PICTURE = 4.0
# A driver's timestamp older than this is taken for another clock's.
MOST_SECONDS_OLD = 2.0


class CaptureSource:
    """What sources over a cv2.VideoCapture, or something like it, have in common. See `Source`."""

    def __init__(self, name: str, fps: float = DEFAULT_FPS, is_live: bool = True, lossless: bool = False) -> None:
        self.name, self.fps, self.is_live, self.lossless = name, fps, is_live, lossless
        self.notes: list[str] = []
        self._capture: Any = None

    def __exit__(self, *exception: object) -> None:
        """Let go of camera, file or connection."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def describe(self) -> str:
        """What was opened, in one line."""
        width, height = (self._capture.get(key) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        return f"{self.name}: {width:.0f}×{height:.0f} at {self.fps:g} fps"

    def _take_fps(self) -> None:
        """The rate that the capture tells, if it makes sense."""
        self.fps = plausible_fps(float(self._capture.get(cv2.CAP_PROP_FPS)), self.fps)


def timeouts() -> list[int]:
    """Parameters of a cv2.VideoCapture that gives up by itself."""
    opening = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(1e3 * OPEN_SECONDS)]
    return [*opening, cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(1e3 * READ_SECONDS)]


def open_quietly(source: str | int, api: int, parameters: Sequence[int] = (), **environment: str) -> Any:
    """cv2.VideoCapture without the chatter of OpenCV and FFmpeg.

    It leaves stderr alone: a live source may take seconds to open, while others write there.

    Args:
        source: What to open.
        api: A cv2.CAP_ constant.
        parameters: Pairs of cv2.CAP_PROP_ constant and value.
        **environment: Variables that OpenCV takes further options from; the user's own have precedence.
    """
    if not os.environ.get("EDGEKIT_DEBUG"):
        cv2.setLogLevel(0)
        environment["OPENCV_FFMPEG_LOGLEVEL"] = "-8"
    # For good: another thread may be opening as well, and there is one kind of source in a run.
    for name, value in environment.items():
        os.environ.setdefault(name, value)
    return cv2.VideoCapture(source, api, list(parameters))


def read_live(
    capture: Any,
    name: str,
    hint: str,
    captured_at: Callable[[float], float] = lambda now: now,
) -> Iterator[Frame]:
    """Frames for as long as the camera delivers. A corrupt or empty one is skipped: its index is missing.

    Args:
        capture: An open cv2.VideoCapture.
        name: For messages.
        hint: What the user can do about a loss.
        captured_at: The time.monotonic() seconds of the frame just read, given the present.

    Raises:
        SourceLost: A read took READ_SECONDS and failed, there was no picture for MOST_SECONDS_WITHOUT_PICTURE, or
            more than MOST_BAD_FRAMES reads in a row gave none.
    """
    start = last_picture = time.monotonic()
    index = bad = pictures = 0
    while True:
        asked = time.monotonic()
        delivered, image = _read(capture)
        now = time.monotonic()
        if image is not None:
            yield Frame(image, captured_at(now), index, now - start)
            # The reader's own time is not the camera's silence.
            bad, last_picture, pictures = 0, time.monotonic(), pictures + 1
        else:
            bad += 1
            is_silent = now - asked >= READ_SECONDS or now - last_picture > MOST_SECONDS_WITHOUT_PICTURE
            if is_silent or bad > MOST_BAD_FRAMES:
                got = "empty frames" if delivered else "no frame"
                raise SourceLost(f"{name} must keep delivering, got {got} after {pictures}.", hint)
        index += 1


def _read(capture: Any) -> tuple[bool, Image | None]:
    try:
        delivered, raw = capture.read()
    except cv2.error:  # a picture that is cut off, by the camera or on its way
        return False, None
    return bool(delivered), as_bgr(raw) if delivered else None
