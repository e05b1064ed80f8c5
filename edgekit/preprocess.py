"""The one definition of preprocessing: training evaluation, calibration, report and camera all use it.

image (H, W, 3) uint8 → centred crop → resize → normalize → (int8) quantize. The steps are chosen so that a Pi and a
workstation feed the network the same bits; golden samples, which go through all of them, prove it on the spot.
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgekit.card import InputSpec, Quantization
from edgekit.errors import InputError
from edgekit.quant import quantize

Image = NDArray[np.uint8]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})


def read_image(path: str | Path) -> Image:
    """Decode an image file to RGB uint8 (H, W, 3); EXIF rotation applied, alpha dropped, grey widened.

    Raises:
        InputError: The file cannot be read as an image.
    """
    return np.asarray(cv2.cvtColor(read_bgr(path), cv2.COLOR_BGR2RGB), np.uint8)


def read_bgr(path: str | Path) -> Image:
    """As `read_image`, with its errors, but in OpenCV's order of colours."""
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise InputError(f"{path} must be a readable image, got: {error.strerror}.") from error
    return _decode_bgr(data, str(path))


def decode_image(data: bytes, name: str) -> Image:
    """As `read_image`, of a file's bytes; `name` stands in errors."""
    return np.asarray(cv2.cvtColor(_decode_bgr(np.frombuffer(data, np.uint8), name), cv2.COLOR_BGR2RGB), np.uint8)


def _decode_bgr(data: NDArray[np.uint8], name: str) -> Image:
    try:
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error as error:
        if "MAX_IMAGE" in error.err:
            raise InputError(
                f"{name} must have at most {os.environ['OPENCV_IO_MAX_IMAGE_PIXELS']} pixels, got more.",
                "Shrink it, or set OPENCV_IO_MAX_IMAGE_PIXELS if you trust it.",
            ) from error
        raise InputError(f"{name} must be an image that OpenCV can decode, got: {error.err}.") from error
    if bgr is None:
        got = f"{data.size} bytes that OpenCV cannot decode: cut off, damaged, or of another format"
        raise InputError(f"{name} must be an image, got {got}.")
    return np.asarray(bgr, np.uint8)


def crop_box(height: int, width: int, spec: InputSpec) -> tuple[int, int, int, int, int]:
    """The box that is cut from a height×width image, and the integer factor it is averaged down by.

    The box is centred, has the input's aspect ratio and covers `crop_fraction` of the largest such box. It is then
    trimmed to whole multiples of the factor.

    Returns:
        (top, left, box height, box width, factor), in pixels.
    """
    scale = min(height / spec.height, width / spec.width) * spec.crop_fraction
    factor = max(1, int(scale + 1e-9))
    box_height = max(1, min(height, round(spec.height * scale)) // factor) * factor
    box_width = max(1, min(width, round(spec.width * scale)) // factor) * factor
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width, factor


def crop_and_resize(image: Image, spec: InputSpec) -> Image:
    """Cut the centred box out of `image` and bring it to the input size; see `Resize.AREA_LINEAR`.

    Args:
        image: (H, W, 3) uint8, any channel order.
        spec: The model's input.

    Returns:
        (spec.height, spec.width, 3) uint8, channel order as `image`.

    Raises:
        InputError: `image` is not a colour image.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise InputError(f"An image must be (H, W, 3) uint8, got {image.shape} {image.dtype}.")
    top, left, box_height, box_width, factor = crop_box(image.shape[0], image.shape[1], spec)
    box = image[top : top + box_height, left : left + box_width]
    if factor > 1:
        shrunk_size = (box_width // factor, box_height // factor)
        box = np.asarray(cv2.resize(box, shrunk_size, interpolation=cv2.INTER_AREA), np.uint8)
    size = (spec.width, spec.height)
    return np.asarray(cv2.resize(box, size, interpolation=cv2.INTER_LINEAR_EXACT), np.uint8)


def normalize(pixels: Image, spec: InputSpec) -> NDArray[np.float32]:
    """(pixel / 255 - mean) / std on the last (RGB) axis; same shape, float32."""
    mean, std = np.asarray(spec.mean, np.float64), np.asarray(spec.std, np.float64)
    gain, offset = (1.0 / (255.0 * std)).astype(np.float32), (-mean / std).astype(np.float32)
    return pixels.astype(np.float32) * gain + offset


def normalized_range(spec: InputSpec) -> tuple[list[float], list[float]]:
    """What black and what white become when normalized: one value per channel (R, G, B) each."""
    pairs = list(zip(spec.mean, spec.std, strict=True))
    return [-mean / std for mean, std in pairs], [(1.0 - mean) / std for mean, std in pairs]


def quantization_table(spec: InputSpec, quantization: Quantization | None = None) -> NDArray[np.int8]:
    """Normalize and quantize as one look-up: int8 code of each pixel value.

    Args:
        spec: The model's input.
        quantization: Of the input tensor; default `spec.quantization`.

    Returns:
        (256, 3) int8, row = pixel value, column = R, G, B.

    Raises:
        InputError: The input is not quantized.
    """
    chosen = quantization or spec.quantization
    if chosen is None:
        raise InputError("The model's input must be int8, got a float model.", "Convert it with --recipe int8.")
    values = np.arange(256, dtype=np.float64)[:, None]
    real = (values / 255.0 - np.asarray(spec.mean)) / np.asarray(spec.std)
    return quantize(real, chosen.scale, chosen.zero_point)


def to_int8(pixels: Image, table: NDArray[np.int8]) -> NDArray[np.int8]:
    """Look every RGB pixel up in a `quantization_table`; same shape, int8."""
    return np.asarray(table[pixels, np.arange(3)], np.int8)
