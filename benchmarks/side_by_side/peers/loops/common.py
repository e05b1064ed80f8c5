"""What every loop is: frames of a network camera in, a line per answer out. numpy and OpenCV alone.

A line holds the moment of the answer (`time.monotonic`), the number in the frame, and the CPU seconds of the process so
far. The first line is the CPU seconds of one bare run of the network, or "null" where it cannot be had by itself.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import marks
import numpy as np

WARM_UP, BARE_SECONDS = 5, 1.0
TOP = 5


@dataclass(frozen=True)
class Task:
    """What a loop is to do.

    Attributes:
        model: For its runtime.
        url: Of the camera.
        labels: In logits order.
        mean, std: (3,) of the network's input in [0, 1].
        size: Height and width of it.
    """

    model: str
    url: str
    labels: list[str]
    mean: np.ndarray
    std: np.ndarray
    size: int


def read_task() -> Task:
    """From `LOOP TASK.json`; OpenCV keeps to one thread, as the others are told to."""
    cv2.setNumThreads(1)
    what = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    mean, std = (np.asarray(what[key], np.float32) for key in ("mean", "std"))
    return Task(what["model"], what["url"], what["labels"], mean, std, what["size"])


def tell_bare(run: Callable[[], object] | None) -> None:
    """The first line."""
    if run is None:
        print("null", flush=True)
        return
    for _ in range(WARM_UP):
        run()
    begun, count, end = time.process_time(), 0, time.monotonic() + BARE_SECONDS
    while time.monotonic() < end:
        run()
        count += 1
    print((time.process_time() - begun) / count, flush=True)


def tell(frame: np.ndarray) -> None:
    """The line of an answer."""
    print(time.monotonic(), marks.read(frame), time.process_time(), flush=True)


def best(probabilities: np.ndarray, labels: list[str]) -> list[tuple[str, float]]:
    """The first five, as every sample prints them."""
    order = np.argsort(probabilities)[::-1][:TOP]
    return [(labels[index], float(probabilities[index])) for index in order]


def dequantized(codes: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """As samples write it."""
    return (codes.astype(np.float32) - zero_point) * scale


def softmax(logits: np.ndarray) -> np.ndarray:
    """As samples write it."""
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()
