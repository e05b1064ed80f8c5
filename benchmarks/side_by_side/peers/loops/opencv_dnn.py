"""The logic of OpenCV's samples/dnn/classification.py on the float ONNX file: blobFromImage, forward, softmax."""

from __future__ import annotations

import cv2
import numpy as np
from common import best, read_task, softmax, tell, tell_bare


def main() -> None:
    """Until a frame cannot be read; the sample then waits for a key and ends."""
    task = read_task()
    network = cv2.dnn.readNetFromONNX(task.model)
    network.setInput(np.zeros((1, 3, task.size, task.size), np.float32))
    tell_bare(network.forward)
    mean = [255.0 * float(value) for value in task.mean]
    capture = cv2.VideoCapture(task.url)
    while True:
        is_read, frame = capture.read()
        if not is_read:
            break
        blob = cv2.dnn.blobFromImage(frame, 1.0 / 255.0, (task.size, task.size), mean, True, False)
        network.setInput(blob / task.std.reshape(1, 3, 1, 1))
        best(softmax(network.forward().flatten()), task.labels)
        tell(frame)


main()
