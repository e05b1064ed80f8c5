"""What every peer's script is given, with numpy alone: it runs in the peer's own environment.

A folder with net.onnx (float, (1, 3, H, W)), net.pt (an edgekit checkpoint) or net.pt2 (an exported PyTorch program),
calibration.npy and evaluation.npy (N, H, W, 3) uint8 RGB, cropped and resized, and input.json with mean and std.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


def same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Opened:
    """A file in its runtime.

    Attributes:
        layout: Of images for `coded`: "nchw" or "nhwc", with a batch of one.
        run: An input in the file's own form to an output in the file's own form.
        coded: A normalized float32 image to such an input.
        real: Such an output to logits.
    """

    layout: str
    run: Callable[[Any], Any]
    coded: Callable[[np.ndarray], Any] = same
    real: Callable[[Any], np.ndarray] = same

    def ask(self, image: np.ndarray) -> np.ndarray:
        """Logits (classes,) float32."""
        return np.asarray(self.real(self.run(self.coded(image))), np.float32).reshape(-1)


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


def write_answers(work: Work, opened: Opened, target: Path, count: int) -> None:
    """Logits (N, classes) float32 of the first `count` evaluation images; whole or not at all."""
    images = work.normalized(work.pixels("evaluation")[:count], opened.layout)
    unfinished = target.with_suffix(".part.npy")
    np.save(unfinished, np.stack([opened.ask(image) for image in images]))
    unfinished.rename(target)


def take_turns(work: Work, opened: Opened) -> None:
    """For each line of stdin, which holds seconds, a line of the seconds of each run on one image in that time.

    What the file is given is in its own form already; copying it in and the answer out counts.
    """
    image = opened.coded(next(work.batches("evaluation", opened.layout)))
    for _ in range(5):
        opened.run(image)
    print("ready", flush=True)
    for line in sys.stdin:
        taken: list[float] = []
        end = time.perf_counter() + float(line)
        while time.perf_counter() < end:
            started = time.perf_counter()
            opened.run(image)
            taken.append(time.perf_counter() - started)
        print(json.dumps(taken), flush=True)


def main(
    convert: Callable[[Work, Path, str], None],
    opened: Callable[[Work, Path, str, int], Opened],
) -> None:
    """`convert WORK FILE VARIANT`, `answers WORK FILE VARIANT LOGITS COUNT`, or `time WORK FILE VARIANT THREADS`."""
    verb, folder, model, variant, *rest = sys.argv[1:]
    work, path = Work(folder), Path(model)
    if verb == "convert":
        convert(work, path, variant)
    elif verb == "answers":
        write_answers(work, opened(work, path, variant, 2), Path(rest[0]), int(rest[1]))
    else:
        take_turns(work, opened(work, path, variant, int(rest[0])))
