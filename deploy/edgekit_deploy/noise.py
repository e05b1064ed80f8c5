"""The picture that everything is timed on."""

from __future__ import annotations

import numpy as np

from edgekit.preprocess import Image

FRAME_HEIGHT, FRAME_WIDTH = 480, 640


def noise_frame() -> Image:
    """(480, 640, 3) uint8 of fixed noise: no compressor or branch predictor gets it easy."""
    return np.random.default_rng(0).integers(0, 256, (FRAME_HEIGHT, FRAME_WIDTH, 3), dtype=np.uint8)
