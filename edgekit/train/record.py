"""`model.run.json` beside a checkpoint: what it was trained with, on what, and what each epoch gave."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from edgekit import __version__
from edgekit.card import to_plain
from edgekit.cpu import read_cpu
from edgekit.files import sha256, write_whole
from edgekit.images import FileSet
from edgekit.train.options import Options
from edgekit.train.result import Result
from edgekit.train.step import precision_name
from edgekit.train.world import World

FORMAT = 1
# What decides about the pixels and the arithmetic.
PACKAGES = ("torch", "numpy", "opencv-python", "kornia", "webdataset")


def record_path(out: str | Path) -> Path:
    """`model.run.json` for `model.pt`."""
    out = Path(out)
    return out.with_name(f"{out.stem}.run.json")


def write_record(out: Path, options: Options, result: Result, world: World | None = None) -> Path:
    """Write it, whole or not at all.

    Args:
        out: The finished checkpoint.
        options: Of the run.
        result: What it gave.
        world: The processes that shared the work.

    Returns:
        Where it is.

    Raises:
        InputError: The folder cannot be written or the disk is full.
    """
    world = world or World()
    facts = {
        "format": FORMAT,
        "command": ["edgekit", *sys.argv[1:]],
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "checkpoint": {"file": out.name, "sha256": sha256(out)},
        "options": to_plain(options),
        "data": {
            "sha256": result.fingerprint,
            "validation_sha256": result.validation_fingerprint,
            "labels": result.checkpoint.labels,
            "skipped": result.skipped,
        },
        "batch": result.batch,
        # Of all epochs but int8's, which are float32's.
        "precision": precision_name(options, world.device),
        "epochs": to_plain(result.epochs),
        "seconds": result.seconds,
        "mean_recall": result.mean_recall,
        "classes": {name: to_plain(found) for name, found in result.classes.items()},
        "machine": _machine(world),
        "versions": {"edgekit": __version__, "python": platform.python_version(), **installed(PACKAGES)},
        "git": git_state(),
        "edgekit_git": _own_git_state(),
    }
    path = record_path(out)
    # Names of files need not be text: what is none of it is written as JSON's own escapes.
    text = json.dumps(facts, indent=1, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
    write_whole(path, text + "\n")
    return path


def validation_list_path(out: str | Path) -> Path:
    """`model.val.csv` for `model.pt`."""
    out = Path(out)
    return out.with_name(f"{out.stem}.val.csv")


def write_validation_list(out: Path, images: FileSet) -> Path:
    """The images that a split of edgekit's has kept for validation, as `edgekit report --data` takes them.

    But for those whose names are no UTF-8, which no list can hold.

    Args:
        out: The finished checkpoint.
        images: The validation set.

    Returns:
        Where it is.

    Raises:
        InputError: The folder cannot be written or the disk is full.
    """
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("file", "label"))
    lines.writerows(
        (path.absolute(), images.labels[target])
        for path, target in zip(images.paths, images.targets, strict=True)
        if _is_text(str(path.absolute()))
    )
    path = validation_list_path(out)
    write_whole(path, text.getvalue())
    return path


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _machine(world: World) -> dict[str, Any]:
    is_cpu = world.device.type == "cpu"
    return {
        "system": platform.platform(),
        "processor": read_cpu() or platform.machine(),
        "threads": torch.get_num_threads(),
        "processes": world.size,
        "device": "cpu" if is_cpu else torch.cuda.get_device_name(world.device),
    }


def installed(packages: Sequence[str]) -> dict[str, str]:
    """Versions of those that are there."""
    found = {}
    for name in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def git_state(folder: Path | None = None, *, beside: Sequence[str] = ()) -> dict[str, Any] | None:
    """Commit of a folder's repository, and whether something is changed there; None outside of git.

    Args:
        folder: The working folder by default.
        beside: Paths that may be changed, from the top of the repository.
    """
    left_out = [f":(top,exclude){path}" for path in beside]
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changes = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ":(top)", *left_out)
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "is_changed": bool(changes)}


def _own_git_state() -> dict[str, Any] | None:
    """Edgekit's; None where it is installed, and be it inside of somebody else's repository."""
    here = Path(__file__)
    try:
        is_tracked = bool(_git(here.parent, "ls-files", here.name))
    except (OSError, subprocess.SubprocessError):
        return None
    return git_state(here.parent) if is_tracked else None


def _git(folder: Path | None, *words: str) -> str:
    command = ["git", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    return done.stdout.strip()
