"""Frames on standard input: raw ones of a known size, or JPEG pictures one after another."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from typing import Self

import cv2
import numpy as np

from edgekit.errors import InputError
from edgekit.preprocess import Image
from edgekit_deploy.sources.frames import DEFAULT_FPS, Frame, SourceLost, as_bgr
from edgekit_deploy.sources.jpegs import split_jpegs
from edgekit_deploy.sources.options import SourceOptions

CHUNK = 65536
JPEGS = "MJPG"
EXAMPLE = "ffmpeg -i clip.mp4 -f rawvideo -pix_fmt bgr24 - | edgekit camera model.tflite --source - --size 640x480"


class StdinSource:
    """With a size: raw frames, three bytes blue, green, red a pixel, row by row. Without: JPEG pictures. See `Source`.

    The end of the stream is the end: whether the writer had finished or died cannot be told, except that a picture is
    left unfinished, which is noted.

    Args:
        options: Size of raw frames; the writer's frame rate (30 by default); fourcc MJPG asks for JPEGs; fast.
        stream: What to read instead of standard input; unbuffered, so that a thread that is left waiting for it holds
            no lock that the interpreter's end would need.
    """

    def __init__(self, options: SourceOptions | None = None, stream: io.RawIOBase | None = None) -> None:
        options = options or SourceOptions()
        if options.fourcc not in (None, JPEGS):
            raise InputError(
                f"--format must be {JPEGS} or left out for stdin, got {options.fourcc}.", f"Try: {EXAMPLE}"
            )
        self.name = "stdin"
        self.lossless = options.fast
        self.is_live = False
        self.fps = options.fps or DEFAULT_FPS
        self.notes: list[str] = []
        self._size = options.size if options.fourcc is None else None
        self._stream = stream
        self._bytes = 0

    def __enter__(self) -> Self:
        """Look at what standard input is.

        Raises:
            InputError: It is closed, or a terminal.
        """
        if self._stream is None:
            try:
                self._stream = io.FileIO(0, "rb", closefd=False)
            except OSError as error:
                raise InputError("stdin must be open, got it closed.", f"Try: {EXAMPLE}") from error
            if self._stream.isatty():
                raise InputError("stdin must be a pipe or a file, got a terminal.", f"Try: {EXAMPLE}")
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to close: standard input is not ours."""

    def __iter__(self) -> Iterator[Frame]:
        """Frames until the end of the stream.

        Raises:
            InputError: It ended without one frame.
            SourceLost: It could not be read.
        """
        start = time.monotonic()
        index = delivered = 0
        for image in self._raw_frames(*self._size) if self._size else self._jpegs():
            now = time.monotonic()
            if image is not None:
                yield Frame(image, now, index, index / self.fps if self.lossless else now - start)
                delivered += 1
            index += 1
        if not delivered:
            raise InputError(f"stdin must hold {self._expected()}, got {self._bytes} bytes.", f"Try: {EXAMPLE}")
        if index > delivered:
            self.notes.append(f"stdin: {index - delivered} of {index} JPEG pictures were broken and skipped.")

    def describe(self) -> str:
        """What is expected, in one line."""
        return f"stdin: {self._expected()}, {self.fps:g} fps"

    def _expected(self) -> str:
        if self._size is None:
            return "JPEG pictures (for raw frames give --size)"
        width, height = self._size
        return f"raw BGR frames of {width}×{height}, {3 * width * height} bytes each"

    def _raw_frames(self, width: int, height: int) -> Iterator[Image]:
        while True:
            image = np.empty((height, width, 3), np.uint8)
            got = self._fill(image.data.cast("B"))
            if got < image.nbytes:
                if got:
                    self.notes.append(
                        f"stdin ended inside a frame: the last {got} of {image.nbytes} bytes were not used."
                    )
                return
            yield image

    def _jpegs(self) -> Iterator[Image | None]:
        for data in split_jpegs(self._chunks()):
            yield as_bgr(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)) if data else None

    def _chunks(self) -> Iterator[bytes]:
        chunk = bytearray(CHUNK)
        while got := self._read(memoryview(chunk)):
            yield bytes(chunk[:got])

    def _fill(self, view: memoryview) -> int:
        """Bytes read: all of `view`, or fewer at the end of the stream."""
        filled = 0
        while filled < len(view) and (got := self._read(view[filled:])):
            filled += got
        return filled

    def _read(self, view: memoryview) -> int:
        if self._stream is None:
            raise RuntimeError("The source must be entered before it is read.")
        try:
            got = self._stream.readinto(view)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise SourceLost(f"stdin must stay readable, got: {reason}.", "Look at what writes to it.") from error
        self._bytes += got or 0
        return got or 0
