"""A V4L2 camera as a source of frames."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import cv2

from edgekit_deploy.sources.frames import DEFAULT_FPS, Frame, SourceLost
from edgekit_deploy.sources.options import SourceOptions
from edgekit_deploy.sources.reading import MOST_SECONDS_OLD, CaptureSource, open_quietly, read_live

DEFAULT_SIZE = (640, 480)
# OpenCV waits ten seconds by default for a camera that hangs; whole seconds.
SELECT_SECONDS = "2"
CAMERA_HINT = (
    "Check the cable and `ls /dev/video*`. A Raspberry Pi camera module speaks libcamera, which OpenCV cannot open "
    "('select() timeout'): use --source picamera2, or run under `libcamerify`."
)


class CameraSource(CaptureSource):
    """A V4L2 camera (USB, or what the kernel shows as /dev/videoN). See `Source`.

    Args:
        device: N of /dev/videoN, or a path that leads there. A path such as /dev/v4l/by-id/… is followed at every
            opening: it finds the camera again that has come back under another number.
        options: Size (640×480 by default), rate and pixel format asked for.
        opener: Makes the capture object from the number; for cameras that OpenCV must open in another way.
    """

    def __init__(
        self,
        device: int | str | Path,
        options: SourceOptions | None = None,
        opener: Callable[[int], Any] | None = None,
    ) -> None:
        options = options or SourceOptions()
        super().__init__(f"camera {device}", options.fps or DEFAULT_FPS)
        self._device = device
        self._options = options
        self._opener = opener or _open_camera

    def __enter__(self) -> Self:
        """Open the camera and ask for format, size and rate.

        Raises:
            SourceLost: There is no such camera, or it cannot be opened.
        """
        number = video_number(self._device)
        if number is None:
            raise SourceLost(f"{self.name} must be plugged in, got no /dev/videoN behind the path.", CAMERA_HINT)
        self._capture = self._opener(number)
        if not self._capture.isOpened():
            raise SourceLost(f"{self.name} must open, got nothing from /dev/video{number}.", CAMERA_HINT)
        width, height = self._options.size or DEFAULT_SIZE
        # The format first: it decides which sizes and rates there are.
        if self._options.fourcc:
            self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*self._options.fourcc))
        asked = {cv2.CAP_PROP_FRAME_WIDTH: width, cv2.CAP_PROP_FRAME_HEIGHT: height, cv2.CAP_PROP_FPS: self.fps}
        for key, value in {**asked, cv2.CAP_PROP_BUFFERSIZE: 1}.items():
            self._capture.set(key, value)
        self._take_fps()
        self._note_what_was_refused()
        return self

    def __iter__(self) -> Iterator[Frame]:
        """Frames for as long as the camera delivers.

        Raises:
            SourceLost: Reads fail or hang, or many frames in a row were empty.
        """
        return read_live(self._capture, self.name, CAMERA_HINT, self._captured_at)

    def describe(self) -> str:
        """What was granted, in one line."""
        fourcc, (width, height) = self._granted()
        return f"{self.name}: {fourcc or 'unknown format'} {width}×{height} at {self.fps:g} fps"

    def _granted(self) -> tuple[str, tuple[int, int]]:
        code = int(self._capture.get(cv2.CAP_PROP_FOURCC))
        letters = (code & 0xFFFFFFFF).to_bytes(4, "little").decode("ascii", "replace")
        width, height = (int(self._capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        return letters.strip() if letters.isprintable() else "", (width, height)

    def _note_what_was_refused(self) -> None:
        options, (fourcc, size) = self._options, self._granted()
        asked = [
            (options.fourcc, fourcc, options.fourcc == fourcc),
            (options.size and "×".join(map(str, options.size)), "×".join(map(str, size)), options.size == size),
            (options.fps and f"{options.fps:g} fps", f"{self.fps:g} fps", options.fps == round(self.fps, 2)),
        ]
        for wish, answer, is_same in asked:
            if wish and not is_same:
                self.notes.append(f"{self.name}: asked for {wish}, granted {answer or 'something unknown'}.")

    def _captured_at(self, now: float) -> float:
        """By the driver's own timestamp, which is on the clock of time.monotonic(), where it makes sense."""
        told = 1e-3 * float(self._capture.get(cv2.CAP_PROP_POS_MSEC))
        return told if 0.0 <= now - told < MOST_SECONDS_OLD else now


def video_number(device: int | str | Path) -> int | None:
    """N of the /dev/videoN that `device` is or leads to; None if it leads elsewhere, or nowhere."""
    if isinstance(device, int):
        return device
    found = re.fullmatch(r"/dev/video(\d+)", str(Path(device).resolve()))
    return int(found[1]) if found else None


def _open_camera(number: int) -> Any:
    linux = hasattr(cv2, "CAP_V4L2") and Path("/dev").is_dir()
    api = cv2.CAP_V4L2 if linux else cv2.CAP_ANY
    # OpenCV looks at this when it first waits for a frame, which is after the opening.
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", SELECT_SECONDS)
    return open_quietly(number, api)
