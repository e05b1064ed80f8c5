"""MediaPipe Tasks' ImageClassifier in live-stream mode, on the file of `edgekit convert --mediapipe`.

As its Raspberry Pi sample: read, mirror, BGR to RGB, classify_async; answers come to a callback, and MediaPipe drops
frames that it has no time for.
"""

from __future__ import annotations

import sys
import time

import cv2
import mediapipe as mp
from common import TOP, read_task, tell, tell_bare
from mediapipe.tasks import python as tasks
from mediapipe.tasks.python import vision


def main() -> None:
    """Until a frame cannot be read."""
    task = read_task()

    def answered(_answer: object, image: mp.Image, _milliseconds: int) -> None:
        # The picture is mirrored, and the mark with it.
        tell(image.numpy_view()[:, ::-1])

    options = vision.ImageClassifierOptions(
        base_options=tasks.BaseOptions(model_asset_path=task.model),
        running_mode=vision.RunningMode.LIVE_STREAM,
        max_results=TOP,
        result_callback=answered,
    )
    tell_bare(None)
    with vision.ImageClassifier.create_from_options(options) as classifier:
        capture = cv2.VideoCapture(task.url)
        while capture.isOpened():
            is_read, frame = capture.read()
            if not is_read:
                sys.exit("ERROR: Unable to read from webcam. Please verify your webcam settings.")
            image = cv2.cvtColor(cv2.flip(frame, 1), cv2.COLOR_BGR2RGB)
            classifier.classify_async(mp.Image(mp.ImageFormat.SRGB, image), time.time_ns() // 1_000_000)


main()
