"""A V4L2 camera as a source of frames."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import cv2

from edgekit_deploy.sources.frames import DEFAULT_FPS, Frame, SourceLost, as_bgr, plausible_fps, quiet_capture

MOST_BAD_FRAMES = 30
CAMERA_HINT = (
    "Check the cable and `ls /dev/video*`. A Raspberry Pi camera module speaks libcamera, which OpenCV cannot open "
    "('select() timeout'): use a USB camera, or run under `libcamerify`."
)


class CameraSource:
    """A V4L2 camera (USB, or what the kernel shows as /dev/videoN). See `Source`.

    Args:
        number: N of /dev/videoN.
        size: Width and height asked for, pixels.
        fps: Frame rate asked for.
        opener: Makes the capture object from the number; for cameras that OpenCV must open in another way.
    """

    def __init__(
        self,
        number: int,
        size: tuple[int, int] = (640, 480),
        fps: float = DEFAULT_FPS,
        opener: Callable[[int], Any] | None = None,
    ) -> None:
        self.name = f"camera {number}"
        self.lossless = False
        self.fps = fps
        self.notes: list[str] = []
        self._number = number
        self._size = size
        self._opener = opener or _open_camera
        self._capture: Any = None

    def __enter__(self) -> Self:
        """Open the camera and ask for size and rate.

        Raises:
            SourceLost: There is no such camera, or it cannot be opened.
        """
        self._capture = self._opener(self._number)
        if not self._capture.isOpened():
            raise SourceLost(f"{self.name} must open, got nothing from /dev/video{self._number}.", CAMERA_HINT)
        asked = {cv2.CAP_PROP_FRAME_WIDTH: self._size[0], cv2.CAP_PROP_FRAME_HEIGHT: self._size[1]}
        for key, value in {**asked, cv2.CAP_PROP_FPS: self.fps, cv2.CAP_PROP_BUFFERSIZE: 1}.items():
            self._capture.set(key, value)
        self.fps = plausible_fps(float(self._capture.get(cv2.CAP_PROP_FPS)), self.fps)
        return self

    def __exit__(self, *exception: object) -> None:
        """Release the camera."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def __iter__(self) -> Iterator[Frame]:
        """Frames for as long as the camera delivers.

        Raises:
            SourceLost: A read failed, or many frames in a row were empty.
        """
        start = time.monotonic()
        index = bad = 0
        while True:
            delivered, raw = self._capture.read()
            now = time.monotonic()
            image = as_bgr(raw) if delivered else None
            bad = 0 if image is not None else bad + 1
            if not delivered or bad > MOST_BAD_FRAMES:
                reason = "empty frames" if delivered else "no frame"
                raise SourceLost(f"{self.name} must keep delivering, got {reason} after {index}.", CAMERA_HINT)
            if image is not None:
                yield Frame(image, now, index, now - start)
            index += 1


def _open_camera(number: int) -> Any:
    linux = hasattr(cv2, "CAP_V4L2") and Path("/dev").is_dir()
    return quiet_capture(number, cv2.CAP_V4L2 if linux else cv2.CAP_ANY)
