"""Runs on the emulated Pi, under the counting plugin: marks where `invoke` and whole frames begin and end.

frame.py model.tflite
"""

from __future__ import annotations

import sys

import cv2
import numpy as np
from marker import EMPTY, FRAME, INVOKE, PREPARE, count

from edgekit_deploy.classifier import Classifier


def main(path: str) -> None:
    """Nothing, the network alone, the input alone, and a 640×480 BGR frame to the five best classes."""
    cv2.setNumThreads(1)
    classifier = Classifier.open(path, threads=1, top_k=5)
    frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    count(
        {
            EMPTY: lambda: None,
            INVOKE: classifier.network.invoke,
            PREPARE: lambda: classifier.prepare(frame),
            FRAME: lambda: classifier.classify(frame),
        }
    )
    print(classifier.network.runtime, classifier.network.kernels)


if __name__ == "__main__":
    main(sys.argv[1])
