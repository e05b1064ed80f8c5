"""A video file that plays in real time, whatever the loop's speed; whole or absent.

It has a constant frame rate, and each frame is repeated or skipped according to its time.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgekit.errors import EdgekitError, InputError
from edgekit.files import whole_file
from edgekit.preprocess import Image

CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
LONGEST_GAP_SECONDS = 60.0


class Film:
    """Frames on their way into a file. The newest is pending: it is written when the next one tells how long it stays.

    Args:
        writer: OpenCV's.
        fps: Of the file.
        size: Of the file, (width, height).
        image: The first frame, (H, W, 3) uint8 BGR.
        media_time: Its time in seconds.

    Attributes:
        taken: Frames that were added, the first one too.
    """

    def __init__(self, writer: Any, fps: float, size: tuple[int, int], image: Image, media_time: float) -> None:
        self._writer, self._fps, self._size = writer, fps, size
        self.taken = 1
        self._pending, self._slot = fit(image, size), 0
        self._origin = self._last_time = media_time

    @property
    def frames(self) -> int:
        """In the file when it is finished, repeated ones included."""
        return self._slot + 1

    def add(self, image: Image, media_time: float) -> None:
        """Write the pending frame as often as it takes until `media_time`; `image` is pending then."""
        if not 0.0 <= media_time - self._last_time <= LONGEST_GAP_SECONDS:
            # The clock jumped: go on with the next slot, rather than fill the file with one frame or stand still.
            self._origin = media_time - (self._slot + 1) / self._fps
        self.taken += 1
        next_slot = math.floor((media_time - self._origin) * self._fps + 0.5)
        for _ in range(next_slot - self._slot):
            self._writer.write(self._pending)
        self._slot, self._last_time = max(self._slot, next_slot), media_time
        self._pending = fit(image, self._size)

    def finish(self) -> None:
        """Write the pending frame too."""
        self._writer.write(self._pending)


@contextlib.contextmanager
def whole_film(path: Path, fps: float, image: Image, media_time: float) -> Iterator[Film]:
    """A film that begins with a frame, and gets its name `path` when it is finished and plays.

    Args:
        path: With a suffix of CODECS.
        fps: Frames per second.
        image: (H, W, 3) uint8 BGR; the file has its size, without an odd last row or column.
        media_time: Seconds.

    Raises:
        InputError: The file cannot be written.
        EdgekitError: What was written does not play.
    """
    height, width = image.shape[:2]
    # MPEG-4 stores chroma at half size: odd sides cannot be.
    size = (max(2, width - width % 2), max(2, height - height % 2))
    with whole_file(path) as temporary:
        writer = open_writer(temporary, fps, size)
        try:
            film = Film(writer, fps, size, image, media_time)
            yield film
            film.finish()
        finally:
            writer.release()
        if not _is_playable(temporary):
            raise EdgekitError(f"The recording {path} could not be finished: the disk may be full.")


def fit(image: Image, size: tuple[int, int]) -> Image:
    """`image` on a canvas of `size` (width, height): cropped by a pixel, or scaled and centred on black."""
    width, height = size
    if 0 <= image.shape[1] - width <= 1 and 0 <= image.shape[0] - height <= 1:
        return np.ascontiguousarray(image[:height, :width])
    scale = min(width / image.shape[1], height / image.shape[0])
    inner = (max(1, min(width, round(image.shape[1] * scale))), max(1, min(height, round(image.shape[0] * scale))))
    canvas = np.zeros((height, width, 3), np.uint8)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(image, inner, interpolation=cv2.INTER_AREA)
    return canvas


def open_writer(path: Path, fps: float, size: tuple[int, int]) -> Any:
    """OpenCV's writer of a file.

    Raises:
        InputError: OpenCV cannot write that.
    """
    codec = CODECS[path.suffix.lower()]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, size)
    if not writer.isOpened():
        others = [suffix for suffix in CODECS if suffix != path.suffix.lower()]
        raise InputError(
            f"OpenCV must be able to write {codec} video of {size[0]}×{size[1]} to {path.suffix}, got a refusal.",
            f"Try --record with {' or '.join(others)}.",
        )
    return writer


def _is_playable(path: Path) -> bool:
    """The file opens and its first frame decodes: a full disk leaves an .mp4 without its index.

    What FFmpeg prints of that is left alone: for silence all threads would have to wait, see `quiet_stderr`.
    """
    capture = cv2.VideoCapture(str(path))
    try:
        return bool(capture.isOpened() and capture.read()[0])
    finally:
        capture.release()
