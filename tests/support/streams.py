"""A real MJPEG-over-HTTP camera on the loopback, with everything that can go wrong with one."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
from base64 import b64encode
from collections.abc import Callable
from typing import Self

import cv2
import numpy as np

BOUNDARY = "frame"
# How long a stalled connection sleeps between two looks at what it is told to do, seconds.
LOOK = 0.02


def jpeg(picture: np.ndarray) -> bytes:
    """One picture as a JPEG file."""
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


class MjpegServer:
    """Serves `picture(i)`, a BGR array or the raw bytes of a part, as frame i of every connection.

    Attributes:
        stalled: While set, connections stay open and nothing is sent, not even headers.
        login: "user:password" that is asked for, or "".
        garbage: While set, random bytes are sent instead of parts.
        sent: Parts sent on all connections.
        requests: (path, Authorization header) of each request.
    """

    def __init__(self, picture: Callable[[int], np.ndarray | bytes], fps: float = 50.0, status: int = 200) -> None:
        self.picture, self.fps, self.status = picture, fps, status
        self.stalled, self.garbage = threading.Event(), threading.Event()
        self.login = ""
        self.sent = 0
        self.requests: list[tuple[str, str | None]] = []
        self._server: _Server | None = None
        self._port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    def url(self, user: str = "", path: str = "/stream") -> str:
        return f"http://{user}127.0.0.1:{self._port}{path}"

    def start(self) -> None:
        """Listen: at first on a free port, after `kill` on the same one again."""
        self._server = _Server(("127.0.0.1", self._port), _Handler, self)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def kill(self) -> None:
        """Stop listening and cut every connection, as when the camera loses power and its host answers for it."""
        server, self._server = self._server, None
        if server is None:
            return
        server.is_over.set()
        server.shutdown()
        server.server_close()
        for connection in server.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, address, handler, camera: MjpegServer) -> None:
        self.camera, self.is_over, self.connections = camera, threading.Event(), []
        super().__init__(address, handler)

    def handle_error(self, request, client_address) -> None:
        """Clients that hang up are the normal case here."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        camera = self.server.camera
        self.server.connections.append(self.connection)
        camera.requests.append((self.path, self.headers.get("Authorization")))
        self._wait_while_stalled()
        if camera.login and self.headers.get("Authorization") != f"Basic {b64encode(camera.login.encode()).decode()}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
            return
        self.send_response(camera.status)
        self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY}")
        self.end_headers()
        index = 0
        while camera.status == 200 and not self.server.is_over.wait(1.0 / camera.fps):
            self._wait_while_stalled()
            self.wfile.write(self._part(index))
            camera.sent += 1
            index += 1

    def _part(self, index: int) -> bytes:
        camera = self.server.camera
        if camera.garbage.is_set():
            return np.random.default_rng(index).integers(0, 256, 5000, np.uint8).tobytes()
        picture = camera.picture(index)
        body = picture if isinstance(picture, bytes) else jpeg(picture)
        head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body + b"\r\n"

    def _wait_while_stalled(self) -> None:
        while self.server.camera.stalled.is_set() and not self.server.is_over.wait(LOOK):
            pass

    def log_message(self, *arguments) -> None:
        """Silence."""
