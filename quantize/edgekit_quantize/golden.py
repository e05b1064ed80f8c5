"""Golden samples: small real images and the exact codes that the finished model gives for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from edgekit.card import GoldenSample, InputSpec
from edgekit.errors import EdgekitError
from edgekit.preprocess import Image, crop_and_resize, quantization_table, to_int8
from edgekit.runtime import Kernels, Network

# Short side of a golden image in pixels: small, since they travel with the model, and unlike most input sizes, so that
# the replay covers cropping and resizing as well.
_SHORT_SIDE = 40
# Builtin kernels round differently in other versions and on other processors. Their distance from XNNPACK's result is
# the measure of that noise; on MobileNetV2 the spread between processors stayed below half of it (3 of 16 codes).
_MIN_BOUND = 8


@dataclass(frozen=True)
class Golden:
    """Golden samples as the card and the zip tail take them.

    Attributes:
        samples: For `Card.golden`.
        files: PNG bytes by name.
        builtin_runtime: For the card.
        builtin_bound: For the card, in codes.
    """

    samples: tuple[GoldenSample, ...]
    files: dict[str, bytes]
    builtin_runtime: str
    builtin_bound: int


# Of a file with float32 output: there are no codes to be exact about.
NO_GOLDEN = Golden((), {}, "", 0)


def make_golden(model: bytes, spec: InputSpec, images: Sequence[Image]) -> Golden:
    """Record what `model` gives for `images` under both sets of kernels.

    Args:
        model: The int8 flatbuffer.
        spec: Its input, quantized.
        images: RGB uint8 (H, W, 3) of any size, at least one.

    Raises:
        EdgekitError: The model does not run on XNNPACK here.
    """
    networks = {kernels: Network(model, 1, kernels) for kernels in (Kernels.XNNPACK, Kernels.BUILTIN)}
    if networks[Kernels.XNNPACK].kernels is Kernels.BUILTIN:
        raise EdgekitError("The int8 model must run on XNNPACK, got the builtin kernels.", "Is the CPU supported?")
    table = quantization_table(spec)
    samples, files, distance = [], {}, 0
    for number, image in enumerate(images):
        small = _shrink(image)
        name = f"golden/{number}.png"
        _, png = cv2.imencode(".png", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 9])
        codes = to_int8(crop_and_resize(small, spec), table)
        exact, builtin = networks[Kernels.XNNPACK].run(codes), networks[Kernels.BUILTIN].run(codes)
        distance = max(distance, int(np.abs(exact.astype(int) - builtin.astype(int)).max()))
        samples.append(GoldenSample(image=name, xnnpack=exact.tobytes(), builtin=builtin.tobytes()))
        files[name] = png.tobytes()
    return Golden(tuple(samples), files, networks[Kernels.BUILTIN].runtime, max(_MIN_BOUND, 2 * distance))


def _shrink(image: Image) -> Image:
    height, width = image.shape[:2]
    ratio = _SHORT_SIDE / min(height, width)
    if ratio >= 1.0:
        return image
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
