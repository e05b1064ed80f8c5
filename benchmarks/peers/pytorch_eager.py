"""PyTorch itself, eager or compiled."""

from __future__ import annotations

from pathlib import Path

import float_network
import numpy as np
import torch
from common import Work, main


def convert(work: Work, target: Path, variant: str) -> None:
    target.write_text(variant)


def opened(work: Work, model: Path, threads: int):
    torch.set_num_threads(threads)
    network = float_network.load(work).to(memory_format=torch.channels_last)
    if model.read_text() == "compiled":
        network = torch.compile(network)

    def ask(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(image).contiguous(memory_format=torch.channels_last)).numpy()

    return ask, "nchw"


if __name__ == "__main__":
    main(convert, opened)
