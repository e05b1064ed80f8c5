"""The logic of TensorFlow's Raspberry Pi example, rewritten by us: it needs tflite-support, which ended at Python 3.11.

As lite/examples/image_classification/raspberry_pi/classify.py: read, mirror, BGR to RGB, classify, until the camera is
closed or a frame cannot be read. What its Task Library does in C++ (resize, quantize, softmax, sort) is done here with
OpenCV and numpy on the same int8 file; no window, as for the others.
"""

from __future__ import annotations

import sys

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from common import best, dequantized, read_task, softmax, tell, tell_bare


def main() -> None:
    """Until a frame cannot be read."""
    task = read_task()
    interpreter = Interpreter(task.model, num_threads=1)
    interpreter.allocate_tensors()
    before, after = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    tell_bare(interpreter.invoke)
    # One table for all pixels, as a compiled Task Library has no Python to pay for.
    (scale, zero_point), pixels = before["quantization"], np.arange(256, dtype=np.float32)[:, None] / 255.0
    table = np.clip(np.round((pixels - task.mean) / task.std / scale) + zero_point, -128, 127).astype(np.int8)
    capture = cv2.VideoCapture(task.url)
    while capture.isOpened():
        is_read, frame = capture.read()
        if not is_read:
            sys.exit("ERROR: Unable to read from webcam. Please verify your webcam settings.")
        image = cv2.cvtColor(cv2.flip(frame, 1), cv2.COLOR_BGR2RGB)
        image = cv2.resize(image, (task.size, task.size))
        interpreter.set_tensor(before["index"], cv2.LUT(image, table[None]).view(np.int8)[None])
        interpreter.invoke()
        logits = dequantized(interpreter.get_tensor(after["index"])[0], *after["quantization"])
        best(softmax(logits), task.labels)
        tell(frame)


main()
