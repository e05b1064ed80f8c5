"""PyTorch itself, eager or compiled."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from common import Work, main

sys.path.insert(0, str(Path(__file__).parents[2]))


def convert(work: Work, target: Path, variant: str) -> None:
    target.write_text(variant)


def opened(work: Work, model: Path, threads: int):
    from edgekit.train import checkpoint

    torch.set_num_threads(threads)
    network = checkpoint.load(work.checkpoint).network().to(memory_format=torch.channels_last)
    if model.read_text() == "compiled":
        network = torch.compile(network)

    def ask(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(image).contiguous(memory_format=torch.channels_last)).numpy()

    return ask, "nchw"


main(convert, opened)
