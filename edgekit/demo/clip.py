"""A labelled clip: held-out images, each on screen for half a second, with some motion."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgekit.errors import InputError
from edgekit.files import whole_file, write_whole
from edgekit.images import ImageSet
from edgekit.preprocess import Image
from edgekit.progress import progress_bar

WIDTH, HEIGHT, FPS = 640, 480, 30
FRAMES_PER_IMAGE = FPS // 2
# The image is drawn a little larger than the frame is high, and drifts and breathes within that margin.
_MARGIN, _DRIFT, _ZOOM = 1.08, 10.0, 0.03


@dataclass(frozen=True)
class Clip:
    """A video and what it shows.

    Attributes:
        video: The .mp4.
        truth: CSV for `edgekit camera --truth`.
        starts: First frame of each image.
        classes: Class index of each image.
    """

    video: Path
    truth: Path
    starts: tuple[int, ...]
    classes: tuple[int, ...]


def make_clip(images: ImageSet, count: int, folder: Path, seed: int) -> Clip:
    """Write `clip.mp4` (640×480, 30 fps) and `clip.csv` from `count` images, classes in turn.

    Raises:
        InputError: The video cannot be written.
    """
    rng = np.random.default_rng(seed)
    chosen = _in_turn(images.targets, count, rng)
    video, truth = folder / "clip.mp4", folder / "clip.csv"
    with whole_file(video) as temporary, progress_bar(unit="images") as bar:
        task = bar.add_task("make clip", total=len(chosen))
        writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
        if not writer.isOpened():
            raise InputError(f"{video} must be writable as MPEG-4, got a refusal from OpenCV.")
        try:
            for index in chosen:
                for frame in _moving(images.image(int(index)), rng):
                    writer.write(frame)
                bar.advance(task)
        finally:
            writer.release()
    starts = tuple(range(0, FRAMES_PER_IMAGE * len(chosen), FRAMES_PER_IMAGE))
    classes = tuple(int(images.targets[i]) for i in chosen)
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["frame", "label"])
    rows.writerows((start, images.labels[target]) for start, target in zip(starts, classes, strict=True))
    write_whole(truth, table.getvalue())
    return Clip(video, truth, starts, classes)


def _in_turn(targets: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of `count` random images, one class after the other, over and over."""
    pools = [rng.permutation(np.flatnonzero(targets == label)) for label in np.unique(targets)]
    turns = [pool[turn] for turn in range(1 + count // len(pools)) for pool in pools if turn < len(pool)]
    return np.asarray(turns[:count], np.int64)


def _moving(image: Image, rng: np.random.Generator) -> list[Image]:
    """BGR frames (480, 640, 3) in which the image drifts and zooms slightly."""
    height, width = image.shape[:2]
    angle = rng.uniform(0.0, 2.0 * np.pi)
    direction = _DRIFT * np.array([np.cos(angle), np.sin(angle)])
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    frames = []
    for step in np.linspace(-1.0, 1.0, FRAMES_PER_IMAGE):
        scale = HEIGHT / min(height, width) * _MARGIN * (1.0 + _ZOOM * step)
        x, y = np.array([WIDTH, HEIGHT]) / 2 - scale * np.array([width, height]) / 2 + direction * step
        matrix = np.array([[scale, 0.0, x], [0.0, scale, y]])
        frame = cv2.warpAffine(
            bgr,
            matrix,
            (WIDTH, HEIGHT),
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(40, 40, 40),
        )
        frames.append(np.asarray(frame, np.uint8))
    return frames
