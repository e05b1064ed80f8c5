"""What each epoch gave, for TensorBoard."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from edgekit.train.resume import Epoch


class Log:
    """Event files in a folder; use as a context manager. Without a folder nothing is written."""

    def __init__(self, folder: Path | None = None) -> None:
        self._writer: SummaryWriter | None = None
        if folder is not None:
            # TensorBoard's own switch: without this module it imports TensorFlow where there is one, for seconds, and
            # lets it talk.
            sys.modules.setdefault("tensorboard.compat.notf", ModuleType("notf"))
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def epoch(self, number: int, epoch: Epoch, rate: float) -> None:
        """Tell of an epoch, counted from 1, and the learning rate at its end."""
        if self._writer is None:
            return
        values = {
            "loss/training": epoch.loss,
            "top-1/training": epoch.accuracy,
            "learning rate/backbone": rate,
            "speed/images per second": epoch.images / max(epoch.seconds, 1e-9),
        }
        if epoch.validation is not None:
            values["top-1/validation"] = epoch.validation
        if epoch.validation_loss is not None:
            values["loss/validation"] = epoch.validation_loss
        for name, value in values.items():
            self._writer.add_scalar(name, value, number)
        self._writer.flush()
