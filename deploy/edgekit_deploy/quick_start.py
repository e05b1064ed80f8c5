"""What makes a Python program with numpy start sooner. Imports nothing that is not there anyway."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator

BLAS_THREADS = "OPENBLAS_NUM_THREADS"


@contextlib.contextmanager
def quick_start() -> Iterator[None]:
    """Import and load everything meanwhile.

    numpy's matrix library starts a thread per core as soon as it is imported, and they spin at first: where another
    program wants a core too, importing numpy took twice as long (measured). The camera multiplies no matrices.

    Python's garbage collector walks all that was imported so far again and again, and finds next to nothing. It rests
    meanwhile and never looks at these objects again, which shortens its pauses between two frames, too.
    """
    was_collecting = gc.isenabled()
    had_threads = BLAS_THREADS in os.environ
    gc.disable()
    os.environ.setdefault(BLAS_THREADS, "1")
    try:
        yield
    finally:
        # Read once, by the import; the commands of --on-change are to find the environment as it was.
        if not had_threads:
            os.environ.pop(BLAS_THREADS, None)
        gc.freeze()
        if was_collecting:
            gc.enable()
