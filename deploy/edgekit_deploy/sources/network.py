"""A network stream as a source of frames: RTSP, MJPEG over HTTP, and what else FFmpeg opens by a URL."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
import urllib.error
from collections.abc import Iterator
from typing import Any, Self
from urllib.parse import urlsplit

import cv2

from edgekit_deploy.sources.frames import DEFAULT_FPS, Frame, SourceLost, plausible_fps
from edgekit_deploy.sources.masking import masked
from edgekit_deploy.sources.mjpeg import connect
from edgekit_deploy.sources.reading import READ_SECONDS, open_quietly, read_live

PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935, "rtmps": 443, "tcp": 0, "udp": 0, "rtp": 0}
# With the look at why it failed, a dead server is known within 5 s.
OPEN_SECONDS = 4.0
LOOK_SECONDS = 0.9
# RTSP over TCP: a picture with packets lost on the way is garbage. And what probing read is not kept for later.
FFMPEG_OPTIONS = "rtsp_transport;tcp|fflags;nobuffer"
DATAGRAMS = ("udp", "rtp")
REMEDY_OF_PATH = "Check path, user and password, and play it with ffplay."
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
        self._what = "MJPEG over HTTP"

    def __enter__(self) -> Self:
        """Connect.

        Raises:
            SourceLost: Nobody answers, or not with video, within OPEN_SECONDS.
        """
        scheme = self._url.partition("://")[0].lower()
        try:
            self._capture = connect(self._url, OPEN_SECONDS) if scheme in ("http", "https") else None
            if self._capture is None:
                self._open_with_ffmpeg()
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason, remedy = _explain(error)
            # Not chained, and masked: the cause may quote the URL.
            raise SourceLost(f"{self.name} must answer with video, got {masked(reason)}.", remedy) from None
        return self

    def _open_with_ffmpeg(self) -> None:
        parameters = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(1e3 * OPEN_SECONDS)]
        parameters += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(1e3 * READ_SECONDS)]
        # Each further decoding thread holds a frame back.
        parameters += [cv2.CAP_PROP_N_THREADS, 1] if hasattr(cv2, "CAP_PROP_N_THREADS") else []
        self._capture = open_quietly(
            self._url, cv2.CAP_FFMPEG, parameters, OPENCV_FFMPEG_CAPTURE_OPTIONS=FFMPEG_OPTIONS
        )
        if not self._capture.isOpened():
            _knock(self._url)
        width, height = (self._capture.get(key) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        self.fps = plausible_fps(float(self._capture.get(cv2.CAP_PROP_FPS)), DEFAULT_FPS)
        self.is_live = self._capture.get(cv2.CAP_PROP_FRAME_COUNT) <= 0
        self._what = f"{width:.0f}×{height:.0f} at {self.fps:g} fps"

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
        return f"{self.name}: {self._what}"


def _knock(url: str) -> None:
    """Find out why FFmpeg, which does not tell, could not open a stream.

    Raises:
        OSError: Nobody is there, or somebody who sends no video.
        ValueError: The URL is torn.
    """
    parts = urlsplit(url)
    host, port, scheme = parts.hostname, parts.port, parts.scheme.lower()
    port = port or PORTS[scheme]
    if host and port and scheme not in DATAGRAMS:
        socket.create_connection((host, port), LOOK_SECONDS).close()
        raise OSError(f"no video, though {host}:{port} answers")
    raise OSError("nothing")


def _explain(error: Exception) -> tuple[str, str]:
    """What is wrong, and what to do about it."""
    reason = getattr(error, "reason", error)
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}", REMEDY_OF_PATH
    if isinstance(reason, ssl.SSLError):
        return str(reason), "Use a certificate that this machine trusts (SSL_CERT_FILE names further ones), or http://."
    if isinstance(reason, socket.gaierror):
        return "a host name without an address", "Check the name and the network."
    if isinstance(reason, TimeoutError):
        return "no answer in time", HINT
    if isinstance(error, http.client.HTTPException):
        return "an answer that is not HTTP", REMEDY_OF_PATH
    if isinstance(error, ValueError):
        return "no usable host and port", "In a password, write @ as %40, / as %2F, : as %3A, # as %23 and ? as %3F."
    text = (getattr(reason, "strerror", None) or str(reason)).lower()
    return text, REMEDY_OF_PATH if "answers" in text else HINT
