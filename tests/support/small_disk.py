"""A disk of its own that is really full: a small tmpfs. Needs the right to mount, which root mostly has."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

BLOCK = bytes(65536)
FILLER = "filler"


class NoSmallDisk(Exception):
    """This process may not mount one."""


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """`folder`, which is made, as a disk of that size.

    Raises:
        NoSmallDisk: It cannot be mounted.
    """
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "edgekit-test", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, timeout=30).returncode:
        raise NoSmallDisk("mounting a small disk needs root")
    try:
        yield folder
    finally:
        # Lazily: a process that still writes must not keep it for good.
        subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True, timeout=30)


def fill(folder: Path) -> None:
    """Leave no byte free."""
    with contextlib.suppress(OSError), (folder / FILLER).open("ab", buffering=0) as file:
        for size in (len(BLOCK), 1):
            with contextlib.suppress(OSError):
                while file.write(BLOCK[:size]):
                    pass


def free(folder: Path) -> None:
    """Take it back."""
    (folder / FILLER).unlink()
