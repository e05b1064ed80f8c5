"""Runs on the emulated Pi, under the counting plugin: marks where `invoke` and whole frames begin and end.

frame.py model.tflite
"""

from __future__ import annotations

import ctypes
import sys

import cv2
import numpy as np

from edgekit_deploy.classifier import Classifier

# As count.c has it.
MARKER = 0x45444745
WARM_UP, REPEATS = 3, 3
(EMPTY, INVOKE, PREPARE, FRAME) = range(4)
_libc = ctypes.CDLL(None)


def mark(tag: int) -> None:
    """Tell the plugin."""
    _libc.getpriority(MARKER, tag)


def main(path: str) -> None:
    """REPEATS times nothing, the network alone, the input alone, and a 640×480 BGR frame to the five best classes."""
    cv2.setNumThreads(1)
    classifier = Classifier.open(path, threads=1, top_k=5)
    frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    work = {
        EMPTY: lambda: None,
        INVOKE: classifier.network.invoke,
        PREPARE: lambda: classifier.prepare(frame),
        FRAME: lambda: classifier.classify(frame),
    }
    for tag, call in work.items():
        for _ in range(WARM_UP):
            call()
        for _ in range(REPEATS):
            mark(tag)
            call()
            mark(tag)
    print(classifier.network.runtime, classifier.network.kernels)


if __name__ == "__main__":
    main(sys.argv[1])
