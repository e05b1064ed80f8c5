"""Chromium without a window."""

from __future__ import annotations

import subprocess
from pathlib import Path

import cv2
import numpy as np

# Nothing but the page: no updates, no first-run greetings, no sandbox (a container has none).
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--enable-logging=stderr"),
)


def shown(page: Path, folder: Path, width: int = 500) -> np.ndarray:
    """What the browser shows of a page, (900, width, 3) uint8; `folder` is for its own files.

    Raises:
        AssertionError: It complains: console messages and refused requests are logged as CONSOLE.
    """
    picture = folder / "shot.png"
    own = [f"--window-size={width},900", f"--user-data-dir={folder / 'profile'}", f"--screenshot={picture}"]
    done = subprocess.run(
        ["chromium", *FLAGS, *own, page.as_uri()], capture_output=True, text=True, timeout=120, check=False
    )
    assert "CONSOLE" not in done.stderr
    image = cv2.imread(str(picture))
    assert image is not None, done.stderr[-500:]
    return image
