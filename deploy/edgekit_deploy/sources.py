"""Where frames come from. Every source is a context manager and an iterator of frames.

End of stream and loss of camera are different things: a file or folder that is over stops the iteration; a camera that
stops delivering raises `SourceLost`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import cv2
import numpy as np

from edgekit.errors import EdgekitError, InputError, MissingError
from edgekit.images import list_images
from edgekit.preprocess import Image, read_image
from edgekit.runtime import quiet_stderr

FOLDER_FPS = 2.0
DEFAULT_FPS = 30.0
MOST_BAD_FRAMES = 30

CAMERA_HINT = (
    "Check the cable and `ls /dev/video*`. A Raspberry Pi camera module speaks libcamera, which OpenCV cannot open "
    "('select() timeout'): use a USB camera, or run under `libcamerify`."
)


class SourceLost(MissingError):
    """The camera stopped delivering. `stats` is what the loop had measured until then (a `CameraStats`), if it ran."""

    stats: Any = None


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture.

    Attributes:
        image: (H, W, 3) uint8 BGR. It belongs to whoever receives it: sources never write to it again.
        timestamp: time.monotonic() seconds when it was captured.
        index: Its number in the stream, from 0; gaps are frames that nobody could read.
        media_time: Seconds since the start of the stream, by the stream's own clock (a file read fast keeps its pace).
    """

    image: Image
    timestamp: float
    index: int
    media_time: float


class Source(Protocol):
    """What the loop needs of a source.

    Attributes:
        name: For messages.
        lossless: Every frame must be classified: the capture waits for the loop instead of dropping.
        fps: Frames per second of the stream's own clock.
        notes: One line for each thing worth telling at the end; grows while iterating.
    """

    name: str
    lossless: bool
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


def open_source(text: str, fast: bool = False) -> Source:
    """The source that `--source` names: a camera number, /dev/videoN, a video file or a folder of images.

    Args:
        text: What the user wrote.
        fast: Read a file as fast as it is consumed, without a drop, instead of in real time.

    Raises:
        InputError: Nothing there that could be a source.
    """
    camera = re.fullmatch(r"(?:/dev/video)?(\d+)", text)
    if camera:
        return CameraSource(int(camera[1]))
    path = Path(text)
    if text and path.is_dir():
        return FolderSource(path)
    if path.is_file():
        return VideoSource(path, fast)
    raise InputError(
        f"--source must be a camera number, /dev/videoN, a video file or a folder of images, got {text!r}.",
        "Check the path.",
    )


class VideoSource:
    """A video file, in real time or (`fast`) as fast as it is consumed. See `Source`."""

    def __init__(self, path: str | Path, fast: bool = False) -> None:
        self.path = Path(path)
        self.name = str(path)
        self.lossless = fast
        self.fps = DEFAULT_FPS
        self.notes: list[str] = []
        self._capture: Any = None

    def __enter__(self) -> Self:
        """Open the file.

        Raises:
            InputError: Not there, or no video.
        """
        if not self.path.is_file():
            raise InputError(f"{self.path} must be a video file, got nothing there.")
        size = self.path.stat().st_size
        self._capture = _quiet_capture(str(self.path), cv2.CAP_ANY) if size else None
        if self._capture is None or not self._capture.isOpened():
            raise InputError(
                f"{self.path} must be a whole video, got {size} bytes that OpenCV cannot open.",
                "It may be truncated or of another kind: play it, or copy it again.",
            )
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if 0.1 <= fps <= 1000.0 else DEFAULT_FPS
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the file."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

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


class FolderSource:
    """The images of a folder, each once and in order of name; never dropped. See `Source`."""

    def __init__(self, folder: str | Path) -> None:
        self.name = str(folder)
        self.lossless = True
        self.fps = FOLDER_FPS
        self.notes: list[str] = []
        self._folder = Path(folder)
        self._paths: list[Path] = []

    def __enter__(self) -> Self:
        """List the folder.

        Raises:
            InputError: No such folder, or no image in it.
        """
        self._paths = list_images(self._folder)
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to close."""

    def __iter__(self) -> Iterator[Frame]:
        """One frame per readable image; the others are noted.

        Raises:
            InputError: Not one could be read.
        """
        readable = 0
        for index, path in enumerate(self._paths):
            try:
                image = np.ascontiguousarray(read_image(path)[:, :, ::-1])
            except InputError as error:
                self.notes.append(f"Skipped: {error.message}")
                continue
            readable += 1
            yield Frame(image, time.monotonic(), index, index / self.fps)
        if not readable:
            raise InputError(f"At least one image in {self.name} must be readable, got none of {len(self._paths)}.")


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
        granted = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = granted if 0.1 <= granted <= 1000.0 else self.fps
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


def as_bgr(raw: Any) -> Image | None:
    """A decoded picture as (H, W, 3) uint8 BGR: grey widened, alpha dropped; None if it is empty or something else."""
    if raw is None or getattr(raw, "size", 0) == 0 or raw.dtype != np.uint8:
        return None
    if raw.ndim == 2 or (raw.ndim == 3 and raw.shape[2] == 1):
        return np.asarray(cv2.cvtColor(raw, cv2.COLOR_GRAY2BGR), np.uint8)
    if raw.ndim != 3 or raw.shape[2] not in (3, 4):
        return None
    return np.ascontiguousarray(raw[:, :, :3])


def _read(capture: Any) -> Image | None:
    try:
        delivered, raw = capture.read()
    except cv2.error as error:
        raise EdgekitError(f"OpenCV failed while decoding: {error}.") from error
    return as_bgr(raw) if delivered else None


def _open_camera(number: int) -> Any:
    linux = hasattr(cv2, "CAP_V4L2") and Path("/dev").is_dir()
    return _quiet_capture(number, cv2.CAP_V4L2 if linux else cv2.CAP_ANY)


def _quiet_capture(source: str | int, api: int) -> Any:
    """cv2.VideoCapture without the chatter of OpenCV and FFmpeg: edgekit says in one line what is wrong."""
    if not os.environ.get("EDGEKIT_DEBUG"):
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    with quiet_stderr():
        return cv2.VideoCapture(source, api)
