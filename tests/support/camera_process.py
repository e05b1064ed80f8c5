"""`edgekit camera` as a process of its own, and the files that it is given."""

import os
import subprocess
import sys

from support import tiny_model
from support.clips import colour_pictures, write_clip

COLOURS = [tiny_model.BGR[name] for name in tiny_model.COLOURS]

EDGEKIT = [sys.executable, "-c", "from edgekit.cli import main; main()"]


def environment(**changes):
    kept = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return {**kept, "COLUMNS": "120", **changes}


def edgekit(folder, *arguments, **changes):
    command = [*EDGEKIT, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment(**changes), capture_output=True, text=True, timeout=60)


def one_line(done, code):
    assert done.returncode == code, done.stderr
    lines = [line for line in done.stderr.strip().splitlines() if line]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("Error: ")
    assert "Traceback" not in done.stderr
    return lines[0]


def make_files(folder):
    """A model, a short and a long clip, and what the short one shows; into `folder`, which is returned."""
    (folder / "model.tflite").write_bytes(tiny_model.sealed())
    write_clip(folder / "clip.mp4", colour_pictures(COLOURS, 10), fps=50.0)
    write_clip(folder / "long.mp4", colour_pictures(COLOURS * 20, 10), fps=25.0)
    (folder / "truth.csv").write_text("frame,label\n0,red\n10,green\n20,blue\n")
    return folder
