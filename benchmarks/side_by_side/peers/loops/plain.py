"""The script that everyone writes first: read, prepare in floats, invoke. LiteRT, the int8 file that edgekit made."""

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
    capture = cv2.VideoCapture(task.url)
    while True:
        is_read, frame = capture.read()
        if not is_read:
            sys.exit("Cannot read a frame")
        image = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), (task.size, task.size))
        real = (image.astype(np.float32) / 255.0 - task.mean) / task.std
        scale, zero_point = before["quantization"]
        codes = np.clip(np.round(real / scale) + zero_point, -128, 127).astype(np.int8)
        interpreter.set_tensor(before["index"], codes[None])
        interpreter.invoke()
        logits = dequantized(interpreter.get_tensor(after["index"])[0], *after["quantization"])
        best(softmax(logits), task.labels)
        tell(frame)


main()
