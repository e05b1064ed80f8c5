"""`edgekit camera` with a camera and a clock that can be made to fail from outside; the rest is the real command.

    python -m benchmarks.faults.entry camera model.tflite --source 0 …

FAULT_CAMERA names a folder: `clip.mp4` in it is what the camera sees, again and again at 30 fps, and the text in
`state` is what ails it (see `Device`). It takes OpenCV's place where edgekit opens /dev/videoN.
FAULT_CLOCK names a file that holds the seconds by which the time of day is wrong.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

FPS = 30.0
FOREVER = 3600.0


class Device:
    """What cv2.VideoCapture is to edgekit.

    States: "well", "unplugged" (reads and openings fail), "blocked" (a read does not return), "stuck" (an opening does
    not return), "empty" (pictures of no pixels), "broken" (OpenCV fails to decode), "grey" (one channel), "resized"
    (half the size).
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._clip = cv2.VideoCapture(str(folder / "clip.mp4"))
        self._next = time.monotonic()

    def isOpened(self) -> bool:
        """It is plugged in."""
        state = self._state()
        if state == "stuck":
            time.sleep(FOREVER)
        return state != "unplugged"

    def set(self, key: int, value: float) -> bool:
        """Every wish is granted."""
        return True

    def get(self, key: int) -> float:
        """As of the clip."""
        return FPS if key == cv2.CAP_PROP_FPS else float(self._clip.get(key))

    def release(self) -> None:
        """Let go of the clip."""
        self._clip.release()

    def read(self) -> tuple[bool, Any]:
        """The next picture in time, or what the state makes of it."""
        state = self._state()
        if state == "unplugged":
            return False, None
        if state == "blocked":
            time.sleep(FOREVER)
        self._next = max(self._next + 1.0 / FPS, time.monotonic())
        time.sleep(max(0.0, self._next - time.monotonic()))
        if state == "empty":
            return True, np.empty((0, 0, 3), np.uint8)
        if state == "broken":
            raise cv2.error("imdecode: the picture is cut off")
        return True, self._altered(self._picture(), state)

    def _state(self) -> str:
        return (self._folder / "state").read_text()

    def _picture(self) -> Any:
        delivered, picture = self._clip.read()
        if not delivered:
            self._clip.set(cv2.CAP_PROP_POS_FRAMES, 0)
            picture = self._clip.read()[1]
        return picture

    @staticmethod
    def _altered(picture: Any, state: str) -> Any:
        if state == "grey":
            return cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        return picture[::2, ::2].copy() if state == "resized" else picture


def _shift_clock(file: Path) -> None:
    """Before anything of edgekit is imported: it may keep the function."""
    now: Callable[[], float] = time.time
    time.time = lambda: now() + float(file.read_text())
    time.time_ns = lambda: int(1e9 * time.time())


def main() -> None:
    """The command, after the environment was prepared."""
    if clock := os.environ.get("FAULT_CLOCK"):
        _shift_clock(Path(clock))
    from edgekit import cli

    if folder := os.environ.get("FAULT_CAMERA"):
        from edgekit_deploy.sources import v4l2

        v4l2._open_camera = lambda number: Device(Path(folder))
    sys.exit(cli.run(sys.argv[1:]))


if __name__ == "__main__":
    main()
