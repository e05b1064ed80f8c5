"""`edgekit train` for tests, on a network that takes a second."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

from edgekit.cli import run
from edgekit.train.options import Options
from support.photos import write_folder

SMALL = ["--weights", "none", "--width", "0.25", "--size", "32", "--stem-stride", "1", "--batch", "24"]
# Learns in two epochs of four steps; with dropout as well, whose chance must not depend on where a run was stopped.
TINY = Options(width=0.25, size=32, stem_stride=1, epochs=2, batch=30, lr=5e-3, head_lr=5e-3)
LONGER = replace(TINY, epochs=3, dropout=0.2)


def train(*arguments) -> int:
    """`edgekit train`, in this process: its exit code."""
    return run(["train", *map(str, arguments)])


def names(folder) -> list[str]:
    """Of the files in it."""
    return sorted(path.name for path in folder.iterdir())


def refused(capsys, *arguments) -> str:
    """The one line that a mistake costs; nothing may have been said on stdout."""
    code = train(*arguments)
    captured = capsys.readouterr()
    assert code == 2, captured.err
    assert captured.out == ""
    lines = captured.err.strip().splitlines()
    errors = [line for line in lines if line.startswith("Error:")]
    assert len(errors) == 1
    assert lines[-1] == errors[0]
    return errors[0]


def two_sets(base):
    """train/ with 144 pictures and val/ with 63 others; gives `base` back."""
    for name, count, seed in (("train", 48, 1), ("val", 21, 2)):
        write_folder(base / name, count, seed)
    return base


def run_script(script, *words, processes=2) -> None:
    """Processes that torchrun starts."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [*torchrun, *map(str, (script, *words))]
    subprocess.run(command, check=True, env=environment, timeout=240, capture_output=True)
