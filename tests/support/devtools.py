"""A real Chromium, driven over its DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import websocket

from support.browser import FLAGS

SECONDS = 60.0


class Browser:
    """One tab; use as a context manager.

    Args:
        folder: For the browser's own files, and its downloads.

    Attributes:
        complaints: Errors and warnings of console, network and policy, and all that pages print.
    """

    def __init__(self, folder: Path) -> None:
        self.complaints: list[str] = []
        self.folder = folder
        self._numbers = itertools.count(1)

    def __enter__(self) -> Browser:
        profile = self.folder / "profile"
        own = [f"--user-data-dir={profile}", "--remote-debugging-port=0", "--remote-allow-origins=*", "about:blank"]
        with (self.folder / "chromium.log").open("wb") as log:
            self._process = subprocess.Popen(["chromium", *FLAGS, *own], stdout=log, stderr=log)
        try:
            port = int(_content(profile / "DevToolsActivePort").split()[0])
            self._connect(port)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if hasattr(self, "_socket"):
            self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _connect(self, port: int) -> None:
        browser = _content(self.folder / "profile" / "DevToolsActivePort").split()[1]
        self._socket = websocket.create_connection(f"ws://127.0.0.1:{port}{browser}", timeout=SECONDS)
        self._session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """One command, and its result.

        Raises:
            AssertionError: Chromium refuses.
        """
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": arguments}
        self._socket.send(json.dumps(message | ({"sessionId": self._session} if self._session else {})))
        while True:
            answer = json.loads(self._socket.recv())
            self._listen(answer)
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _listen(self, event: dict[str, Any]) -> None:
        details = event.get("params", {})
        if event.get("method") == "Log.entryAdded":
            entry = details["entry"]
            if entry["level"] in ("error", "warning"):
                self.complaints.append(f"{entry['level']}: {entry['text']} {entry.get('url', '')}")
        elif event.get("method") == "Runtime.consoleAPICalled":
            self.complaints.append(f"{details['type']}: {details['args']}")
        elif event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(details["exceptionDetails"]))

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:
        """The value of an expression; promises are waited for."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, script: str) -> Any:
        """Wait for an expression to become true."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            if value := self.run(script):
                return value
            time.sleep(0.05)
        raise AssertionError(f"never true: {script}")

    def resize(self, width: int, height: int, is_phone: bool, is_dark: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": 2 if is_phone else 1, "mobile": is_phone},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def click(self, selector: str) -> None:
        """With the mouse, where the element is."""
        script = "(e => { e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect(); "
        script += f"return [r.x + r.width / 2, r.y + r.height / 2]; }})(document.querySelector('{selector}'))"
        x, y = self.run(script)
        self.click_at(x, y)

    def click_at(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def shot(self) -> np.ndarray:
        """What the tab shows, (H, W, 3) uint8 BGR."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        return image

    def downloads_to(self, folder: Path) -> None:
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))


@contextlib.contextmanager
def leaving(browser: Browser) -> Iterator[None]:
    """Leave the page before it closes: afterwards it would rightly complain."""
    try:
        yield
    finally:
        browser.call("Page.navigate", url="about:blank")
        browser.until("location.href === 'about:blank'")


def colour(browser: Browser) -> tuple[np.ndarray, int]:
    """BGR in the middle of the picture on the page, and the frame that it says it is."""
    script = """(() => { const c = document.getElementById('picture');
        const one = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
        one.drawImage(c, c.width / 2, c.height * 0.4, 1, 1, 0, 0, 1, 1);
        const d = one.getImageData(0, 0, 1, 1).data;
        return [d[2], d[1], d[0], Number(c.dataset.frame)]; })()"""
    *bgr, frame = browser.run(script)
    return np.array(bgr), frame


def _content(file: Path) -> str:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if file.exists() and len(file.read_text().split()) == 2:
            return file.read_text()
        time.sleep(0.05)
    raise AssertionError(f"Chromium did not start: {file} is missing")
