"""A web page with frames to show, and plain HTTP clients for it."""

from __future__ import annotations

import http.client
import json
import os
import struct
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

import cv2
import numpy as np

from edgekit_deploy.camera import Decision
from edgekit_deploy.classifier import Classifier
from edgekit_deploy.health import Health
from edgekit_deploy.outputs.overlay import Hud
from edgekit_deploy.smoothing import Decider, Rules
from edgekit_deploy.sources.frames import Frame
from edgekit_deploy.web.address import Address
from edgekit_deploy.web.page import WebPage
from support import tiny_model

TOKEN = "correct horse battery staple"
SECONDS = 30.0


@cache
def classifier() -> Classifier:
    return Classifier(tiny_model.parsed())


def decision(index: int, image: np.ndarray | None = None, threshold: float = 0.0) -> Decision:
    """A true decision of the tiny model on a picture in one of its colours, by turns; the verdict is of this frame."""
    if image is None:
        image = np.full((480, 640, 3), tiny_model.BGR[tiny_model.COLOURS[index % 3]], np.uint8)
    frame = Frame(image, time.monotonic(), index, index / 30.0)
    result = classifier().classify(image)
    decider = Decider(classifier().card.labels, Rules(threshold=threshold))
    verdict = decider.update(classifier().probabilities(), frame.timestamp)
    hud = Hud(30.0, 5.0 + index % 7, index // 2)
    return Decision(frame, result, verdict, threshold, None, hud, index + 1, None, Health())


@contextmanager
def page(host: str = "127.0.0.1", **options):
    """A running page; `warnings` holds what it complained about."""
    told: list[str] = []
    with WebPage(Address(host, 0), "tiny <colours>", classifier().card.labels, warn=told.append, **options) as made:
        made.warnings = told
        yield made


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


@dataclass
class Client:
    """One client that remembers its cookie; every request has a connection of its own."""

    port: int
    cookie: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: bytes | str | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        given = {**self.headers, **({"Cookie": self.cookie} if self.cookie else {})}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, given)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def post(self, path: str, body: bytes | str, **headers: str) -> Answer:
        return self.ask("POST", path, body, **{"Content_Type": "application/x-www-form-urlencoded", **headers})

    def log_in(self, token: str = TOKEN) -> Answer:
        answer = self.post("/login", "token=" + token.replace(" ", "+"))
        if "Set-Cookie" in answer.headers:
            self.cookie = answer.headers["Set-Cookie"].partition(";")[0]
        return answer


def client(of: WebPage) -> Client:
    return Client(int(of.url.rsplit(":", 1)[1].strip("/")))


class Viewer:
    """Reads /live record by record; use as a context manager."""

    def __init__(self, of: WebPage, path: str = "/live", cookie: str = ""):
        self.connection = http.client.HTTPConnection("127.0.0.1", client(of).port, timeout=SECONDS)
        self.connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
        self.response = self.connection.getresponse()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.response.close()
        self.connection.close()

    @property
    def status(self) -> int:
        return self.response.status

    def record(self):
        """(figures, JPEG); raises EOFError at the end."""
        head = self.read(8)
        text, jpeg = struct.unpack(">II", head)
        return json.loads(self.read(text)), self.read(jpeg)

    def read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            more = self.response.read(length - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def picture_of(self, frame: int):
        """Records until the one of `frame`."""
        while True:
            figures, jpeg = self.record()
            if figures.get("frame") == frame:
                return figures, jpeg


def decoded(jpeg: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


def wait_until(condition, seconds: float = SECONDS) -> bool:
    """Look until it is so; False if it never was."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return bool(condition())


def sockets() -> int:
    """Open descriptors of this process that are sockets."""
    count = 0
    for entry in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{entry}").startswith("socket:")
        except OSError:
            continue
    return count


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("edgekit-web")}
