"""Arrays kept on disk under the hash of what they were computed from, so that a killed run need not start again."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import InputError
from edgekit.files import whole_file, write_whole
from edgekit.progress import console

Arrays = Mapping[str, NDArray[Any]]
# Kinds that are no answers: files that stages are made of, and hashes of cropped images.
MADE, PIXELS = "stages", "pixels-"
_MARKER = "unfinished-report.txt"
_MARK = (
    "Answers of an edgekit report that is not finished. Safe to delete; with --resume the report goes on from here.\n"
)


@dataclass(frozen=True)
class Store:
    """A folder of .npz files, or nothing at all (then everything is forgotten at once).

    Attributes:
        folder: Need not exist. None to keep nothing.
    """

    folder: Path | None

    def read(self, kind: str, key: str) -> Arrays | None:
        """What was written, or None; a damaged file (the archive has checksums) counts as not written."""
        if self.folder is None:
            return None
        try:
            with np.load(self._path(kind, key), allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile):
            return None

    def write(self, kind: str, key: str, arrays: Arrays) -> None:
        """Keep arrays (none of them named "file"); a reader sees all of them or nothing.

        Raises:
            InputError: The folder cannot be written or the disk is full.
        """
        if self.folder is None:
            return
        if not _is_marked(self.folder):
            write_whole(self.folder / _MARKER, _MARK)
        with whole_file(self._path(kind, key)) as path:
            np.savez(path, **arrays)

    def _path(self, kind: str, key: str) -> Path:
        """Two letters of the key are a folder: fifty thousand images must not make one folder slow."""
        folder = self.folder or Path()
        return folder / kind / key[:2] / f"{key[2:]}.npz"


def take_over(folder: Path, *, resume: bool) -> None:
    """Make sure that the folder is a store's or not there; unless `resume`, what a store left in it is thrown away.

    Raises:
        InputError: It is not a store's.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    if not _is_marked(folder):
        raise InputError(
            f"{folder} must be free or hold the answers of an unfinished report, got something else.",
            "Move it away, or choose another --out.",
        )
    if not resume:
        console.print(
            f"The unfinished report in {folder} is thrown away; with --resume it would have gone on.",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )
        forget(folder)


def has_answers(folder: Path) -> bool:
    """Whether it is a store's and holds what took long: answers of models."""
    kinds = (part.name for part in folder.iterdir() if part.is_dir()) if _is_marked(folder) else ()
    return any(kind != MADE and not kind.startswith(PIXELS) for kind in kinds)


def forget(folder: Path) -> None:
    """Delete the folder if it is a store's."""
    if not _is_marked(folder):
        return
    # The mark goes last: what an interrupted deletion leaves is still a store's.
    for part in folder.iterdir():
        shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _is_marked(folder: Path) -> bool:
    return (folder / _MARKER).is_file()
