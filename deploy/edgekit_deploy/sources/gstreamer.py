"""A GStreamer pipeline as a source of frames, where OpenCV was built with GStreamer."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from typing import Self

import cv2

from edgekit.errors import InputError, MissingError
from edgekit_deploy.sources.frames import Frame, SourceLost
from edgekit_deploy.sources.masking import masked
from edgekit_deploy.sources.options import PREFIX
from edgekit_deploy.sources.reading import CaptureSource, open_quietly, read_live, timeouts

# The newest frame and no other, as soon as it is there.
SINK = "videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
# GST_PARSE_FLAG_FATAL_ERRORS
FATAL_ERRORS = 1
HINT = "Try the pipeline with gst-launch-1.0, with `autovideosink` as its last element."
_ENDS_BY_ITSELF = re.compile(r"\b(?:filesrc|multifilesrc|num-buffers)\b")


class GStreamerSource(CaptureSource):
    """A pipeline, with or without `gst:` before it. Without an appsink it gets one that drops old frames. See `Source`.

    One that reads a file or counts its buffers ends; any other end is a loss.
    """

    def __init__(self, text: str) -> None:
        self.pipeline = text.removeprefix(PREFIX).strip().rstrip("! ")
        is_live = not _ENDS_BY_ITSELF.search(self.pipeline)
        super().__init__(f"GStreamer pipeline {masked(self.pipeline)}", is_live=is_live)
        if "appsink" not in self.pipeline:
            self.pipeline += f" ! {SINK}"
        elif "drop=" not in self.pipeline:
            self.notes.append("appsink without drop=true max-buffers=1 hands out old frames when the model is slower.")

    def __enter__(self) -> Self:
        """Start the pipeline.

        Raises:
            MissingError: This OpenCV has no GStreamer.
            InputError: GStreamer does not understand the pipeline.
            SourceLost: The pipeline does not start.
        """
        if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
            raise MissingError(
                f"OpenCV must be built with GStreamer for a pipeline, got {cv2.__version__} without, as PyPI has it.",
                "Use Debian's: apt install python3-opencv, in a venv made with --system-site-packages and without "
                "opencv-python; or give an rtsp:// or http:// URL, a /dev/video number or picamera2.",
            )
        if problem := _problem(self.pipeline):
            raise InputError(f"{self.name} must be a pipeline, got: {masked(problem)}.", HINT)
        self._capture = open_quietly(self.pipeline, cv2.CAP_GSTREAMER, timeouts())
        if not self._capture.isOpened():  # OpenCV before 4.7 knows no timeouts here and refuses them
            self._capture = open_quietly(self.pipeline, cv2.CAP_GSTREAMER)
        if not self._capture.isOpened():
            raise SourceLost(f"{self.name} must start, got nothing from it.", HINT)
        self._take_fps()
        return self

    def __iter__(self) -> Iterator[Frame]:
        """Frames until the pipeline ends.

        Raises:
            SourceLost: It stopped delivering.
        """
        try:
            yield from read_live(self._capture, self.name, HINT)
        except SourceLost:
            if self.is_live:
                raise


class _GError(ctypes.Structure):
    _fields_ = (("domain", ctypes.c_uint32), ("code", ctypes.c_int), ("message", ctypes.c_char_p))


def _problem(pipeline: str) -> str:
    """What GStreamer's own parser says against a pipeline, or "".

    OpenCV does not tell; and of an unknown element it builds half a pipeline, on which OpenCV 4.6 hangs for ever.
    """
    try:
        library = ctypes.CDLL("libgstreamer-1.0.so.0")
    except OSError:
        return ""
    parse, unref = library.gst_parse_launch_full, library.gst_object_unref
    parse.restype, unref.restype, unref.argtypes = ctypes.c_void_p, None, (ctypes.c_void_p,)
    parse.argtypes = (ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
    library.gst_init(None, None)
    error = ctypes.POINTER(_GError)()
    element = parse(pipeline.encode(), None, FATAL_ERRORS, ctypes.byref(error))
    if element:
        unref(element)
    return error.contents.message.decode("utf-8", "replace") if error else ""
