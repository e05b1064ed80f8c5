"""What the user asks of a source."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgekit.errors import InputError
from edgekit_deploy.sources.frames import LEAST_FPS, MOST_FPS

# Marks a GStreamer pipeline.
PREFIX = "gst:"
MOST_PIXELS_A_SIDE = 16384


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Wishes; None leaves it to the source. Cameras may grant something else, and say so.

    Attributes:
        fast: Read a file or stdin as fast as it is consumed, every frame, instead of in real time.
        size: Width and height, pixels.
        fps: Frames per second.
        fourcc: Pixel format by its four letters, such as MJPG or YUYV.

    Raises:
        InputError: A size, rate or format that cannot be.
    """

    fast: bool = False
    size: tuple[int, int] | None = None
    fps: float | None = None
    fourcc: str | None = None

    def __post_init__(self) -> None:
        if self.size is not None and not all(1 <= side <= MOST_PIXELS_A_SIDE for side in self.size):
            width, height = self.size
            raise InputError(f"--size must be 1 to {MOST_PIXELS_A_SIDE} pixels a side, got {width}x{height}.")
        if self.fps is not None and not LEAST_FPS <= self.fps <= MOST_FPS:
            raise InputError(f"--fps must be {LEAST_FPS:g} to {MOST_FPS:g}, got {self.fps:g}.")
        if self.fourcc is not None and not re.fullmatch(r"[A-Z0-9]{4}", self.fourcc):
            raise InputError(f"--format must be four capital letters or digits, got {self.fourcc!r}.", "Try MJPG.")


def parse_size(text: str) -> tuple[int, int]:
    """Width and height of "640x480".

    Raises:
        InputError: Written in another way.
    """
    found = re.fullmatch(r"(\d{1,6})[xX×](\d{1,6})", text.strip())
    if not found:
        raise InputError(f"--size must be WIDTHxHEIGHT in pixels, such as 640x480, got {text!r}.")
    return int(found[1]), int(found[2])
