"""The Raspberry Pi's own camera, by picamera2, as a source of frames."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from edgekit.errors import MissingError
from edgekit.preprocess import Image
from edgekit_deploy.sources.frames import DEFAULT_FPS, Frame, SourceLost
from edgekit_deploy.sources.options import SourceOptions
from edgekit_deploy.sources.reading import MOST_SECONDS_OLD, READ_SECONDS

DEFAULT_SIZE = (640, 480)
# libcamera names a format by the order in a little-endian word: this one is blue, green, red in memory.
BGR = "RGB888"
# Of a slow rate: less than after what the loop takes the camera for hung.
READ_PERIODS = 2.5
# Up to here every Raspberry Pi sensor delivers its whole field of view at half its resolution.
MOST_FPS_OF_WHOLE_VIEW = 40.0
HINT = "Check the ribbon cable and `rpicam-hello --list-cameras`, and that no other program has the camera."
INSTALL = (
    "Run: sudo apt install -y python3-picamera2, and make the venv with `python3 -m venv --system-site-packages`; "
    "pip cannot install it alone, because it needs the system's libcamera."
)


class PicameraSource:
    """A camera module through libcamera. See `Source`.

    The image processor scales to `size`, so that the CPU never touches the big picture.

    Args:
        number: Index among the cameras of libcamera.
        options: Size (even; 640×480 by default) and rate asked for.
    """

    def __init__(self, number: int = 0, options: SourceOptions | None = None) -> None:
        options = options or SourceOptions()
        self.name = f"picamera2 {number}"
        self.lossless = False
        self.is_live = True
        self.fps = options.fps or DEFAULT_FPS
        self.notes: list[str] = []
        self._number = number
        self._size = options.size or DEFAULT_SIZE
        self._granted: dict[str, Any] = {}
        self._module: Any = None
        self._camera: Any = None

    def __enter__(self) -> Self:
        """Open, configure and start the camera.

        Raises:
            MissingError: picamera2 is not installed, or cannot be loaded.
            SourceLost: No such camera, or it does not do what it is asked.
        """
        self._module = _picamera2()
        try:
            self._camera = _opened(self._module.Picamera2, self._number)
            self._start()
        except (RuntimeError, IndexError, ValueError, OSError) as error:
            self.__exit__()
            raise SourceLost(f"{self.name} must start, got: {error}.", HINT) from error
        if self._granted["format"] != BGR:
            self.__exit__()
            raise SourceLost(
                f"{self.name} must deliver {BGR}, got {self._granted['format']}.", "Use --source 0 for USB."
            )
        if self._granted["size"] != self._size:
            self.notes.append(f"{self.name}: asked for {_by(self._size)}, granted {_by(self._granted['size'])}.")
        return self

    def _start(self) -> None:
        duration = round(1e6 / self.fps)
        asked: dict[str, Any] = {
            "main": {"size": self._size, "format": BGR},
            "buffer_count": 4,
            "controls": {"FrameDurationLimits": (duration, duration)},
        }
        if self.fps <= MOST_FPS_OF_WHOLE_VIEW:
            # Left alone, libcamera takes a sensor mode near `size`, and those see only the middle of the scene.
            width, height = self._camera.sensor_resolution
            asked["raw"] = {"size": (width // 2, height // 2)}
        self._camera.configure(self._camera.create_video_configuration(**asked))
        self._granted = dict(self._camera.camera_configuration()["main"])
        self._camera.start()

    def __exit__(self, *exception: object) -> None:
        """Stop and close the camera."""
        camera, self._camera = self._camera, None
        if camera is not None:
            camera.stop()
            camera.close()

    def __iter__(self) -> Iterator[Frame]:
        """Frames for as long as the camera delivers.

        Raises:
            SourceLost: None came for READ_SECONDS, or two and a half frames' time, or libcamera failed.
        """
        start = time.monotonic()
        index = 0
        seconds = max(READ_SECONDS, READ_PERIODS / self.fps)
        while True:
            try:
                request = self._camera.capture_request(wait=False).get_result(timeout=seconds)
                try:
                    image, timestamp = self._copy(request), _captured_at(request.get_metadata())
                finally:
                    request.release()
            except (TimeoutError, RuntimeError, OSError) as error:
                reason = f": {error}" if str(error) else f" for {seconds:g} s"
                raise SourceLost(
                    f"{self.name} must keep delivering, got no frame{reason} after {index}.", HINT
                ) from error
            yield Frame(image, timestamp, index, timestamp - start)
            index += 1

    def _copy(self, request: Any) -> Image:
        """The picture in memory of our own; reading the camera's, which is not cached, more than once is slow."""
        width, height = self._granted["size"]
        stride = self._granted["stride"]
        with self._module.MappedArray(request, "main", reshape=False) as mapped:
            rows = mapped.array[: height * stride].reshape(height, stride)
            return np.array(rows[:, : 3 * width], order="C").reshape(height, width, 3)

    def describe(self) -> str:
        """What was granted, in one line."""
        return f"{self.name}: {self._granted['format']} {_by(self._granted['size'])} at {self.fps:g} fps"


def _opened(kind: Any, number: int) -> Any:
    """A `Picamera2`; one that cannot be made leaves nothing open, however often it is tried.

    Its constructor makes a pipe before it looks for the camera, and forgets it where there is none (picamera2 0.3).
    """
    camera = kind.__new__(kind)
    try:
        camera.__init__(number)
    except Exception:
        if getattr(camera, "is_open", False):
            camera.close()
        elif hasattr(camera, "notifyme_w"):
            camera.notifymeread.close()
            os.close(camera.notifyme_w)
        raise
    return camera


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


def _picamera2() -> Any:
    try:
        import picamera2
    except ModuleNotFoundError as error:
        raise MissingError(f"picamera2 must be installed, got no module {error.name}.", INSTALL) from error
    except (ImportError, ValueError) as error:  # built for another Python, or for numpy 1
        raise MissingError(
            f"picamera2 must load, got: {error}.",
            "Use the system's own Python, and the numpy that the system's packages were built for.",
        ) from error
    return picamera2


def _captured_at(metadata: dict[str, Any]) -> float:
    """time.monotonic() seconds of the first row; libcamera counts nanoseconds since boot, suspension included."""
    now = time.monotonic()
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - 1e-9 * metadata.get("SensorTimestamp", 0)
    return now - age if 0.0 <= age < MOST_SECONDS_OLD else now
