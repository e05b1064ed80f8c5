"""A network stream as a source of frames: RTSP, MJPEG over HTTP, and what else FFmpeg opens by a URL."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Self

import cv2

from edgekit_deploy.sources.frames import Frame, SourceLost, SourceRefused
from edgekit_deploy.sources.masking import masked
from edgekit_deploy.sources.reading import OPEN_SECONDS, CaptureSource, open_quietly, read_live, timeouts

SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "tcp", "udp", "rtp")
# RTSP over TCP: a picture with packets lost on the way is garbage. And what probing read is not kept for later.
FFMPEG_OPTIONS = "rtsp_transport;tcp|fflags;nobuffer"
HINT = "Check that the camera or server is on and the network is up."


class NetworkSource(CaptureSource):
    """A stream by its URL. User and password in it are never shown. See `Source`.

    A recording on a server ends as a file does; any other end of the stream is a loss.
    """

    def __init__(self, url: str) -> None:
        super().__init__(masked(url))
        self._url = url
        self._is_mjpeg = False

    def __enter__(self) -> Self:
        """Connect.

        Raises:
            SourceLost: Nobody answers, or not with video, within OPEN_SECONDS.
            SourceRefused: The server says that the request is wrong.
        """
        from edgekit_deploy.sources import mjpeg, reaching  # they import half of the standard library's network

        is_http = self._url.lower().startswith(("http://", "https://"))
        try:
            reaching.check(self._url)
            self._capture = mjpeg.connect(self._url, OPEN_SECONDS) if is_http else None
            self._is_mjpeg = self._capture is not None
            if not self._is_mjpeg and not self._open_with_ffmpeg():
                reaching.knock(self._url)
        except (OSError, ValueError) as error:
            reason, remedy = reaching.explain(error)
            kind = SourceRefused if reaching.is_refusal(error) else SourceLost
            # Not chained, and masked: the cause may quote the URL.
            raise kind(f"{self.name} must answer with video, got {masked(reason)}.", remedy) from None
        return self

    def _open_with_ffmpeg(self) -> bool:
        parameters = timeouts()
        if hasattr(cv2, "CAP_PROP_N_THREADS"):
            # Each further decoding thread holds a frame back.
            parameters += [cv2.CAP_PROP_N_THREADS, 1]
        self._capture = open_quietly(
            self._url, cv2.CAP_FFMPEG, parameters, OPENCV_FFMPEG_CAPTURE_OPTIONS=FFMPEG_OPTIONS
        )
        if not self._capture.isOpened():
            return False
        self._take_fps()
        self.is_live = self._capture.get(cv2.CAP_PROP_FRAME_COUNT) <= 0
        return True

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
        return f"{self.name}: MJPEG over HTTP" if self._is_mjpeg else super().describe()
