"""Labelled images as users have them: folders, a CSV, CIFAR-10. Classes are matched by name, never by place."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import InputError
from edgekit.images import FileSet, ImageSet, labelled_folder
from edgekit.progress import console
from edgekit_quantize.report.labels import held_out, places_by_name, some

CIFAR10 = "cifar10"
_MAPPING = "With --classes CSV (wnid,label) you say which class of the data is which of the model."


def open_images(data: str, labels: Sequence[str], classes: Path | None = None) -> ImageSet:
    """Labelled images with the model's classes.

    Args:
        data: A folder DIR/<class>/* (DIR/test, else DIR/val in it is taken); a CSV with the columns file (relative
            to it) and label; or "cifar10", its test set.
        labels: Of the model, in output order.
        classes: A CSV with the columns wnid (what the data calls a class), label (what the model calls it) and, where
            the model has a label twice, index (its place in the model's output, from 0).

    Returns:
        A set whose `labels` are the model's, with targets in their order and names relative to the folder or CSV.

    Raises:
        InputError: Not there, no images, or a class that the model does not have.
        MissingError: CIFAR-10 cannot be had.
    """
    labels = tuple(labels)
    path = Path(data)
    if data == CIFAR10 and not path.exists():
        from edgekit.train import cifar10

        test = cifar10.load()[1]
        places = _places(test.labels, labels, None, data)
        images: ImageSet = replace(test, targets=places[test.targets], labels=labels)
    elif path.suffix.lower() == ".csv":
        images = _listed(path, labels, classes)
    else:
        # Val has chosen the epoch and the recipe.
        folder = held_out(path, ("test", "val"))
        if folder != path:
            console.print(f"Judging by {folder}.", markup=False, soft_wrap=True)
        found = labelled_folder(folder, keep_empty=True)
        places = _places(found.labels, labels, classes, str(folder))
        if not found.paths:
            raise InputError(f"{folder} must hold images, got empty class folders only.")
        _warn_of_empty(found)
        images = replace(found, targets=places[found.targets], labels=labels, root=folder)
    return images


def read_tags(path: Path, names: Sequence[str]) -> tuple[dict[str, str], ...]:
    """Subgroups of images: a CSV with the column file (a name as in `names`) and any others.

    Returns:
        For each name its other columns.

    Raises:
        InputError: No such CSV, no column beside file, an image listed twice, or one without a line.
    """
    rows = _read_csv(path, {"file"})
    if not rows or len(rows[0]) < 2:
        raise InputError(f"{path} must have a column of tags beside file, got none.")
    files = [Path(row["file"]).as_posix() for row in rows]
    _check_once(files, path)
    tags = {
        file: {key: value for key, value in row.items() if key != "file"} for file, row in zip(files, rows, strict=True)
    }
    if missing := [name for name in names if Path(name).as_posix() not in tags]:
        raise InputError(
            f"{path} must have a line for every image, got none for {some(missing)}.",
            "Name the files relative to the folder of images, as the report does.",
        )
    return tuple(tags[Path(name).as_posix()] for name in names)


def _listed(path: Path, labels: tuple[str, ...], classes: Path | None) -> FileSet:
    rows = _read_csv(path, {"file", "label"})
    if not rows:
        raise InputError(f"{path} must list images, got none.")
    _check_once([row["file"] for row in rows], path)
    if bare := [row["file"] for row in rows if not row["label"]]:
        raise InputError(f"{path} must give every file a label, got none for {some(bare)}.")
    used = tuple(sorted({row["label"] for row in rows}))
    places = dict(zip(used, _places(used, labels, classes, str(path)), strict=True))
    # A list may name files anywhere; a relative name stays what it is.
    paths = tuple(path.parent / row["file"] for row in rows)
    inside = all(not Path(row["file"]).is_absolute() for row in rows)
    targets = np.asarray([places[row["label"]] for row in rows], np.int64)
    return FileSet(paths, targets, labels, path.parent if inside else None)


def _places(theirs: Sequence[str], labels: tuple[str, ...], classes: Path | None, data: str) -> NDArray[np.int64]:
    """For each class of the data its index in the model's output: (classes of the data,) int64."""
    if classes is None:
        return places_by_name(theirs, labels, _MAPPING)
    mapping = _read_classes(classes, labels)
    if unknown := [name for name in theirs if name not in mapping]:
        raise InputError(f"{classes} must have a line for each class of {data}, got none for {some(unknown)}.")
    return np.asarray([mapping[name] for name in theirs], np.int64)


def _by_name(labels: Sequence[str]) -> dict[str, int]:
    """Labels that stand once."""
    counts = Counter(labels)
    return {label: place for place, label in enumerate(labels) if counts[label] == 1}


def _read_classes(path: Path, labels: tuple[str, ...]) -> Mapping[str, int]:
    rows = _read_csv(path, {"wnid", "label"})
    _check_once([row["wnid"] for row in rows], path)
    single, places = _by_name(labels), {}
    wrong: list[str] = []
    for row in rows:
        place = _indexed(row["index"], labels, path) if row.get("index") else single.get(row["label"])
        if place is None or labels[place] != row["label"]:
            found = "which the model has not, or twice" if place is None else f"which the model calls {labels[place]}"
            wrong.append(f"{row['wnid']} = {row['label']}, {found}")
        else:
            places[row["wnid"]] = place
    if wrong:
        raise InputError(
            f"{path} must give the model's own labels, got {some(wrong)}.",
            "Where the model has a label twice, add a column index.",
        )
    taken = Counter(places.values())
    if doubled := [labels[place] for place, count in taken.items() if count > 1]:
        raise InputError(f"{path} must name every class of the model once, got {some(doubled)} twice or more.")
    return places


def _indexed(text: str, labels: Sequence[str], path: Path) -> int:
    if not text.isdecimal() or int(text) >= len(labels):
        raise InputError(f"An index in {path} must be between 0 and {len(labels) - 1}, got {text!r}.")
    return int(text)


def _read_csv(path: Path, wanted: set[str]) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="", restkey="")
            columns = set(reader.fieldnames or ())
            if not wanted <= columns:
                raise InputError(
                    f"{path} must have the columns {some(sorted(wanted))}, got {some(sorted(columns)) or 'none'}."
                )
            return [{key: value for key, value in row.items() if key} for row in reader]
    except OSError as error:
        raise InputError(f"{path} must be a readable CSV, got: {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} must be a CSV in UTF-8, got: {error}.") from error


def _check_once(names: Sequence[str], path: Path) -> None:
    if doubled := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"{path} must list each file or class once, got {some(doubled)} twice or more.")


def _warn_of_empty(images: FileSet) -> None:
    counts = np.bincount(images.targets, minlength=len(images.labels))
    if empty := [label for label, count in zip(images.labels, counts, strict=True) if count == 0]:
        console.print(f"Without an image: {some(empty)}.", style="yellow", markup=False)
