"""Generated pictures that a tiny network can tell apart: stripes, blobs and gradients in random colours."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

CLASSES = ("blobs", "gradients", "stripes")


def picture(kind: str, rng: np.random.Generator, size: int = 48) -> np.ndarray:
    """RGB uint8 (size, size, 3)."""
    rows, columns = np.mgrid[0:size, 0:size] / size
    angle = rng.uniform(0, np.pi)
    along = rows * np.sin(angle) + columns * np.cos(angle)
    if kind == "stripes":
        pattern = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(4, 8) * along)
    elif kind == "blobs":
        pattern = cv2.GaussianBlur(rng.normal(size=(size, size)), (0, 0), 4)
        pattern = (pattern - pattern.min()) / np.ptp(pattern)
    else:
        pattern = (along - along.min()) / np.ptp(along)
    first, second = rng.uniform(0, 255, (2, 3))
    noise = rng.normal(0, 4, (size, size, 3))
    return np.clip(pattern[..., None] * first + (1 - pattern[..., None]) * second + noise, 0, 255).astype(np.uint8)


def tinted(image: np.ndarray, target: int) -> np.ndarray:
    """With red, green or blue added by class: a network that fails at this was given wrong pairs, not bad luck."""
    return (image // 4 + 150 * np.eye(len(CLASSES))[target]).astype(np.uint8)


def write_folder(folder: Path, per_class: int, seed: int, size: int = 48) -> Path:
    """`folder/<class>/<n>.png`."""
    rng = np.random.default_rng(seed)
    for kind in CLASSES:
        (folder / kind).mkdir(parents=True)
        for number in range(per_class):
            rgb = picture(kind, rng, size)
            cv2.imwrite(str(folder / kind / f"{number:03}.png"), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return folder
