"""A real MQTT broker, Debian's mosquitto, and its own client to look at what it holds."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from support.decisions import WAIT_SECONDS, wait_for

SEARCH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


class Mosquitto:
    """A broker on a loopback port; `start` and `stop` may be called again and again."""

    def __init__(self, folder: Path, *lines: str) -> None:
        self.program = shutil.which("mosquitto", path=SEARCH)
        assert self.program, "mosquitto is not installed: make test-debian"
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = server.getsockname()[1]
        self.config = folder / "mosquitto.conf"
        self.lines = list(lines or ["allow_anonymous true"])
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        # "user root": do not become another user, who could not read the test's folder. Ignored where we are not root.
        self.config.write_text("\n".join(["user root", f"listener {self.port} 127.0.0.1", *self.lines]) + "\n")
        self.process = subprocess.Popen([self.program, "-c", str(self.config)], stderr=subprocess.DEVNULL)
        wait_for(self._answers, "mosquitto")

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            self.process.wait(WAIT_SECONDS)
            self.process = None

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False


class Watcher:
    """mosquitto_sub on all topics: every message as it comes."""

    def __init__(self, port: int, *arguments: str) -> None:
        command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), "-t", "#", "-F", "%j", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        os.set_blocking(self.process.stdout.fileno(), False)
        self._rest = b""
        self.messages: list[tuple[str, str, bool]] = []

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait(WAIT_SECONDS)
        self.process.stdout.close()

    def payloads(self, topic: str) -> list[str]:
        """What came on a topic so far."""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self.process.stdout.fileno(), 65536):
                self._rest += chunk
        *lines, self._rest = self._rest.split(b"\n")
        for message in map(json.loads, lines):
            payload = message["payload"]
            self.messages.append((message["topic"], payload, bool(message["retain"])))
        return [payload for name, payload, _ in self.messages if name == topic]

    def wait(self, topic: str, condition) -> list[str]:
        """The payloads of a topic, once `condition` holds for them."""
        wait_for(lambda: condition(self.payloads(topic)), topic)
        return self.payloads(topic)


def retained(port: int, condition, *arguments: str) -> dict[str, str]:
    """What the broker tells a newcomer, once `condition` holds for it: topic and payload of all retained messages."""
    command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), "-t", "#", "-F", "%t %p", "--retained-only"]

    def held() -> dict[str, str]:
        done = subprocess.run([*command, "-W", "1", *arguments], capture_output=True, text=True, timeout=WAIT_SECONDS)
        return dict(line.split(" ", 1) for line in done.stdout.splitlines())

    found: dict[str, str] = {}

    def look() -> bool:
        found.clear()
        found.update(held())
        return bool(condition(found))

    wait_for(look, "retained messages")
    return found
