"""Prepared images on disk: decoded once, by all cores, and mapped; memory holds of them what the system can spare.

One folder for each set of files and size, `<cache>/pixels/<key>/`, complete by name: pixels.npy (N, H, W, 3) uint8 RGB,
and what.json. Runs over the same files share it, at the same time and later.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.card import InputSpec, to_plain
from edgekit.errors import InputError
from edgekit.files import write_whole
from edgekit.images import FileSet
from edgekit.preprocess import Image, crop_and_resize
from edgekit.progress import console, tracked
from edgekit.train.fetch import cache_folder
from edgekit.train.pool import by_all_cores

# Part of the key: another way to prepare images makes others.
VERSION = 1
MOST_BYTES = 20 * 10**9
# Left free on the disk: so much, or this share of a small one.
SPARED_BYTES, SPARED_SHARE = 2**30, 0.02
# From here on a set's size is worth a line.
TOLD_BYTES = 2**30
# What was used since then is of this run.
STARTED = time.time()
# What a run is still making, and from when on nobody is at it any more.
UNFINISHED, ABANDONED_SECONDS = ".part-", 24 * 3600.0
# At making what other runs may put away.
ATTEMPTS = 3
ELSEWHERE = "Use a smaller --size, or set EDGEKIT_CACHE to a folder on another disk."


@dataclass(frozen=True)
class Pixels:
    """What a set of files holds.

    Attributes:
        pixels: (N, H, W, 3) uint8 RGB, mapped and read-only: Linux grants a writable mapping only what memory there is.
        kept: Indices of the N images in the set.
        skipped: One line per image that could not be read.
    """

    pixels: NDArray[np.uint8]
    kept: NDArray[np.int64]
    skipped: tuple[str, ...]


def prepare(images: FileSet, spec: InputSpec, progress: bool = True) -> Pixels:
    """The images cropped and resized as `edgekit.preprocess` does it.

    Args:
        images: Files.
        spec: Size and crop.
        progress: Show a bar.

    Raises:
        InputError: None can be read, or the cache's disk has no room.
    """
    folder = cache_folder() / "pixels" / _key(images, spec)
    found = _read(folder)
    if found is not None and _can_read_more(images, spec, found):
        found = None
    for _ in range(ATTEMPTS):
        if found is None:
            _put_away(folder)
            _make(folder, images, spec, progress)
            found = _read(folder)
    if found is None:
        raise InputError(f"The prepared images must stay in {folder}, got none there.", "Did another run remove them?")
    os.utime(folder)
    _forget_oldest(folder)
    return found


def _read(folder: Path) -> Pixels | None:
    """What is there; None too for what a power cut has left."""
    try:
        what = json.loads((folder / "what.json").read_text(encoding="utf-8"))
        kept, skipped = np.asarray(what["kept"], np.int64), tuple(what["skipped"])
        pixels = np.load(folder / "pixels.npy", mmap_mode="r")[: len(kept)]
    except (OSError, ValueError, LookupError):
        return None
    return Pixels(pixels, kept, skipped)


def _can_read_more(images: FileSet, spec: InputSpec, found: Pixels) -> bool:
    """Whether an image that could not be read can be now: permissions and OpenCV's limits are not in the key."""
    left_out = np.setdiff1d(np.arange(len(images.paths)), found.kept).tolist()
    again = by_all_cores(lambda place: _one(images, left_out[place], spec), len(left_out))
    return any(not isinstance(image, str) for image in again)


def _one(images: FileSet, index: int, spec: InputSpec) -> Image | str:
    """A prepared image, or why there is none."""
    try:
        return crop_and_resize(images.image(index), spec)
    except InputError as error:
        return error.message


def _put_away(folder: Path) -> None:
    """What is there is of no use; whoever has it mapped keeps it until he ends."""
    if folder.exists():
        # Renamed at once: another run must not find the half of it.
        scratch = tempfile.TemporaryDirectory(dir=folder.parent, prefix=UNFINISHED, ignore_cleanup_errors=True)
        with scratch as away, contextlib.suppress(OSError):  # another run may be quicker
            folder.rename(Path(away) / "old")


