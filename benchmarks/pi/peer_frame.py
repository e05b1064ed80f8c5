"""Runs on the emulated Pi, under the counting plugin: as frame.py, with another runtime and the usual preparation.

peer_frame.py SCRIPT FOLDER MODEL VARIANT        (a script of side_by_side/peers/, and the folder that it was given)
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import cv2
import numpy as np
from common import Work
from marker import EMPTY, FRAME, INVOKE, PREPARE, count

TOP = 5


def main(script: str, folder: str, model: str, variant: str) -> None:
    """Nothing, the network alone, the preparation alone, and a 640×480 BGR frame to the five best classes."""
    cv2.setNumThreads(1)
    work = Work(folder)
    opened = importlib.import_module(script).opened(work, Path(model), variant, 1)
    side = work.pixels("evaluation").shape[1]
    frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)

    def prepare() -> np.ndarray:
        image = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), (side, side))
        return opened.coded(next(work.normalized([image], opened.layout)))

    def classify() -> list[int]:
        logits = np.asarray(opened.real(opened.run(prepare())), np.float32).reshape(-1)
        powers = np.exp(logits - logits.max())
        return list(np.argsort(powers / powers.sum())[::-1][:TOP])

    image = prepare()
    count({EMPTY: lambda: None, INVOKE: lambda: opened.run(image), PREPARE: prepare, FRAME: classify})
    print("counted")


if __name__ == "__main__":
    main(*sys.argv[1:])
