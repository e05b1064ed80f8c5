"""A stand-in for picamera2, written after its source (0.3.x): what edgekit calls, with the same names and strictness.

It is not libcamera: it proves how edgekit calls picamera2, not how a Raspberry Pi answers.
"""

from __future__ import annotations

import concurrent.futures
import os
import threading
import time
import types
from collections.abc import Callable
from types import MappingProxyType

import numpy as np

# libcamera pads rows to this many bytes.
ALIGNMENT = 32
PADDING, RECYCLED = 0xAB, 0xCD


class Camera:
    """One scripted camera module behind the stand-in; `picture(i)` is BGR, an exception to raise, or None to hang."""

    def __init__(self, picture: Callable[[int], np.ndarray | Exception | None]) -> None:
        self.picture = picture
        self.sensor_resolution = (3280, 2464)
        self.only_format = ""
        self.delay = 0.0
        self.cameras = 1
        self.configured: dict = {}
        self.events: list[str] = []
        self.requests: list[_Request] = []

    def module(self) -> types.ModuleType:
        """What `import picamera2` gives."""
        module = types.ModuleType("picamera2")
        module.Picamera2 = type("Picamera2", (_Picamera2,), {"script": self})
        module.MappedArray = _MappedArray
        return module


class _Picamera2:
    script: Camera

    def __init__(self, camera_num: int = 0) -> None:
        self.is_open = False
        self.notifyme_r, self.notifyme_w = os.pipe2(os.O_NONBLOCK)
        self.notifymeread = os.fdopen(self.notifyme_r, "rb")
        script = self._script = self.script
        if camera_num >= script.cameras:
            raise IndexError("list index out of range")
        self.is_open = True
        self._config: dict | None = None
        self._started = False
        self._index = 0
        self.sensor_resolution = script.sensor_resolution
        script.events.append("open")

    def create_video_configuration(self, main=MappingProxyType({}), lores=None, raw=MappingProxyType({}),
                                   buffer_count=6, controls=MappingProxyType({})) -> dict:  # fmt: skip
        for stream in (main, lores or {}, raw):
            if bad := set(stream) - {"format", "size"}:
                raise ValueError(f"Bad key {bad}: valid stream configuration keys are ('format', 'size')")
        main = {"format": "XBGR8888", "size": (1280, 720), **main}
        width, height = main["size"]
        main["size"] = (width - width % 2, height - height % 2)
        return {
            "main": main,
            "lores": lores,
            "raw": {"format": "SBGGR10_CSI2P", "size": main["size"], **raw},
            "buffer_count": buffer_count,
            "controls": {"FrameDurationLimits": (33333, 33333), **controls},
        }

    def configure(self, camera_config: dict) -> None:
        for name in ("main", "raw"):
            size = camera_config[name]["size"]
            if type(size) is not tuple or len(size) != 2:
                raise RuntimeError(f"size in {name} stream should be (width, height)")
        self._config = camera_config
        main = camera_config["main"]
        main["format"] = self._script.only_format or main["format"]
        main["stride"] = -(-main["size"][0] * 3 // ALIGNMENT) * ALIGNMENT
        main["framesize"] = main["stride"] * main["size"][1]
        self._script.configured = camera_config

    def camera_configuration(self) -> dict | None:
        return self._config

    def start(self) -> None:
        if self._config is None:
            raise RuntimeError("Camera has not been configured")
        self._started = True
        self._script.events.append("start")

    def capture_request(self, wait=None, signal_function=None) -> _Job:
        assert self._started and wait is False
        picture = self._script.picture(self._index)
        self._index += 1
        job = _Job(concurrent.futures.Future())
        if isinstance(picture, Exception):
            job.future.set_exception(picture)
        elif picture is not None:
            request = _Request(picture, self._config)
            self._script.requests.append(request)
            threading.Timer(self._script.delay, job.future.set_result, [request]).start()
        return job

    def stop(self) -> None:
        self._started = False
        self._script.events.append("stop")

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self.notifymeread.close()
            os.close(self.notifyme_w)
            self._script.events.append("close")

    def __del__(self) -> None:
        self.close()


class _Job:
    def __init__(self, future: concurrent.futures.Future) -> None:
        self.future = future

    def get_result(self, timeout: float | None = None):
        return self.future.result(timeout=timeout)


class _Request:
    """A completed request; its buffer is written over as soon as it is given back, as a running camera does."""

    def __init__(self, picture: np.ndarray, config: dict) -> None:
        main = config["main"]
        height, width = picture.shape[:2]
        assert (width, height) == main["size"]
        self.buffer = np.full(main["framesize"] + 4096, PADDING, np.uint8)  # dma buffers come in whole pages
        rows = self.buffer[: main["framesize"]].reshape(height, main["stride"])
        rows[:, : 3 * width] = picture.reshape(height, 3 * width)
        self.taken = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 20_000_000
        self.released = 0
        self.mapped = 0

    def get_metadata(self) -> dict:
        assert not self.released
        return {"SensorTimestamp": self.taken, "ExposureTime": 9000}

    def release(self) -> None:
        self.released += 1
        self.buffer[:] = RECYCLED


class _MappedArray:
    def __init__(self, request: _Request, stream: str, reshape: bool = True, write: bool = True) -> None:
        assert stream == "main" and not request.released
        assert not reshape, "reshaping here copies padded rows once more"
        self._request = request

    def __enter__(self) -> _MappedArray:
        self._request.mapped += 1
        self.array = self._request.buffer
        return self

    def __exit__(self, *exception: object) -> None:
        del self.array
