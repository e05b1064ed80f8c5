"""Runs on the emulated Pi, under the counting plugin: MediaPipe Tasks' ImageClassifier on a whole frame.

mediapipe_frame.py TASK.tflite        (as `edgekit convert --mediapipe` writes it)
"""

from __future__ import annotations

import sys

import cv2
import mediapipe as mp
import numpy as np
from marker import EMPTY, FRAME, count
from mediapipe.tasks import python as tasks
from mediapipe.tasks.python import vision

TOP = 5


def main(model: str) -> None:
    """Nothing, and a 640×480 BGR frame to the five best classes; the network alone cannot be marked."""
    cv2.setNumThreads(1)
    frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    options = vision.ImageClassifierOptions(base_options=tasks.BaseOptions(model_asset_path=model), max_results=TOP)
    with vision.ImageClassifier.create_from_options(options) as classifier:

        def classify() -> object:
            image = mp.Image(image_format=mp.ImageFormat.SRGB, data=cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
            return classifier.classify(image)

        count({EMPTY: lambda: None, FRAME: classify})
    print("counted")


if __name__ == "__main__":
    main(sys.argv[1])
