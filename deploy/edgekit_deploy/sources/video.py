"""A video file as a source of frames."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import cv2

from edgekit.errors import EdgekitError, InputError
from edgekit.preprocess import Image
from edgekit.runtime import quiet_stderr
from edgekit_deploy.sources.frames import Frame, as_bgr
from edgekit_deploy.sources.reading import CaptureSource, open_quietly


class VideoSource(CaptureSource):
    """A video file, in real time or (`fast`) as fast as it is consumed. See `Source`."""

    def __init__(self, path: str | Path, fast: bool = False) -> None:
        self.path = Path(path)
        super().__init__(str(path), is_live=False, lossless=fast)

    def __enter__(self) -> Self:
        """Open the file.

        Raises:
            InputError: Not there, or no video.
        """
        if not self.path.is_file():
            raise InputError(f"{self.path} must be a video file, got nothing there.")
        size = self.path.stat().st_size
        with quiet_stderr():
            self._capture = open_quietly(str(self.path), cv2.CAP_ANY) if size else None
        if self._capture is None or not self._capture.isOpened():
            raise InputError(
                f"{self.path} must be a whole video, got {size} bytes that OpenCV cannot open.",
                "It may be truncated or of another kind: play it, or copy it again.",
            )
        self._take_fps()
        return self

    def __iter__(self) -> Iterator[Frame]:
        """Frames in order; paced by the file's own frame rate unless fast.

        Raises:
            InputError: Not one frame could be decoded.
        """
        promised = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        start = time.monotonic()
        index = 0
        while True:
            media_time = index / self.fps
            if not self.lossless:
                time.sleep(max(0.0, start + media_time - time.monotonic()))
            image = _read(self._capture)
            if image is None:
                break
            yield Frame(image, time.monotonic(), index, media_time)
            index += 1
        if index == 0:
            raise InputError(f"{self.path} must hold frames, got a video of none.", "Copy it again.")
        if index < promised:
            self.notes.append(f"{self.path} ended after {index} of {promised} frames: it may be truncated.")

    def describe(self) -> str:
        """What was opened, in one line."""
        width, height = (self._capture.get(key) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        return f"{self.name}: {width:.0f}×{height:.0f} at {self.fps:g} fps"


def _read(capture: Any) -> Image | None:
    try:
        delivered, raw = capture.read()
    except cv2.error as error:
        raise EdgekitError(f"OpenCV failed while decoding: {error}.") from error
    return as_bgr(raw) if delivered else None
