"""The image files of a folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from edgekit.errors import InputError
from edgekit.preprocess import IMAGE_SUFFIXES


def list_images(folder: str | Path) -> list[Path]:
    """Image files anywhere below `folder`, sorted; hidden files and folders left out.

    Raises:
        InputError: No such folder, or no image in it.
    """
    folder = existing_folder(folder)
    paths = sorted(path for path in _files(folder) if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise InputError(f"{folder} must hold images ({_suffixes()}), got none.")
    return paths


def other_suffixes(folder: Path) -> Counter[str]:
    """How many files anywhere below `folder` are no images by their suffix, by suffix; hidden ones left out."""
    others = (path for path in _files(folder) if path.suffix.lower() not in IMAGE_SUFFIXES)
    return Counter(path.suffix.lower() or path.name for path in others)


def existing_folder(folder: str | Path) -> Path:
    """`folder` as a path.

    Raises:
        InputError: There is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(
            f"{folder} must be a folder of images, got {'a file' if folder.exists() else 'nothing there'}."
        )
    return folder


def _files(folder: Path) -> Iterator[Path]:
    """All below it that is not hidden, also behind links to folders (each folder once: links may lead in circles)."""
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        shown_folders = [name for name in folders if not name.startswith(".") and real not in seen]
        # Which of two ways to a folder counts must not be left to the disk: itself before a link to it, then by name.
        folders[:] = sorted(shown_folders, key=lambda name: (Path(place, name).is_symlink(), name))
        shown = () if real in seen else (Path(place, name) for name in names if not name.startswith("."))
        seen.add(real)
        yield from (path for path in shown if path.is_file())


def _suffixes() -> str:
    return ", ".join(sorted(IMAGE_SUFFIXES))
