"""The processes of a conversion, looked at from outside."""

import contextlib
import time

import psutil


def workers_of(process):
    """The modules of this process's workers, and the processes."""
    found = {}
    for child in process.children():
        words = ""
        # Another test's, perhaps, that has just ended.
        with contextlib.suppress(psutil.Error):
            words = " ".join(child.cmdline())
        found |= {name: child for name in ("export_worker", "tflite_worker") if f"edgekit_quantize.{name}" in words}
    return found


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
