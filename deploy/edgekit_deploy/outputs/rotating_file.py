"""Lines at the end of a file that never grows beyond a size, and is whole after every trouble."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import deque
from pathlib import Path


class RotatingFile:
    """Appends whole lines to `path`.

    The file is opened for each batch of lines and closed again: a file that was deleted or moved away is made anew, and
    nothing holds the disk. A batch that does not fit on the disk is taken back: no line is ever left half written by a
    full disk.

    Args:
        path: The file. Without `most_bytes` it replaces what was there with the first line; with it, it is continued.
        most_bytes: Size at which the file becomes `path`.1, what was .1 becomes .2, and so on; None: never. A file
            is larger only if it holds a single longer line.
        keep: How many of those older files stay; 0: none.
    """

    def __init__(self, path: Path, most_bytes: int | None = None, keep: int = 3) -> None:
        self._path, self._most, self._keep = path, most_bytes, keep
        self._is_begun = most_bytes is not None
        self._ends_whole = False

    def append(self, lines: deque[bytes]) -> None:
        """Write the lines (each with its newline), and remove from `lines` what stands in the file.

        Raises:
            OSError: The rest could not be written; try again with it later.
        """
        while lines:
            count = self._fitting(lines)
            if count == 0:
                self._rotate()
                continue
            self._write(b"".join(itertools.islice(lines, count)))
            for _ in range(count):
                lines.popleft()

    def _fitting(self, lines: deque[bytes]) -> int:
        """How many of the lines the file takes."""
        if self._most is None:
            return len(lines)
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            size = 0
        count = 0
        for line in lines:
            if size and size + len(line) > self._most:
                break
            size, count = size + len(line), count + 1
        return count

    def _rotate(self) -> None:
        names = [self._path, *(self._path.with_name(f"{self._path.name}.{i}") for i in range(1, self._keep + 1))]
        if not self._keep:
            self._path.unlink()
        for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
            with contextlib.suppress(FileNotFoundError):
                newer.replace(older)

    def _write(self, data: bytes) -> None:
        with self._path.open("r+b" if self._is_begun and self._path.exists() else "wb", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                # After a power cut, or when taking back failed: the torn line gets a line of its own.
                if not self._ends_whole and size and _last_byte(file.fileno(), size) != b"\n":
                    data = b"\n" + data
                rest = memoryview(data)
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError:
                self._ends_whole = False
                with contextlib.suppress(OSError):
                    file.truncate(size)
                raise
        self._is_begun = self._ends_whole = True


def _last_byte(descriptor: int, size: int) -> bytes:
    return os.pread(descriptor, 1, size - 1)
