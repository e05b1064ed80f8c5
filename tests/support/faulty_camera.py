"""A live source that follows a script of faults, and reading from it."""

from __future__ import annotations

import threading
import time

import numpy as np

from edgekit_deploy import capture as capture_module
from edgekit_deploy.capture import Capture
from edgekit_deploy.sources.frames import Frame, SourceLost

PICTURE = np.zeros((4, 4, 3), np.uint8)


def quicken(monkeypatch) -> None:
    """Real threads and real pauses, a hundredth as long."""
    monkeypatch.setattr(capture_module, "PAUSES", (0.005, 0.01, 0.02))
    monkeypatch.setattr(capture_module, "HANG_SECONDS", 2.0)
    monkeypatch.setattr(capture_module, "HANG_PERIODS", 0.0)
    monkeypatch.setattr(capture_module, "OPEN_SECONDS", 0.3)
    monkeypatch.setattr(capture_module, "SLOW_SECONDS", 0.1)
    monkeypatch.setattr(capture_module, "JOIN_SECONDS", 1.0)


class Camera:
    """One opening of a camera that follows a script: "frame", "bad", seconds to sleep, error, "hang", "hang open"."""

    lossless, is_live, fps = False, True, 30.0

    def __init__(self, script, stop):
        self.name, self.notes, self.script, self.stop = "camera", [], script, stop
        self.delivered = self.closed = 0

    def __enter__(self):
        if self.script[:1] == ["hang open"]:
            self.stop.wait(20)
        if self.script and isinstance(self.script[0], OSError | SourceLost) and getattr(self.script[0], "early", False):
            raise self.script[0]
        return self

    def __exit__(self, *exception):
        self.closed += 1

    def describe(self):
        assert not self.closed, "nothing is left that could tell"
        return f"{self.name}: open"

    def __iter__(self):
        index = -1
        for step in self.script:
            index += step in ("frame", "bad")
            if step == "frame":
                self.delivered += 1
                yield Frame(PICTURE, time.monotonic(), index, 0.0)
            elif step == "hang":
                self.stop.wait(20)
            elif isinstance(step, BaseException):
                raise step
            elif not isinstance(step, str):
                time.sleep(step)


class Cameras:
    """Gives one `Camera` after another, with the scripts in turn; the last one for ever."""

    def __init__(self, *scripts):
        self.scripts, self.given, self.stop = list(scripts), [], threading.Event()

    def __call__(self):
        script = self.scripts[min(len(self.given), len(self.scripts) - 1)]
        self.given.append(Camera(script, self.stop))
        return self.given[-1]

    def captured(self):
        return sum(camera.delivered for camera in self.given)


def lost(early=False):
    error = SourceLost("camera must keep delivering, got no frame.")
    error.early = early
    return error


def read(cameras, wanted, seconds=10.0, reopen=True):
    """`wanted` frames, the troubles told meanwhile, and the capture, closed."""
    frames, troubles = [], []
    end = time.monotonic() + seconds
    with Capture(cameras(), cameras if reopen else None) as capture:
        while len(frames) < wanted and not capture.is_over:
            assert time.monotonic() < end, f"{len(frames)} of {wanted} frames, trouble {capture.trouble!r}"
            frame = capture.get(0.02)
            if frame is not None:
                frames.append(frame)
            if capture.trouble not in troubles[-1:]:
                troubles.append(capture.trouble)
    return frames, troubles, capture


STEADY = ["frame", 0.002] * 1000
