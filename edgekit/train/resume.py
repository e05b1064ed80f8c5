"""What an interrupted training run leaves on disk, and how it is picked up again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from edgekit.card import from_plain, to_plain
from edgekit.errors import InputError
from edgekit.train import checkpoint as checkpoints
from edgekit.train.checkpoint import Checkpoint
from edgekit.train.data import PixelSet
from edgekit.train.options import Options

ANEW = "Delete it to start anew."


@dataclass(frozen=True)
class Epoch:
    """One pass over the training set.

    Attributes:
        loss: Mean over its images, while they were trained on.
        accuracy: Likewise, in [0, 1].
        validation: Top-1 on the validation set after it, in [0, 1]; None without one.
        images: How many were trained on.
        seconds: Wall-clock time, validation included.
    """

    loss: float
    accuracy: float
    validation: float | None
    images: int
    seconds: float

    def __str__(self) -> str:
        """One line for the terminal."""
        validation = "" if self.validation is None else f", validation {100 * self.validation:.1f} %"
        rate = self.images / max(self.seconds, 1e-9)
        return f"loss {self.loss:.3f}, accuracy {100 * self.accuracy:.1f} %{validation}, {rate:.0f} images/s"


@dataclass(frozen=True)
class Partial:
    """An epoch that was stopped between two steps.

    Attributes:
        steps: How many are done.
        seen: Images trained on.
        correct: How many of them were right.
        loss_sum: Of their losses.
        seconds: Spent on it.
        generator: State of the epoch's generator, uint8.
        random: Of torch's global one, uint8.
    """

    steps: int
    seen: int
    correct: int
    loss_sum: float
    seconds: float
    generator: Tensor
    random: Tensor


@dataclass(frozen=True)
class Progressed:
    """What goes into the file beside the weights."""

    options: Options
    optimizer: torch.optim.Optimizer
    epochs: list[Epoch]
    fingerprint: str
    partial: Partial | None


@dataclass(frozen=True)
class Restored:
    """What comes out of it."""

    state: dict[str, Tensor]
    labels: tuple[str, ...]
    optimizer: dict[str, Any]
    epochs: list[Epoch]
    fingerprint: str
    partial: Partial | None


def last_path(out: str | Path) -> Path:
    """`model.last.pt` for `model.pt`."""
    out = Path(out)
    return out.with_name(f"{out.stem}.last.pt")


def store(path: Path, checkpoint: Checkpoint, progressed: Progressed) -> None:
    """Write the state after an epoch or a step; the file is whole at any moment.

    Raises:
        InputError: The disk is full or the folder is gone.
    """
    resume = {
        "options": to_plain(progressed.options),
        "optimizer": progressed.optimizer.state_dict(),
        "epochs": to_plain(progressed.epochs),
        "data": progressed.fingerprint,
        "partial": vars(progressed.partial) if progressed.partial else None,
    }
    checkpoints.save(path, replace(checkpoint, resume=resume))


def look(out: Path, options: Options, resume: bool) -> Restored | None:
    """What the run that writes to `out` begins from; asked before any image is read.

    Args:
        out: Where the finished checkpoint will be.
        options: Of the run.
        resume: Whether to go on with an unfinished one.

    Returns:
        Its state; None for a new run.

    Raises:
        InputError: There is nothing to go on with, or there is and nobody said what to do with it.
    """
    last = last_path(out)
    if resume:
        return restore(last, options) if last.is_file() else _nothing_to_resume(out, last)
    if last.exists():
        raise InputError(
            f"A new run must not overwrite an unfinished one, got {last}.", f"Add --resume, or {ANEW.lower()}"
        )
    return None


def _nothing_to_resume(out: Path, last: Path) -> NoReturn:
    if out.is_file():
        raise InputError(
            f"--resume must find {last}, got {out}, which is already finished.", "Leave --resume out to train it anew."
        )
    raise InputError(f"--resume must find {last}, got nothing there.", "Leave --resume out to start anew.")


def restore(path: Path, options: Options) -> Restored:
    """Read the file of an unfinished run.

    Raises:
        InputError: It is damaged, or belongs to a run with other options.
    """
    checkpoint = checkpoints.load(path)
    resume = checkpoint.resume
    if resume is None:
        raise InputError(f"{path} must be an unfinished run, got a finished checkpoint.", ANEW)
    try:
        before = from_plain(Options, resume["options"], "options")
        epochs = [from_plain(Epoch, item, "epochs") for item in resume["epochs"]]
        optimizer, data = resume["optimizer"], resume["data"]
        partial = Partial(**resume["partial"]) if resume["partial"] else None
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} must hold a run's state, got one without {error}.", ANEW) from error
    if differences := before.differences(options):
        raise InputError(
            f"--resume must continue with the same options, got {'; '.join(differences)}.",
            f"Repeat the first command, or delete {path} to start anew.",
        )
    return Restored(checkpoint.state, checkpoint.labels, optimizer, epochs, data, partial)


def check_same_images(before: Restored, train_set: PixelSet) -> None:
    """Make sure that the run goes on with the images that it began with.

    Raises:
        InputError: They are others.
    """
    if before.fingerprint != train_set.fingerprint() or before.labels != train_set.labels:
        raise InputError(
            "--resume must continue with the same images, got others.", "Bring them back, or give another --out."
        )
