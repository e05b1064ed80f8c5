"""A network stream as a source of frames: RTSP, MJPEG over HTTP, and what else FFmpeg opens by a URL."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any, Self
from urllib.parse import urlsplit

import cv2

from edgekit_deploy.sources.frames import DEFAULT_FPS, Frame, SourceLost, plausible_fps
from edgekit_deploy.sources.masking import masked
from edgekit_deploy.sources.reading import READ_SECONDS, open_quietly, read_live

PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935, "rtmps": 443, "tcp": 0, "udp": 0, "rtp": 0}
# With the look at why it failed, a dead server is known within 5 s.
OPEN_SECONDS = 4.0
LOOK_SECONDS = 0.9
# RTSP over TCP: a picture with packets lost on the way is garbage. The rest keeps FFmpeg from collecting frames.
FFMPEG_OPTIONS = "rtsp_transport;tcp|fflags;nobuffer|flags;low_delay"
HINT = "Check that the camera or server is on and the network is up."


class NetworkSource:
    """A stream by its URL. User and password in it are never shown. See `Source`.

    A recording on a server ends as a file does; any other end of the stream is a loss.
    """

    def __init__(self, url: str) -> None:
        self.name = masked(url)
        self.lossless = False
        self.is_live = True
        self.fps = DEFAULT_FPS
        self.notes: list[str] = []
        self._url = url
        self._capture: Any = None
        self._promised = 0

    def __enter__(self) -> Self:
        """Connect.

        Raises:
            SourceLost: Nobody answers, or not with video, within OPEN_SECONDS.
        """
        parameters = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(1e3 * OPEN_SECONDS)]
        parameters += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(1e3 * READ_SECONDS)]
        self._capture = open_quietly(
            self._url, cv2.CAP_FFMPEG, parameters, OPENCV_FFMPEG_CAPTURE_OPTIONS=FFMPEG_OPTIONS
        )
        if not self._capture.isOpened():
            reason, remedy = _why_not(self._url)
            raise SourceLost(f"{self.name} must answer with video, got {reason}.", remedy)
        self.fps = plausible_fps(float(self._capture.get(cv2.CAP_PROP_FPS)), DEFAULT_FPS)
        self._promised = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.is_live = self._promised == 0
        return self

    def __exit__(self, *exception: object) -> None:
        """Disconnect."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def __iter__(self) -> Iterator[Frame]:
        """Frames for as long as the server sends them; those of a recording at its own rate.

        Raises:
            SourceLost: The stream broke off.
        """
        start = time.monotonic()
        frames = read_live(self._capture, self.name, HINT)
        while True:
            try:
                frame = next(frames)
            except SourceLost as lost:
                if self.is_live:
                    raise
                self.notes.append(f"{self.name} is over or broke off: {lost.message}")
                return
            yield frame
            if not self.is_live:
                time.sleep(max(0.0, start + (frame.index + 1) / self.fps - time.monotonic()))

    def describe(self) -> str:
        """What was opened, in one line."""
        return f"{self.name}: {_size(self._capture)} at {self.fps:g} fps"


def _size(capture: Any) -> str:
    return f"{capture.get(cv2.CAP_PROP_FRAME_WIDTH):.0f}×{capture.get(cv2.CAP_PROP_FRAME_HEIGHT):.0f}"


def _why_not(url: str) -> tuple[str, str]:
    """What is wrong and what to do about it; FFmpeg does not tell."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or PORTS.get(parts.scheme.lower(), 0)
    except ValueError:
        return "no usable host and port", "In a password, write @ as %40, / as %2F, : as %3A, # as %23 and ? as %3F."
    if not host or not port or parts.scheme.lower() in ("udp", "rtp"):
        return "nothing", HINT
    try:
        socket.create_connection((host, port), LOOK_SECONDS).close()
    except socket.gaierror:
        return f"no address for the host {host}", "Check its name and the network."
    except TimeoutError:
        return f"no answer from {host}:{port}", HINT
    except OSError as error:
        return f"{error.strerror or error} at {host}:{port}".lower(), HINT
    return f"no video from {host}:{port}, which does answer", "Check path, user and password, and play it with ffplay."
