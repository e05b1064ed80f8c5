"""The optimizer, and its learning rates over a run."""

from __future__ import annotations

import math

import torch
from torch import nn

from edgekit.train.options import Options

FIRST_RATE = 0.04
MOMENTUM = 0.9


def make_optimizer(network: nn.Module, options: Options) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov's momentum, with rates of their own for backbone and classifier.

    Frozen weights are in it too: they have no gradient while they are frozen, and are left alone.
    """
    named = list(network.named_parameters())
    backbone = [value for name, value in named if not name.startswith("classifier.")]
    head = [value for name, value in named if name.startswith("classifier.")]
    groups = []
    for peak, values in ((options.lr, backbone), (options.head_lr, head)):
        # Normalizations and biases do not decay.
        for decay, chosen in (
            (options.weight_decay, [value for value in values if value.ndim > 1]),
            (0.0, [value for value in values if value.ndim == 1]),
        ):
            groups.append({"params": chosen, "peak": peak, "weight_decay": decay})
    # One kernel for all weights (fused): a tenth of a step is saved on small networks.
    if options.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=0.0, fused=True)
    optimizer = torch.optim.SGD(groups, lr=0.0, momentum=MOMENTUM, nesterov=True, fused=True)
    # Zero is where momentum begins anyway. PyTorch 2.13's fused kernel fails if some weights have theirs and others,
    # which were frozen until now, do not.
    for value in (*backbone, *head):
        optimizer.state[value]["momentum_buffer"] = torch.zeros_like(value)
    return optimizer


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
