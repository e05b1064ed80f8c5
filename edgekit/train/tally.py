"""What the steps of an epoch gave, and whether the loss is still a number."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from edgekit.errors import InputError
from edgekit.train.options import NO_FILES, Options
from edgekit.train.resume import Partial

SHOWN = 3


class NotFinite(InputError):
    """Training has come to something that is no number."""


def remedy_of(options: Options, losses: Sequence[float] = (), *, is_first: bool = False) -> str:
    """What likely was the cause, and what to do.

    Args:
        options: Of the run.
        losses: The last ones, where they are known.
        is_first: It was the very first loss, from which no rate has had any part.
    """
    if options.amp == "fp16":
        return "Numbers likely became too large for fp16: use --amp bf16 or off."
    if is_first:
        files = [name for name in (options.weights, options.teacher) if name and name not in NO_FILES]
        return f"Nothing was learned yet: {' or '.join(files) or 'the images or the weights'} may be damaged."
    if losses and max(losses) < 10 and options.weights not in ("none", "imagenet"):
        return f"The weights of {options.weights} may be damaged, or --lr is too high for them."
    return "The learning rate is likely too high: use a lower --lr and --head-lr, or see --find-lr."


class Tally:
    """Sums over an epoch; what a GPU still computes waits until it is looked at.

    Args:
        before: What was done of the epoch before this process began.
        processes: How many share each batch: `seen` counts for all of them, the other sums for this one.
    """

    def __init__(self, before: Partial, processes: int) -> None:
        self.steps, self.seen, self.correct, self.loss_sum = before.steps, before.seen, before.correct, before.loss_sum
        self._processes = processes
        # What `correct` and `loss_sum` are sums over.
        self._mine = before.seen
        self._began = time.perf_counter() - before.seconds
        self._waiting: list[tuple[Tensor, Tensor, int, float]] = []
        self._rate = 0.0
        self._losses: deque[float] = deque(maxlen=SHOWN)

    @property
    def seconds(self) -> float:
        """Spent on the epoch."""
        return time.perf_counter() - self._began

    def add(self, loss: Tensor, hits: Tensor, images: int, rate: float) -> None:
        """A step of this process: mean loss, images that were right, images, learning rate of the backbone."""
        self._waiting.append((loss, hits, images, rate))

    def look(self) -> float | None:
        """Take in what waits; a loss that is no number ends that, and is given back."""
        for loss, hits, images, rate in self._waiting:
            value = loss.item()
            self.steps += 1
            self._rate = rate
            if not math.isfinite(value):
                return value
            self._losses.append(value)
            self.seen += images * self._processes
            self._mine += images
            self.correct += int(hits)
            self.loss_sum += value * images
        self._waiting.clear()
        return None

    def texts(self) -> dict[str, str]:
        """Fields of the progress bar."""
        mine = max(1, self._mine)
        return {
            "loss": f"loss {self.loss_sum / mine:.3f}",
            "accuracy": f"accuracy {100 * self.correct / mine:.1f} %",
            "rate": f"{self.seen / self.seconds:.0f} images/s",
        }

    def sums(self) -> Tensor:
        """(loss sum, correct) of this process, float64."""
        return torch.tensor([self.loss_sum, self.correct], dtype=torch.float64)

    def not_finite(self, what: str, got: str, options: Options, epoch: int) -> NotFinite:
        """What to raise where the last step has left something that is no number.

        Args:
            what: The loss or the weights.
            got: Instead of a number.
            options: Of the run.
            epoch: Index of the epoch.
        """
        losses = list(self._losses)
        before = f" (losses before: {', '.join(f'{loss:.3g}' for loss in losses)})" if losses else ""
        return NotFinite(
            f"The {what} must stay finite, got {got} in step {self.steps} of epoch {epoch + 1}, at a rate of "
            f"{self._rate:.2g}{before}.",
            remedy_of(options, losses, is_first=what == "loss" and self.steps == 1 and epoch == 0),
        )
