"""Arrays kept on disk under the hash of what they were computed from, so that a killed run need not start again."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.files import whole_file

Arrays = Mapping[str, NDArray[Any]]


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
        with whole_file(self._path(kind, key)) as path:
            np.savez(path, **arrays)

    def _path(self, kind: str, key: str) -> Path:
        """Two letters of the key are a folder: fifty thousand images must not make one folder slow."""
        folder = self.folder or Path()
        return folder / kind / key[:2] / f"{key[2:]}.npz"
