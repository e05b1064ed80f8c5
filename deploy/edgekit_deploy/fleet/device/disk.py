"""Writing so that a power cut leaves the old or the new, and running programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

COMMAND_SECONDS = 120
# The exit code for one that hangs, or is not there; as timeout(1) has it.
NO_ANSWER = 124


def run(command: list[str], seconds: float, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program; stdout and stderr together. One that hangs, or is not there: NO_ANSWER."""
    try:
        return subprocess.run(  # noqa: S603
            command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", timeout=seconds, check=False,
        )  # fmt: skip
    except (subprocess.TimeoutExpired, OSError) as error:
        return subprocess.CompletedProcess(command, NO_ANSWER, str(error))


def tail(done: subprocess.CompletedProcess[str]) -> str:
    """What a program said last."""
    return done.stdout.strip()[-800:].rstrip(".") or f"exit code {done.returncode}"


def make_folder(path: Path) -> None:
    """A folder that we may write; with sudo, if that is what it takes."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except PermissionError:
        run(["sudo", "-n", "install", "-d", "-o", str(os.getuid()), "-g", str(os.getgid()), str(path)], COMMAND_SECONDS)
    if not os.access(path, os.W_OK):
        raise PermissionError(f"{path} must be yours. Run there: sudo install -d -o $USER {path}")


def write(path: Path, content: bytes) -> None:
    """The file is there with all its bytes, or as it was before."""
    part = path.with_name(f".part-{path.name}")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """A rename in this folder survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """A folder under another name first, so that half of it is never taken for the whole."""
    if path.is_dir() and not path.is_symlink():
        gone = path.with_name(f".part-gone-{path.name.lstrip('.')}")
        shutil.rmtree(gone, ignore_errors=True)
        path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
