"""What an interrupted training run leaves on disk, and how it is picked up again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from torch import Tensor

from edgekit.card import from_plain, to_plain
from edgekit.errors import InputError
from edgekit.train import checkpoint as checkpoints
from edgekit.train.checkpoint import Checkpoint
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
        validation_loss: Mean cross-entropy of the validation set's labels; None without one.
        is_aware: Whether it was one of int8's epochs.
    """

    loss: float
    accuracy: float
    validation: float | None
    images: int
    seconds: float
    validation_loss: float | None = None
    is_aware: bool = False

    def __str__(self) -> str:
        """One line for the terminal."""
        validation = "" if self.validation is None else f", validation {100 * self.validation:.1f} %"
        if self.validation_loss is not None:
            validation += f" (loss {self.validation_loss:.3f})"
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
    """

    steps: int
    seen: int
    correct: int
    loss_sum: float
    seconds: float


@dataclass(frozen=True)
class Data:
    """What tells whether two runs see the same images.

    Attributes:
        labels: Class names.
        training: Fingerprint of the images that are trained on.
        validation: Of those that judge; "" without any.
    """

    labels: tuple[str, ...]
    training: str
    validation: str


@dataclass(frozen=True)
class Progress:
    """Where a run stands; in the file it lies beside the weights that would be kept now.

    Attributes:
        options: Of the run.
        data: What it was trained on.
        network: `state_dict` of the network that is trained, which is not the one that is kept if weights are averaged.
        average: Of the averaged weights, if there are any.
        optimizer: Its state.
        scaler: Of fp16's gradients.
        epochs: What each gave.
        shares: Images per step, and for each process that shared them how many workers decoded, see `feed.Feed`.
        partial: An epoch that was begun, or None.
    """

    options: Options
    data: Data
    network: dict[str, Tensor]
    average: dict[str, Tensor] | None
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    epochs: list[Epoch]
    shares: tuple[int, ...]
    partial: Partial | None

    def check_same(self, data: Data, shares: tuple[int, ...]) -> None:
        """Make sure that the run goes on with the images that it began with, each once in an epoch.

        Raises:
            InputError: They are others, or an epoch was begun by steps of another size.
        """
        if self.data != data:
            raise InputError(
                "--resume must continue with the same images, got others.", "Bring them back, or give another --out."
            )
        if self.partial is not None and self.shares != shares:
            raise InputError(
                f"--resume must finish an epoch as it began, by {_said(self.shares)}, got {_said(shares)}.",
                "Use as many processes and cores as before.",
            )


def last_path(out: str | Path) -> Path:
    """`model.last.pt` for `model.pt`."""
    out = Path(out)
    return out.with_name(f"{out.stem}.last.pt")


def best_path(out: str | Path) -> Path:
    """`model.best.pt` for `model.pt`."""
    out = Path(out)
    return out.with_name(f"{out.stem}.best.pt")


def store(path: Path, kept: Checkpoint, progress: Progress) -> None:
    """Write the state after an epoch or a step; the file is whole at any moment.

    Args:
        path: Where.
        kept: What the finished checkpoint would be now.
        progress: What is needed to go on.

    Raises:
        InputError: The disk is full or the folder is gone.
    """
    resume = {
        "options": to_plain(progress.options),
        "network": progress.network if progress.average is not None else None,
        "average": progress.average,
        "optimizer": progress.optimizer,
        "scaler": progress.scaler,
        "epochs": to_plain(progress.epochs),
        "data": to_plain(progress.data),
        "batch_and_workers": list(progress.shares),
        "partial": vars(progress.partial) if progress.partial else None,
    }
    checkpoints.save(path, replace(kept, resume=resume))


def look(out: Path, options: Options, resume: bool) -> Progress | None:
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


def restore(path: Path, options: Options) -> Progress:
    """Read the file of an unfinished run.

    Raises:
        InputError: It is damaged, or belongs to a run with other options.
    """
    checkpoint = checkpoints.load(path)
    resume = checkpoint.resume
    if resume is None:
        raise InputError(f"{path} must be an unfinished run, got a finished checkpoint.", ANEW)
    try:
        found = Progress(
            options=from_plain(Options, resume["options"], "options"),
            data=from_plain(Data, resume["data"], "data"),
            network=resume["network"] or checkpoint.state,
            average=resume["average"],
            optimizer=resume["optimizer"],
            scaler=resume["scaler"],
            epochs=[from_plain(Epoch, item, "epochs") for item in resume["epochs"]],
            shares=from_plain(tuple[int, ...], resume["batch_and_workers"], "batch_and_workers"),
            partial=Partial(**resume["partial"]) if resume["partial"] else None,
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} must hold a run's state, got one without {error}.", ANEW) from error
    if differences := found.options.differences(options):
        raise InputError(
            f"--resume must continue with the same options, got {'; '.join(differences)}.",
            f"Repeat the first command, or delete {path} to start anew.",
        )
    return found


def _said(shares: tuple[int, ...]) -> str:
    batch, *workers = shares
    decoding = f" with {', '.join(map(str, workers))} workers" if any(workers) else ""
    return f"{batch} images a step in {len(workers)} process{'es' * (len(workers) > 1)}{decoding}"
