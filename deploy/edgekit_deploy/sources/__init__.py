"""Where frames come from. `frames` says what a source is, every other module is one kind, `open_source` picks it.

A kind is imported only when it is picked: all of them would be a tenth of the time until the first answer.
"""

from __future__ import annotations

import re
from pathlib import Path

from edgekit.errors import InputError
from edgekit_deploy.sources.frames import Source
from edgekit_deploy.sources.options import PREFIX, SourceOptions, parse_size

__all__ = ["SourceOptions", "open_source", "parse_size"]

STDIN = "-"
WISHES = {"size": "--size", "fps": "--fps", "fourcc": "--format"}


def open_source(text: str, options: SourceOptions | None = None) -> Source:
    """The source that `--source` names; it opens nothing yet, so it can be called again after a loss.

    A link that is gone while its camera is unplugged is an InputError then, which may be over at the next call.

    Args:
        text: A camera number, /dev/videoN or a path that leads there, picamera2 or picamera2:N, a URL, a GStreamer
            pipeline (gst:… or anything with !), a video file, a folder of images, or - for stdin.
        options: What to ask of it.

    Raises:
        InputError: Nothing there that could be a source, or a wish that this kind cannot fulfil.
    """
    options = options or SourceOptions()
    if text == STDIN:
        from edgekit_deploy.sources.stdin import StdinSource

        return StdinSource(options)
    if found := re.fullmatch(r"picamera2(?::(\d+))?", text):
        from edgekit_deploy.sources.picamera import PicameraSource

        return PicameraSource(int(found[1] or 0), _only(options, text, "size", "fps"))
    if found := re.fullmatch(r"(?:/dev/video)?(\d+)", text):
        return _camera(int(found[1]), options)
    path = Path(text)
    if text and path.is_dir():
        from edgekit_deploy.sources.folder import FolderSource

        _only(options, text)
        return FolderSource(path)
    if path.is_file():
        from edgekit_deploy.sources.video import VideoSource

        _only(options, text)
        return VideoSource(path, options.fast)
    if text.startswith(PREFIX) or "!" in re.sub(r"^\w+://\S*", "", text):
        from edgekit_deploy.sources.gstreamer import GStreamerSource

        _only(options, "a pipeline")
        return GStreamerSource(text)
    if "://" in text:
        return _network(text, options)
    # /dev/v4l holds nothing while its camera is unplugged, and is there again with it.
    if text.startswith("/dev/v4l/") or _is_video_device(path):
        return _camera(text, options)
    from edgekit_deploy.sources.masking import masked

    raise InputError(
        "--source must be a camera number, /dev/videoN, picamera2, a URL, a GStreamer pipeline, a video file, "
        f"a folder of images or - for stdin, got {masked(text)!r}.",
        "Check the path.",
    )


def _camera(device: int | str, options: SourceOptions) -> Source:
    from edgekit_deploy.sources.v4l2 import CameraSource

    return CameraSource(device, options)


def _is_video_device(path: Path) -> bool:
    if not path.is_char_device():
        return False
    from edgekit_deploy.sources.v4l2 import video_number

    return video_number(path) is not None


def _network(text: str, options: SourceOptions) -> Source:
    from edgekit_deploy.sources.masking import masked
    from edgekit_deploy.sources.network import SCHEMES, NetworkSource

    scheme = text.partition("://")[0].lower()
    if scheme not in SCHEMES:
        raise InputError(
            f"--source must be a URL of {', '.join(SCHEMES)}, got {masked(text)!r}.", "Give a file by its path alone."
        )
    _only(options, masked(text))
    return NetworkSource(text)


def _only(options: SourceOptions, text: str, *allowed: str) -> SourceOptions:
    for name, flag in WISHES.items():
        if name not in allowed and getattr(options, name) is not None:
            raise InputError(
                f"{flag} must be left out with --source {text}, got {getattr(options, name)}.",
                "It is for cameras and stdin." if name != "fourcc" else "It is for /dev/video cameras and stdin.",
            )
    return options
