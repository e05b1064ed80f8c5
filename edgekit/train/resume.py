"""What an interrupted training run leaves on disk, and how it is picked up again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgekit.card import from_plain, to_plain
from edgekit.errors import InputError
from edgekit.train import checkpoint as checkpoints
from edgekit.train.checkpoint import Checkpoint
from edgekit.train.data import PixelSet
from edgekit.train.options import Options


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
class Progressed:
    """What goes into the file beside the weights."""

    options: Options
    optimizer: torch.optim.Optimizer
    epochs: list[Epoch]
    fingerprint: str


@dataclass(frozen=True)
class Restored:
    """What comes out of it."""

    state: dict[str, Tensor]
    optimizer: dict[str, Any]
    epochs: list[Epoch]


def last_path(out: str | Path) -> Path:
    """`model.last.pt` for `model.pt`."""
    out = Path(out)
    return out.with_name(f"{out.stem}.last.pt")


def store(path: Path, checkpoint: Checkpoint, progressed: Progressed) -> None:
    """Write the state after an epoch; the file is whole at any moment.

    Raises:
        InputError: The disk is full or the folder is gone.
    """
    resume = {
        "options": to_plain(progressed.options),
        "optimizer": progressed.optimizer.state_dict(),
        "epochs": to_plain(progressed.epochs),
        "data": progressed.fingerprint,
    }
    checkpoints.save(path, replace(checkpoint, resume=resume))


def restore(path: Path, options: Options, train_set: PixelSet) -> Restored:
    """Read such a file.

    Raises:
        InputError: It is missing, damaged, or belongs to a run with other options or other images.
    """
    if not path.is_file():
        raise InputError(f"--resume must find {path}, got nothing there.", "Leave --resume out to start anew.")
    checkpoint = checkpoints.load(path)
    resume = checkpoint.resume
    if resume is None:
        raise InputError(f"{path} must be an unfinished run, got a finished checkpoint.", "Leave --resume out.")
    try:
        before = from_plain(Options, resume["options"], "options")
        epochs = [from_plain(Epoch, item, "epochs") for item in resume["epochs"]]
        optimizer, data = resume["optimizer"], resume["data"]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} must hold a run's state, got one without {error}.", "Leave --resume out.") from error
    if differences := before.differences(options):
        raise InputError(
            f"--resume must continue with the same options, got {'; '.join(differences)}.",
            "Repeat the first command, or leave --resume out.",
        )
    if data != train_set.fingerprint() or checkpoint.labels != train_set.labels:
        raise InputError("--resume must continue with the same images, got others.", "Leave --resume out.")
    return Restored(checkpoint.state, optimizer, epochs)
