"""Real video files for tests, written with OpenCV."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def write_clip(path: Path, pictures, fps: float = 25.0) -> Path:
    """A video of BGR uint8 pictures of one even size."""
    height, width = pictures[0].shape[:2]
    codec = {".mp4": "mp4v", ".avi": "MJPG"}[path.suffix]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (width, height))
    assert writer.isOpened()
    for picture in pictures:
        writer.write(picture)
    writer.release()
    return path


def colour_pictures(colours, each: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """`each` pictures of every colour (BGR triples), with a moving bar so that a codec has something to do."""
    pictures = []
    for colour in colours:
        for step in range(each):
            picture = np.full((height, width, 3), colour, np.uint8)
            picture[:, step % width] = 128
            pictures.append(picture)
    return pictures


def read_clip(path: Path) -> tuple[list[np.ndarray], float]:
    """All pictures of a video, and its frame rate."""
    capture = cv2.VideoCapture(str(path))
    assert capture.isOpened(), f"{path} does not play"
    fps = capture.get(cv2.CAP_PROP_FPS)
    pictures = []
    while True:
        ok, picture = capture.read()
        if not ok:
            capture.release()
            return pictures, fps
        pictures.append(picture)
