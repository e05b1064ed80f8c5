"""A window, where there is a display. OpenCV's Qt kills the process where there is none, so that is found out first."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Self

import cv2

from edgekit.preprocess import Image
from edgekit.runtime import quiet_stderr

PROBE = "import cv2; cv2.namedWindow('edgekit'); cv2.waitKey(1); cv2.destroyAllWindows()"
PROBE_SECONDS = 20.0
QUIT_KEYS = frozenset({27, ord("q")})


class Window:
    """Shows frames; use as a context manager, from the main thread. Esc, q or the close button ends the loop."""

    def __init__(self, title: str) -> None:
        self._title = title

    def __enter__(self) -> Self:
        """Make the window; call only where `display_problem` is ""."""
        with quiet_stderr():
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the window."""
        cv2.destroyAllWindows()

    def show(self, image: Image) -> bool:
        """Show (H, W, 3) uint8 BGR; False when the user wants to stop."""
        cv2.imshow(self._title, image)
        return self.is_wanted()

    def is_wanted(self) -> bool:
        """Let the window live, which it does not by itself; False when the user wants to stop."""
        if cv2.waitKey(1) & 0xFF in QUIT_KEYS:
            return False
        return bool(cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1)


def display_problem() -> str:
    """Why no window can be opened here, or ""."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no display (DISPLAY is not set)"
    # A display may be named and still refuse us, and then Qt aborts: try in a process that may die.
    command = [sys.executable, "-c", PROBE]
    try:
        probe = subprocess.run(command, capture_output=True, timeout=PROBE_SECONDS, check=False)  # noqa: S603 (ours)
    except (OSError, subprocess.TimeoutExpired):
        return "opening a window takes for ever"
    if probe.returncode:
        return f"a window cannot be opened on {os.environ.get('DISPLAY') or 'this display'}"
    return ""
