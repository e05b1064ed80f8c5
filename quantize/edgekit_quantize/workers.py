"""The processes of a conversion: PyTorch's exporter, and onnx2tf with TensorFlow.

They are processes so that their memory and their messages go with them. Nothing heavy is imported here: they load their
libraries, which takes each of them seconds, while `edgekit convert` loads its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

START = "start\n"


class Worker:
    """`python -m MODULE WORDS...`, which loads its libraries. A context manager, which ends it, if need be twice.

    Args:
        module: Of this package.
        words: For it.
        folder: Its working directory; None: the caller's.
    """

    def __init__(self, module: str, *words: str | Path, folder: Path | None = None) -> None:
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", f"{__package__}.{module}", *words],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def work(self) -> tuple[int, str, str]:
        """Tell it to start and wait: exit code, stdout, stderr."""
        said, complained = self._process.communicate(START)
        return self._process.returncode, said, complained


class ExportWorker(Worker):
    """Writes a checkpoint, or a network known by name, as ONNX to `path`."""

    def __init__(self, source: str, path: Path) -> None:
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
        super().__init__("tflite_worker", self.graph, self.target, folder=folder)


def wait_for_start() -> None:
    """In the worker: until it is told to; if whoever started it has ended, it ends as well."""
    if sys.stdin.readline() != START:
        sys.exit(1)


class Workers:
    """Both, for one conversion. A context manager, as they are; their folder goes with it.

    Args:
        source: As for `source.open_source`.

    Attributes:
        onnx: Where the network is to be written as ONNX.
        exporter: Writes it there; None where the source is an ONNX file.
        tflite: The other one.
    """

    def __init__(self, source: str) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="edgekit-")
        folder = Path(self._scratch.name)
        self.onnx = folder / "model.onnx"
        self.exporter = None if source.lower().endswith(".onnx") else ExportWorker(source, self.onnx)
        self.tflite = TfliteWorker(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for worker in filter(None, (self.exporter, self.tflite)):
            worker.__exit__(*error)
        self._scratch.cleanup()
