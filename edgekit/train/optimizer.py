"""AdamW, and its learning rates over a run."""

from __future__ import annotations

import math

import torch
from torch import nn

from edgekit.train.options import Options

FIRST_RATE = 0.04


def adamw(network: nn.Module, options: Options) -> torch.optim.Optimizer:
    """Three groups: the backbone's kernels, its normalizations (no decay), the classifier; frozen weights in none."""
    named = [(name, value) for name, value in network.named_parameters() if value.requires_grad]
    head = [value for name, value in named if name.startswith("classifier.")]
    kernels = [value for name, value in named if not name.startswith("classifier.") and value.ndim > 1]
    norms = [value for name, value in named if not name.startswith("classifier.") and value.ndim == 1]
    groups = [
        {"params": kernels, "peak": options.lr, "weight_decay": options.weight_decay},
        {"params": norms, "peak": options.lr, "weight_decay": 0.0},
        {"params": head, "peak": options.head_lr, "weight_decay": options.weight_decay},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=0.0)


def share_of_peak(done: float, warmup: float) -> float:
    """One cycle: up along a cosine during warm-up, then down to zero along a longer one.

    Args:
        done: Share of all steps, [0, 1].
        warmup: Share of all steps in which it rises.

    Returns:
        What to multiply each peak rate with, (0, 1]; 0 at the very end.
    """
    if done < warmup:
        return FIRST_RATE + (1.0 - FIRST_RATE) * 0.5 * (1.0 - math.cos(math.pi * done / warmup))
    return 0.5 * (1.0 + math.cos(math.pi * (done - warmup) / (1.0 - warmup)))


def set_rates(optimizer: torch.optim.Optimizer, warmup: float, done: float) -> None:
    """Give each group its share of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share_of_peak(done, warmup)
