"""The learning rate over a run."""

from __future__ import annotations

import math

import torch

FIRST_RATE = 0.04


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
