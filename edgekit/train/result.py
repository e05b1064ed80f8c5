"""What a training run gave."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgekit.train.checkpoint import Checkpoint
from edgekit.train.evaluate import ClassScore
from edgekit.train.resume import Epoch


@dataclass(frozen=True)
class Result:
    """What training gave.

    Attributes:
        checkpoint: The network.
        epochs: What each epoch gave; after `--resume` those before it too.
        seconds: Wall-clock time of all epochs, reading the images not counted.
        skipped: One line per image that could not be read.
        fingerprint: Of the training images; "" if nothing was written.
        validation_fingerprint: Of all images that were validated on; "" if there were none, or nothing was written.
        classes: Of the validation images at the end, by name; empty without any.
        batch: Images per step, over all processes; fewer than asked for if the set is small.
    """

    checkpoint: Checkpoint
    epochs: list[Epoch]
    seconds: float
    skipped: tuple[str, ...] = ()
    fingerprint: str = ""
    validation_fingerprint: str = ""
    classes: dict[str, ClassScore] = field(default_factory=dict)
    batch: int = 0

    @property
    def mean_recall(self) -> float | None:
        """Mean of the classes' top-1 in [0, 1]: each counts alike, however many images it has; None without any."""
        found = [score.correct / score.images for score in self.classes.values() if score.images]
        return sum(found) / len(found) if found else None

    @property
    def images_per_second(self) -> float:
        """Mean rate over the epochs, validation included."""
        return sum(epoch.images for epoch in self.epochs) / max(self.seconds, 1e-9)

    @property
    def best(self) -> int | None:
        """Index of the epoch with the best validation, the last of equals; None without validation."""
        return best_of(self.epochs)


def best_of(epochs: list[Epoch]) -> int | None:
    """Index of the epoch with the best validation, the last of equals; None without validation.

    Where there were int8's epochs it is one of these: those before have not learned to bear its rounding.
    """
    has_aware = any(epoch.is_aware for epoch in epochs)
    judged = [
        (epoch.validation, index)
        for index, epoch in enumerate(epochs)
        if epoch.validation is not None and epoch.is_aware == has_aware
    ]
    return max(judged)[1] if judged else None
