"""Whether what an epoch has left is any good: numbers at all, and how many images it knows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

from edgekit.train.evaluate import BATCH, by_class, confusion, predict
from edgekit.train.run import Run
from edgekit.train.tally import NotFinite, remedy_of


def is_finite(run: Run) -> bool:
    """Whether all weights and statistics are numbers; every process must ask."""
    values = [value for network in (run.network, run.judged) for value in network.state_dict().values()]
    finite = torch.stack([value.isfinite().all() for value in values if value.is_floating_point()]).all()
    return not run.world.any(not finite.item())


def validate(run: Run, is_stopped: Callable[[], bool] = bool) -> tuple[float, float] | None:
    """Top-1 in [0, 1], and the mean cross-entropy of the labels, over all processes' shares; fills `run.classes`.

    Args:
        run: The run.
        is_stopped: Asked after each batch.

    Returns:
        None without validation images, or if a process was stopped.

    Raises:
        NotFinite: The network's answers.
    """
    if run.val_set is None:
        return None
    run.world.share(run.judged.buffers())
    pixels, targets = run.val_set.pixels, run.val_set.targets
    # No more at a time than a step has: what training fits into is enough for validation too.
    batch = min(BATCH, max(1, run.batch // run.world.size))
    # In float32, as whoever uses the network will.
    logits = predict(run.judged, pixels, run.options.spec, device=run.world.device, batch=batch, is_stopped=is_stopped)
    if run.world.any(is_stopped()):
        return None
    if run.world.any(not logits.isfinite().all().item()):
        raise NotFinite("The network's answers must stay finite, got others in validation.", remedy_of(run.options))
    found = run.world.total(confusion(logits, targets, len(run.train_set.labels)))
    run.classes = by_class(found, run.train_set.labels)
    loss = run.world.total(F.cross_entropy(logits, targets, reduction="sum").double()).item()
    images = int(found.sum())
    return int(found.diagonal().sum()) / images, loss / images
