"""The device's end of a push: one request after the other on stdin, each answered by one line on stdout."""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
from pathlib import Path
from typing import Any

from edgekit_deploy.fleet.device.manifest import Refused
from edgekit_deploy.fleet.device.switch import Device

REFUSED = 2
# Before each answer: what a login script may print does not count.
ANSWER = "edgekit-answer: "
# A connection can die without a word; what its agent holds must not stay locked for ever.
IDLE_SECONDS = 120
HEADER_DIGITS = 8


class Incoming:
    """Requests: HEADER_DIGITS digits, so many bytes of JSON, then as many bytes of data as its key "size" says.

    Args:
        handle: Descriptor to read from.
    """

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._left = 0

    def request(self) -> dict[str, Any] | None:
        """The next one; None when there are no more."""
        header = self._exactly(HEADER_DIGITS)
        text = self._exactly(int(header)) if len(header) == HEADER_DIGITS else b""
        if not text:
            return None
        asked = json.loads(text)
        self._left = int(asked["size"])
        return dict(asked)

    def read(self, size: int) -> bytes:
        """At most so many bytes of the request's data; b"" at its end, or where the connection ended."""
        chunk = self._some(min(size, self._left)) if self._left else b""
        self._left -= len(chunk)
        return chunk

    def rest(self) -> bytes:
        """All data of the request."""
        return b"".join(iter(lambda: self.read(1 << 16), b""))

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (chunk := self._some(size - len(data))):
            data += chunk
        return data

    def _some(self, size: int) -> bytes:
        is_ready, _, _ = select.select([self._handle], [], [], IDLE_SECONDS)
        return os.read(self._handle, size) if is_ready else b""


def main(words: list[str]) -> int:
    """Serve one pusher: exit code 0, or REFUSED after an answer with the key "error"."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", required=True)
    root = Path(parser.parse_args(words).root)
    # What begins with a switch ends with a release that does well, though nobody may listen any more.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.umask(0o022)
    incoming, device = Incoming(0), Device(root)
    while (asked := incoming.request()) is not None:
        try:
            answer = _do(device, asked, incoming)
        except Refused as refusal:
            answer = {"error": str(refusal)}
        except OSError as error:
            answer = {"error": f"The device must be able to store the release, got: {error}."}
        os.write(1, f"{ANSWER}{json.dumps(answer)}\n".encode())
        if "error" in answer:
            return REFUSED
    return 0


def _do(device: Device, asked: dict[str, Any], incoming: Incoming) -> dict[str, Any]:
    verb, values = asked["verb"], asked["values"]
    if verb == "probe":
        return device.probe()
    device.lock()
    if verb == "trust":
        return device.trust(values[0], incoming.rest())
    if verb == "missing":
        return device.missing(incoming.rest(), asked["allow_downgrade"])
    if verb == "put":
        device.store.put(values[0], int(values[1]), incoming)
        return {"stored": values[0]}
    if verb == "install":
        return device.install(incoming.rest(), asked["allow_downgrade"])
    if verb == "activate":
        return device.activate(values[0])
    if verb == "rollback":
        return device.rollback()
    raise Refused(f"The request must be one that this version knows, got {verb}.")
