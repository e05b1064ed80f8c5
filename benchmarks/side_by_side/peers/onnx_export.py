"""PyTorch's own exporter to ONNX, as its documentation calls it: what comes before a route that begins there.

onnx_export.py FOLDER FILE
"""

from __future__ import annotations

import sys

import float_network
import torch
from common import Work


def main(folder: str, target: str) -> None:
    """Write FILE."""
    work = Work(folder)
    example = torch.from_numpy(next(work.batches("calibration", "nchw")))
    torch.onnx.export(float_network.load(work), (example,), target, dynamo=True, external_data=False, verbose=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
