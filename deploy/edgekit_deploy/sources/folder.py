"""A folder of images as a source of frames."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from edgekit.errors import InputError
from edgekit.listing import list_images
from edgekit.preprocess import read_bgr
from edgekit_deploy.sources.frames import Frame

FOLDER_FPS = 2.0


class FolderSource:
    """The images of a folder, each once and in order of name; never dropped. See `Source`."""

    def __init__(self, folder: str | Path) -> None:
        self.name = str(folder)
        self.lossless = True
        self.is_live = False
        self.fps = FOLDER_FPS
        self.notes: list[str] = []
        self._folder = Path(folder)
        self._paths: list[Path] = []

    def __enter__(self) -> Self:
        """List the folder.

        Raises:
            InputError: No such folder, or no image in it.
        """
        self._paths = list_images(self._folder)
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to close."""

    def __iter__(self) -> Iterator[Frame]:
        """One frame per readable image; the others are noted.

        Raises:
            InputError: Not one could be read.
        """
        readable = 0
        for index, path in enumerate(self._paths):
            try:
                image = read_bgr(path)
            except InputError as error:
                self.notes.append(f"Skipped: {error.message}")
                continue
            readable += 1
            yield Frame(image, time.monotonic(), index, index / self.fps, str(path))
        if not readable:
            raise InputError(f"At least one image in {self.name} must be readable, got none of {len(self._paths)}.")

    def describe(self) -> str:
        """What is there, in one line."""
        return f"{self.name}: {len(self._paths)} images"
