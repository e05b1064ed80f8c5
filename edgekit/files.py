"""Files that are either whole or absent: written to a temporary name beside the target, then renamed."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from edgekit.errors import InputError


@contextmanager
def whole_file(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path; on success it replaces `target`, on any exception (Ctrl-C too) it is removed.

    The temporary name keeps the target's suffix, because writers such as OpenCV choose a format by it.

    Raises:
        InputError: The folder cannot be written or the disk is full.
    """
    target = Path(target)
    check_writable(target)
    temporary = target.with_name(f".{target.stem}-{secrets.token_hex(4)}{target.suffix}")
    # Not by mkstemp, which makes private files: the result has the permissions that open() gives.
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        # On the disk before it has its name: a power cut must not leave an empty file where an older one was whole.
        _sync(temporary)
        temporary.replace(target)
        # Some file systems cannot do that with a folder; the file is whole there all the same.
        with suppress(OSError):
            _sync(target.parent)
    except OSError as error:
        raise _explain(error, target) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(target: str | Path, data: bytes | str) -> None:
    """Write `data` to `target` so that the file is either complete or untouched.

    Raises:
        InputError: The folder cannot be written or the disk is full.
    """
    write_all({target: data})


def write_all(contents: Mapping[str | Path, bytes | str]) -> None:
    """Write several files: no target is touched before all of the data is written.

    Raises:
        InputError: A folder cannot be written or the disk is full.
    """
    with ExitStack() as stack:
        temporaries = {target: stack.enter_context(whole_file(target)) for target in contents}
        for target, data in contents.items():
            try:
                temporaries[target].write_bytes(data.encode() if isinstance(data, str) else data)
            except OSError as error:
                raise _explain(error, Path(target)) from error


def check_writable(target: str | Path) -> None:
    """Make the folder of `target` and prove that a file can be made in it, before hours of work are lost.

    Raises:
        InputError: It cannot.
    """
    target = Path(target)
    if target.is_dir():
        raise InputError(f"The output must be a file, got the folder {target}.", "Add a file name.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise _explain(error, target) from error


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes as 64 lower-case hex digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """A file's content, or a folder's names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _explain(error: OSError, target: Path) -> InputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InputError(f"The disk that holds {target.parent} is full.", "Free some space and run again.")
    reason = error.strerror or str(error)
    return InputError(f"{target} must be writable, got: {reason}.", "Choose another place.")
