"""A thread that steps back: inference comes first."""

from __future__ import annotations

import os
import sys
import threading


def step_back(niceness: int) -> None:
    """Give the calling thread a lower priority. Only Linux has this per thread."""
    if sys.platform == "linux" and niceness > 0:
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + niceness))
