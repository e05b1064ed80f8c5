"""Camera pixels into the network's input tensor, bit-equal to `edgekit.preprocess`, and several times faster.

Everything that can be made once is made once, and two things are computed in another way:

- Resizing is done on four channels: OpenCV has vector code for those, not for three, and channels do not mix.
- Normalize and quantize is one straight line per channel, rounded. OpenCV draws lines in vector code but looks up
  bytes one by one; a line is taken only where float32 cannot round it to another code than the table holds.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edgekit.card import InputSpec
from edgekit.errors import InputError
from edgekit.preprocess import Image, crop_box, quantization_table

# int8 code + 128 = the same bits with the sign bit turned.
_SIGN_BIT = np.int8(-128)
# Codes: float32 arithmetic on values up to 255 errs by less than 1e-4.
_SAFE_MARGIN = 4e-4


class Line(NamedTuple):
    """code + 128 = round(gain · pixel + offset), clipped to 0…255."""

    gain: float
    offset: float


IDENTITY = Line(1.0, 0.0)


class FastInput:
    """Writes frames into an input tensor. Not thread-safe: the buffers are reused.

    Args:
        spec: The model's input, int8.

    Raises:
        InputError: The input is not quantized.
    """

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec
        table = quantization_table(spec)
        self._lines = _lines(table, spec)
        self._table = table.view(np.uint8)[None].copy()
        self._resized = np.empty((spec.height, spec.width, 4), np.uint8)
        self._rgb = np.empty((spec.height, spec.width, 3), np.uint8)
        self._planes = [np.empty((spec.height, spec.width), np.uint8) for _ in range(4)]
        self._frame_shape: tuple[int, ...] = ()

    def write(self, frame: Image, tensor: NDArray[np.int8]) -> None:
        """Crop, resize, BGR→RGB, normalize and quantize.

        Args:
            frame: (H, W, 3) uint8, BGR; any size from 1×1.
            tensor: (height, width, 3) int8, written in place; RGB.

        Raises:
            InputError: The frame has another shape or dtype.
        """
        self._resize(frame)
        codes = tensor.view(np.uint8)
        if not self._lines:
            cv2.cvtColor(self._resized, cv2.COLOR_BGRA2RGB, dst=self._rgb)
            cv2.LUT(self._rgb, self._table, dst=codes)
            return
        if self._lines[0] == self._lines[1] == self._lines[2]:
            cv2.cvtColor(self._resized, cv2.COLOR_BGRA2RGB, dst=codes)
            if self._lines[0] != IDENTITY:
                cv2.convertScaleAbs(codes, dst=codes, alpha=self._lines[0].gain, beta=self._lines[0].offset)
        else:
            cv2.split(self._resized, self._planes)
            rgb = self._planes[2::-1]
            for plane, line in zip(rgb, self._lines, strict=True):
                cv2.convertScaleAbs(plane, dst=plane, alpha=line.gain, beta=line.offset)
            cv2.merge(rgb, dst=codes)
        np.bitwise_xor(tensor, _SIGN_BIT, out=tensor)

    def _resize(self, frame: Image) -> None:
        """As `edgekit.preprocess.crop_and_resize`, into `_resized`: BGR and a channel that nobody reads."""
        if frame.shape != self._frame_shape or frame.dtype != np.uint8:
            self._make_room(frame)
        top, left, height, width, factor = self._box
        box = frame[top : top + height, left : left + width]
        if factor > 1:
            cv2.resize(box, self._shrunk.shape[1::-1], dst=self._shrunk, interpolation=cv2.INTER_AREA)
            box = self._shrunk
        cv2.cvtColor(box, cv2.COLOR_BGR2BGRA, dst=self._four)
        size = (self._spec.width, self._spec.height)
        cv2.resize(self._four, size, dst=self._resized, interpolation=cv2.INTER_LINEAR_EXACT)

    def _make_room(self, frame: Image) -> None:
        """Box and buffers for frames of this size: a camera's stays the same."""
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or 0 in frame.shape:
            raise InputError(f"A frame must be (H, W, 3) uint8, got {frame.shape} {frame.dtype}.")
        self._box = crop_box(frame.shape[0], frame.shape[1], self._spec)
        _, _, height, width, factor = self._box
        self._shrunk = np.empty((height // factor, width // factor, 3), np.uint8)
        self._four = np.empty((height // factor, width // factor, 4), np.uint8)
        self._frame_shape = frame.shape


def _lines(table: NDArray[np.int8], spec: InputSpec) -> list[Line]:
    """One line for each of R, G, B; none if one of them has none."""
    scale = spec.quantization.scale if spec.quantization else 1.0
    lines = [line_of(table[:, channel], 1.0 / (255.0 * spec.std[channel] * scale)) for channel in range(3)]
    found = [line for line in lines if line is not None]
    return found if len(found) == len(lines) else []


def line_of(codes: NDArray[np.int8], gain: float) -> Line | None:
    """The line that gives these codes, as far from every rounding boundary as its gain allows.

    Args:
        codes: (256,) int8, one per pixel value: a column of `edgekit.preprocess.quantization_table`.
        gain: Codes per pixel value, above 0.

    Returns:
        None where float32 might round a value to the next code.
    """
    # Six digits are enough for any table, and make a gain of one exactly that.
    gain = round(gain, 6)
    wanted = codes.astype(np.float64) + 128.0
    rest = wanted - gain * np.arange(256.0)
    # A clipped value may lie beyond 255 by any amount, but not below 0: OpenCV takes the absolute value.
    low, high = float((rest - 0.5).max()), float((rest + 0.5)[wanted < 255.0].min(initial=np.inf))
    if not 2.0 * _SAFE_MARGIN <= high - low < np.inf:
        return None
    return Line(gain, (low + high) / 2.0)