def _key(images: FileSet, spec: InputSpec) -> str:
    """Of names, sizes and times of change: reading all files would cost as much as decoding them."""
    digest = hashlib.sha256(json.dumps([VERSION, to_plain(spec)], sort_keys=True).encode())
    for path in images.paths:
        try:
            found = path.stat()
            digest.update(f"{path.absolute()}\0{found.st_size}\0{found.st_mtime_ns}\n".encode(errors="surrogateescape"))
        except OSError:
            digest.update(f"{path.absolute()}\0gone\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


def _make(folder: Path, images: FileSet, spec: InputSpec, progress: bool) -> None:
    count = len(images.paths)
    _check_room(folder.parent, count * spec.height * spec.width * 3)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=UNFINISHED, ignore_cleanup_errors=True) as name:
        part = Path(name) / "whole"
        part.mkdir()
        pixels = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
            part / "pixels.npy", mode="w+", dtype=np.uint8, shape=(count, spec.height, spec.width, 3)
        )
        _reserve(part / "pixels.npy", folder.parent)
        kept: list[int] = []
        skipped: list[str] = []
        for index, found in _decoded(images, spec, progress):
            if isinstance(found, str):
                skipped.append(found)
                continue
            pixels[len(kept)] = found
            kept.append(index)
        if not kept:
            first = f" (the first: {skipped[0].rstrip('.')})" if skipped else ""
            raise InputError(f"At least one image must be readable, got none of {count}{first}.")
        pixels.flush()
        del pixels
        what = {"kept": kept, "skipped": skipped}
        write_whole(part / "what.json", json.dumps(what))
        try:
            part.rename(folder)
        except OSError:
            # Another run over the same files was quicker.
            if not folder.is_dir():
                raise


def _decoded(images: FileSet, spec: InputSpec, progress: bool) -> Iterator[tuple[int, Image | str]]:
    """Each image, or why there is none, in order."""
    count = len(images.paths)
    found = by_all_cores(lambda index: _one(images, index, spec), count)
    yield from enumerate(tracked("Reading images", found, count) if progress else found)


def _check_room(folder: Path, needed: int) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        total, _, free = shutil.disk_usage(folder)
    except OSError as error:
        raise InputError(
            f"The cache {folder} must be writable, got: {error.strerror}.", "Set EDGEKIT_CACHE."
        ) from error
    # Nobody's system disk is filled to the last byte.
    room = max(0.0, free - min(SPARED_BYTES, SPARED_SHARE * total))
    if room < needed:
        raise InputError(
            f"The prepared images must fit into {folder}, got {needed / 2**30:.1f} GiB of images and "
            f"{room / 2**30:.1f} GiB of room.",
            ELSEWHERE,
        )
    if needed > TOLD_BYTES:
        console.print(
            f"Prepared images take {needed / 2**30:.1f} GiB in {folder}. {ELSEWHERE}", markup=False, soft_wrap=True
        )


def _reserve(path: Path, folder: Path) -> None:
    """Take the file's room on disk now: that of a mapped file which is missing later would be a bus error."""
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            raise InputError(
                f"The prepared images must fit into {folder}, got: {error.strerror}.", ELSEWHERE
            ) from error


def _forget_oldest(used: Path) -> None:
    """Keep the cache below MOST_BYTES, but for what is in use here: also the other sets of this run.

    What was begun by runs that were killed goes as well.
    """
    for path in used.parent.glob(f"{UNFINISHED}*"):
        if _last_used(path) < time.time() - ABANDONED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
    others = [path for path in used.parent.iterdir() if path != used and not path.name.startswith(".")]
    sizes = {path: _size(path) for path in others}
    times = {path: _last_used(path) for path in others}
    for path in sorted(others, key=times.__getitem__):
        if sum(sizes.values()) + _size(used) <= MOST_BYTES or times[path] >= STARTED:
            return
        # Whoever has it mapped keeps it until he ends.
        shutil.rmtree(path, ignore_errors=True)
        del sizes[path]


def _last_used(path: Path) -> float:
    """Seconds since 1970; now for what another run has removed meanwhile."""
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()


def _size(path: Path) -> int:
    """Bytes; 0 for what another run has removed meanwhile."""
    try:
        return sum(file.stat().st_size for file in path.glob("*"))
    except OSError:
        return 0
