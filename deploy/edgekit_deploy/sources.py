"""Where frames come from: `open_source` and the sources that are files. See `edgekit_deploy.frames`."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np

from edgekit.errors import EdgekitError, InputError
from edgekit.images import list_images
from edgekit.preprocess import Image, read_image
from edgekit_deploy.camera_source import CameraSource
from edgekit_deploy.frames import DEFAULT_FPS, Frame, Source, as_bgr, plausible_fps, quiet_capture

FOLDER_FPS = 2.0


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
        self._capture = quiet_capture(str(self.path), cv2.CAP_ANY) if size else None
        if self._capture is None or not self._capture.isOpened():
            raise InputError(
                f"{self.path} must be a whole video, got {size} bytes that OpenCV cannot open.",
                "It may be truncated or of another kind: play it, or copy it again.",
            )
        self.fps = plausible_fps(float(self._capture.get(cv2.CAP_PROP_FPS)), DEFAULT_FPS)
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
            yield Frame(image, time.monotonic(), index, index / self.fps, str(path))
        if not readable:
            raise InputError(f"At least one image in {self.name} must be readable, got none of {len(self._paths)}.")


def _read(capture: Any) -> Image | None:
    try:
        delivered, raw = capture.read()
    except cv2.error as error:
        raise EdgekitError(f"OpenCV failed while decoding: {error}.") from error
    return as_bgr(raw) if delivered else None
