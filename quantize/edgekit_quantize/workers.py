"""The processes of a conversion: PyTorch's exporter, and onnx2tf with TensorFlow.

They are processes so that what their libraries print, allocate and break stays theirs. Nothing heavy is imported here:
they load their libraries, which takes each of them seconds, while `edgekit convert` loads its own.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self, cast

# Of a worker whose caller has ended before it.
ORPHANED = 75
_START = "\n"


class Worker:
    """A process of a module of this package, started. A context manager, which ends it.

    Args:
        module: What it runs; it calls `told_to_start`.
        words: The module's arguments.
        folder: Its working directory; None: the caller's.
        environment: Variables besides the caller's.
    """

    def __init__(
        self,
        module: str,
        *words: str | Path,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            # -P: a file of the user's that is called like a library must not be taken for it.
            [sys.executable, "-P", "-m", f"{__package__}.{module}", *words],
            cwd=folder,
            env=os.environ | (environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        # Open as long as the caller lives: at its end the worker ends too. `communicate` would close it.
        self._lifeline = cast(IO[str], self._process.stdin)
        self._process.stdin = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        # One that has ended may have left the line unread.
        with contextlib.suppress(BrokenPipeError):
            self._lifeline.close()

    def work(self) -> tuple[int, str, str]:
        """Tell it to start and wait, once: exit code, stdout, stderr; also those of one that has ended already."""
        with contextlib.suppress(BrokenPipeError):
            self._lifeline.write(_START)
            self._lifeline.flush()
        said, complained = self._process.communicate()
        return self._process.returncode, said, complained


class ExportWorker(Worker):
    """Writes a checkpoint, or a network known by name, as ONNX.

    Args:
        source: Its file, or its name.
        path: Where to write.

    Attributes:
        source: As given.
        path: As given.
    """

    def __init__(self, source: str, path: Path) -> None:
        self.source, self.path = source, path
        super().__init__("export_worker", source, path)


class TfliteWorker(Worker):
    """Makes one float TFLite file of one ONNX file.

    Args:
        folder: Its working directory, which holds both.

    Attributes:
        graph: The ONNX file, to be written before it is told to start.
        target: The float TFLite file.
    """

    def __init__(self, folder: Path) -> None:
        self.graph, self.target = folder / "network.onnx", folder / "float.tflite"
        # Fewer words; the Keras that onnx2tf is written for; no GPU, which the little work is not worth and others use.
        environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1", "CUDA_VISIBLE_DEVICES": ""}
        super().__init__("tflite_worker", self.graph, self.target, folder=folder, environment=environment)


@dataclass(frozen=True)
class Workers:
    """The processes of one conversion.

    Attributes:
        source: Path of a .pt or .onnx file, or "mobilenet_v2:imagenet".
        onnx: Where its ONNX file belongs.
        exporter: Writes it there; None where the source is an ONNX file.
        tflite: Makes float TFLite of it.
    """

    source: str
    onnx: Path
    exporter: ExportWorker | None
    tflite: TfliteWorker


@contextlib.contextmanager
def start_workers(source: str) -> Iterator[Workers]:
    """Start them, and end them afterwards; their folder goes too."""
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch, contextlib.ExitStack() as stack:
        folder = Path(scratch)
        onnx = folder / "model.onnx"
        exporter = None if is_onnx(source) else stack.enter_context(ExportWorker(source, onnx))
        yield Workers(source, onnx, exporter, stack.enter_context(TfliteWorker(folder)))


def is_onnx(source: str) -> bool:
    """Whether it is the path of an ONNX file, by its name."""
    return source.lower().endswith(".onnx")


def told_to_start() -> threading.Event:
    """In a worker: set when it is told to start. From now on it ends when its caller has."""
    told = threading.Event()

    def listen() -> None:
        # Not through sys.stdin, whose lock a thread that waits would hold when the interpreter shuts down.
        while os.read(0, 1):
            told.set()
        os._exit(ORPHANED)

    threading.Thread(target=listen, daemon=True).start()
    return told
