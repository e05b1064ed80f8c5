"""MJPEG over HTTP, read without FFmpeg.

OpenCV's FFmpeg reader keeps the first picture's size: when a camera changes it, it hands out torn pictures. Nor does it
tell why a server refuses.
"""

from __future__ import annotations

import http.client
import select
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import cv2
import numpy as np

from edgekit_deploy.sources.jpegs import JpegSplitter
from edgekit_deploy.sources.reading import READ_SECONDS

CHUNK = 65536
# Bytes after which a picture is decoded, however many more there are.
MOST_TAKEN = 4 * 2**20


class MjpegCapture:
    """What `read_live` needs of a cv2.VideoCapture, for the body of an HTTP response."""

    def __init__(self, response: Any) -> None:
        self._response = response
        self._splitter = JpegSplitter()
        self._newest, self._broken, self._is_over = b"", 0, False

    def read(self) -> tuple[bool, Any]:
        """Whether there was a picture, and the picture; a failure takes READ_SECONDS if nothing usable comes.

        The newest that is there: where decoding takes longer than pictures come, those between are passed over, as a
        camera's driver does it. Else they would wait in the connection, and each answer be older than the one before.
        """
        self._gather(time.monotonic())
        if self._broken:
            self._broken -= 1
            return False, None
        data, self._newest = self._newest, b""
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
        return picture is not None, picture

    def release(self) -> None:
        """Disconnect."""
        self._response.close()

    def _gather(self, asked: float) -> None:
        """Take what is there; if there is no picture, wait for one."""
        taken = 0
        while not (self._newest or self._broken) or (taken < MOST_TAKEN and self._is_more_there()):
            if self._is_over or time.monotonic() - asked >= READ_SECONDS:
                return
            chunk = self._chunk()
            taken += len(chunk)
            for picture in self._splitter.feed(chunk):
                self._newest = picture or self._newest
                self._broken += not picture

    def _chunk(self) -> bytes:
        """What comes next; b"" at the end."""
        try:
            chunk: bytes = self._response.read1(CHUNK)
        except (OSError, http.client.HTTPException, ValueError):
            chunk = b""  # the reader sees that nothing comes
        self._is_over = not chunk
        return chunk

    def _is_more_there(self) -> bool:
        """Whether something more can be read without waiting."""
        try:
            is_over = self._is_over or self._response.isclosed()
            return not is_over and bool(select.select([self._response], [], [], 0)[0])
        except (OSError, ValueError):  # closed
            return False


def connect(url: str, open_seconds: float) -> MjpegCapture | None:
    """The MJPEG stream at an http(s) URL, which may hold user and password; None if something else is there.

    Raises:
        OSError: No such host, nobody answers, a refusal (`urllib.error.HTTPError`), a certificate
            without trust, or no HTTP at all.
        ValueError: The URL is torn.
    """
    parts = urlsplit(url)
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    handlers: list[urllib.request.BaseHandler] = [_Http(), _Https()]
    if parts.username:
        passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        passwords.add_password(None, bare, unquote(parts.username), unquote(parts.password or ""))
        handlers += [urllib.request.HTTPBasicAuthHandler(passwords), urllib.request.HTTPDigestAuthHandler(passwords)]
    try:
        response = urllib.request.build_opener(*handlers).open(bare, timeout=open_seconds)
    except http.client.InvalidURL as error:
        raise ValueError from error
    except http.client.HTTPException as error:
        raise OSError("something that answers, but not in HTTP") from error
    kind = response.headers.get_content_type()
    if kind.startswith("multipart/") or "mjpeg" in kind or "motion-jpeg" in kind:
        return MjpegCapture(response)
    response.close()
    return None


def _shorter_timeout_from_now_on(connection: type[http.client.HTTPConnection]) -> type[http.client.HTTPConnection]:
    """`connection`, but once the head of the answer is there, each further read may take READ_SECONDS."""

    class Connection(connection):  # type: ignore[misc, valid-type]
        def getresponse(self) -> http.client.HTTPResponse:
            sock = self.sock
            response = super().getresponse()
            sock.settimeout(READ_SECONDS)
            return response

    return Connection


_Connection = _shorter_timeout_from_now_on(http.client.HTTPConnection)
_SecureConnection = _shorter_timeout_from_now_on(http.client.HTTPSConnection)


class _Http(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, request)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_SecureConnection, request)
