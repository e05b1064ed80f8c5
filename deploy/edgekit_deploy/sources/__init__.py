"""Where frames come from. `frames` says what a source is, every other module is one kind, `open_source` picks it."""

from __future__ import annotations

import re
from pathlib import Path

from edgekit.errors import InputError
from edgekit_deploy.sources.folder import FolderSource
from edgekit_deploy.sources.frames import Source
from edgekit_deploy.sources.v4l2 import CameraSource
from edgekit_deploy.sources.video import VideoSource

__all__ = ["CameraSource", "FolderSource", "VideoSource", "open_source"]


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
