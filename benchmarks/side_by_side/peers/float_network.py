"""The float network for peers that start from PyTorch."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from common import Work

sys.path.insert(0, str(Path(__file__).parents[3]))


def load(work: Work) -> torch.nn.Module:
    """It takes (N, 3, H, W) float32 and is in evaluation mode."""
    if work.checkpoint.exists():
        from edgekit.train import checkpoint

        return checkpoint.load(work.checkpoint).network()
    return torch.export.load(work.program).module()
