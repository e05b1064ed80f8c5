"""A frame's number, painted into the frame: tells a loop's age from outside, whatever is between camera and answer.

Only numpy, since it also runs in the peers' environments.
"""

from __future__ import annotations

import numpy as np

BITS, SIDE = 20, 16


def paint(picture: np.ndarray, number: int) -> np.ndarray:
    """A copy of an (H, W, 3) uint8 picture with `number` in its upper left corner, as black and white squares."""
    marked = picture.copy()
    for bit in range(BITS):
        marked[:SIDE, bit * SIDE : (bit + 1) * SIDE] = 255 * (number >> bit & 1)
    return marked


def read(picture: np.ndarray) -> int:
    """The number again; squares are far larger than what JPEG smears."""
    bits = picture[SIDE // 2, SIDE // 2 : BITS * SIDE : SIDE, 1] > 127
    return sum(1 << place for place, bit in enumerate(bits) if bit)
