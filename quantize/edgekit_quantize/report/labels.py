"""Whose class is whose: checkpoint, card and image folder are matched by the **names** of the classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.card import Card, InputSpec
from edgekit.errors import InputError
from edgekit.images import FileSet, ImageSet, labelled_folder

_NAMED = 5
_REMEDY = "Give the network that the model was converted from."


def held_out_folder(folder: str | Path) -> FileSet:
    """The labelled images of `folder/val`, else `folder/test`, else `folder` itself.

    Raises:
        InputError: As `labelled_folder`.
    """
    return labelled_folder(held_out(Path(folder), ("val", "test")))


def held_out(folder: Path, names: Sequence[str]) -> Path:
    """The first of `names` that is a folder in `folder`, else `folder` itself."""
    return next((folder / name for name in names if (folder / name).is_dir()), folder)


def check_same_task(labels: tuple[str, ...], spec: InputSpec, card: Card) -> None:
    """Make sure that a reference with these labels and this input answers the model's question about the same crop.

    Mean and standard deviation may differ: each model gets its own normalization of the same pixels.

    Raises:
        InputError: Other classes, another order of classes, another input size or crop.
    """
    check_classes(labels, card.labels, "reference", _REMEDY)
    for name in ("height", "width", "crop_fraction", "resize"):
        ours, theirs = getattr(card.input, name), getattr(spec, name)
        if ours != theirs:
            raise InputError(f"The reference's input {name} must be the model's, {ours}, got {theirs}.", _REMEDY)


def check_same_reference(reference_sha256: str, card: Card) -> None:
    """Refuse a float network that the model was not made from: the comparison would say nothing about the conversion.

    Raises:
        InputError: The hashes differ. An empty one counts as unknown.
    """
    known = card.provenance.reference_sha256
    if reference_sha256 and known and reference_sha256 != known:
        raise InputError(
            f"The reference must be the network that the model was converted from (sha256 {known[:12]}…), "
            f"got another one ({reference_sha256[:12]}…).",
            "Give that one, or convert this one.",
        )


def targets_by_name(images: ImageSet, labels: tuple[str, ...]) -> NDArray[np.int64]:
    """The class of each image as an index into the model's `labels`; the set may hold fewer classes, in any order.

    Returns:
        (N,) int64.

    Raises:
        InputError: An image without a class, a class that the model does not know, or one that it has twice.
    """
    targets = np.asarray(images.targets, np.int64)
    if not len(targets) or targets.min() < 0 or targets.max() >= len(images.labels):
        raise InputError(
            "Every image must have a class, got some without (or no image at all).",
            "Sort the images as <folder>/<class>/*.jpg.",
        )
    if tuple(images.labels) == labels:
        return targets
    return places_by_name(images.labels, labels)[targets]


def places_by_name(theirs: Sequence[str], labels: tuple[str, ...], otherwise: str = "") -> NDArray[np.int64]:
    """For each class of the data its index in the model's output, by name.

    Args:
        theirs: Classes of the data, in any order.
        labels: The model's, in output order.
        otherwise: What else the user can do where names do not fit, as one sentence.

    Returns:
        (classes of the data,) int64.

    Raises:
        InputError: A class that the model does not know, or one that it has twice.
    """
    if double := [label for label in theirs if labels.count(label) > 1]:
        raise InputError(
            f"A class name must stand once in the model's labels, got {some(double)} twice or more.", otherwise
        )
    if unknown := [label for label in theirs if label not in labels]:
        raise InputError(
            f"The image classes must be among the model's {len(labels)} ({some(labels)}), got {some(unknown)}.",
            f"Rename or remove them. {otherwise}".strip(),
        )
    return np.asarray([labels.index(label) for label in theirs], np.int64)


def check_classes(theirs: tuple[str, ...], ours: tuple[str, ...], whose: str, remedy: str) -> None:
    """Make sure that the labels of `whose` file are the model's (`ours`), place by place.

    Raises:
        InputError: Other classes or another order; those that differ are named.
    """
    if theirs == ours:
        return
    extra = [label for label in theirs if label not in ours]
    missing = [label for label in ours if label not in theirs]
    if extra or missing:
        raise InputError(
            f"The {whose}'s {len(theirs)} classes must be the model's {len(ours)}, got "
            f"{some(extra) or 'none'} only in the {whose} and {some(missing) or 'none'} only in the model.",
            remedy,
        )
    if len(theirs) != len(ours):
        raise InputError(f"The {whose} must have {len(ours)} classes, got {len(theirs)}.", remedy)
    moved = [f"{i}: {a} ≠ {b}" for i, (a, b) in enumerate(zip(theirs, ours, strict=True)) if a != b]
    raise InputError(f"The {whose}'s classes must be in the model's order, got {some(moved)}.", remedy)


def some(names: Iterable[str]) -> str:
    """The first few of many names."""
    names = list(names)
    tail = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + tail
