"""What every peer's script is given, with numpy alone: it runs in the peer's own environment.

A folder with net.onnx (float, (1, 3, H, W)), net.pt (an edgekit checkpoint) or net.pt2 (an exported PyTorch program),
calibration.npy and evaluation.npy (N, H, W, 3) uint8 RGB, cropped and resized, and input.json with mean and std.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np


class Work:
    """The folder, and what is in it."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.onnx = self.folder / "net.onnx"
        self.checkpoint = self.folder / "net.pt"
        self.program = self.folder / "net.pt2"
        what = json.loads((self.folder / "input.json").read_text())
        self._mean, self._std = (np.asarray(what[key], np.float64) for key in ("mean", "std"))

    def pixels(self, name: str) -> np.ndarray:
        """(N, H, W, 3) uint8; "calibration" or "evaluation"."""
        return np.load(self.folder / f"{name}.npy", mmap_mode="r")

    def batches(self, name: str, layout: str) -> Iterator[np.ndarray]:
        """The network's input, an image at a time: float32, "nchw" or "nhwc"."""
        return self.normalized(self.pixels(name), layout)

    def normalized(self, images: Iterable[np.ndarray], layout: str) -> Iterator[np.ndarray]:
        """The same for (H, W, 3) uint8 RGB images of the network's size."""
        gain, offset = (1.0 / (255.0 * self._std)).astype(np.float32), (-self._mean / self._std).astype(np.float32)
        for image in images:
            normalized = image[None].astype(np.float32) * gain + offset
            yield np.ascontiguousarray(normalized.transpose(0, 3, 1, 2)) if layout == "nchw" else normalized

    def write_answers(self, target: Path, ask: Callable[[np.ndarray], np.ndarray], layout: str) -> None:
        """Logits (N, classes) float32 of all evaluation images."""
        answers = [np.asarray(ask(image), np.float32).reshape(-1) for image in self.batches("evaluation", layout)]
        np.save(target, np.stack(answers))

    def time(self, ask: Callable[[np.ndarray], np.ndarray], layout: str, seconds: float) -> list[float]:
        """Seconds of each run on one image, after a few that do not count."""
        image = next(self.batches("evaluation", layout))
        for _ in range(5):
            ask(image)
        taken: list[float] = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            started = time.perf_counter()
            ask(image)
            taken.append(time.perf_counter() - started)
        return taken


def main(
    convert: Callable[[Work, Path, str], None],
    opened: Callable[[Work, Path, int], tuple[Callable[[np.ndarray], np.ndarray], str]],
) -> None:
    """`convert WORK TARGET VARIANT`, `answers WORK MODEL LOGITS`, or `time WORK MODEL THREADS SECONDS`."""
    verb, folder, model, *rest = sys.argv[1:]
    work, path = Work(folder), Path(model)
    if verb == "convert":
        convert(work, path, rest[0])
        return
    ask, layout = opened(work, path, int(rest[0]) if verb == "time" else 2)
    if verb == "answers":
        work.write_answers(Path(rest[0]), ask, layout)
    else:
        sys.stdout.write(json.dumps(work.time(ask, layout, float(rest[1]))))
