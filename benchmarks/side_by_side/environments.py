"""An environment of its own for every peer, made on first use, with the very versions that were measured."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import EdgekitError
from edgekit.progress import console, tracked
from edgekit.runtime import available_cores

FOLDER = Path(os.environ.get("EDGEKIT_PEERS", ".peers"))
LOCKS = Path(__file__).parent / "locks"


NOT_THERE = "No matching distribution"


class InstallError(EdgekitError):
    """pip failed, by the network or the disk: nothing that could be said of the peer."""


class NoSuchPackageError(EdgekitError):
    """The registry has none for this Python and machine: an answer, where all other errors of pip are accidents."""


@dataclass(frozen=True)
class Environment:
    """What pip installs.

    Attributes:
        name: Of its folder and lock.
        requirements: The peer itself comes first.
        remark: What to say besides if they cannot be installed.
    """

    name: str
    requirements: tuple[str, ...]
    remark: str = ""

    @property
    def lock(self) -> Path:
        """Every version in it, the dependencies' too."""
        return LOCKS / f"{self.name}.txt"

    def python(self) -> Path:
        """Its interpreter.

        Raises:
            NoSuchPackageError: There is nothing to be installed; pip's last line is quoted.
            InstallError: pip could not install it.
        """
        if not self.is_made():
            with console.status(f"Installing {self.name} …"):
                self.make()
        return self._folder / "bin" / "python"

    def make(self) -> None:
        """Install it; raises as `python`."""
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(self._folder)], check=True)
        pins = ("--constraint", str(self.lock)) if self.lock.is_file() else ()
        words = [str(self._folder / "bin" / "pip"), "install", "--quiet", *pins, *self.requirements]
        result = subprocess.run(words, capture_output=True, text=True)
        if result.returncode:
            raise pip_error(result.stderr, self.remark)
        self._done.write_text(self._mark())

    @property
    def _folder(self) -> Path:
        return FOLDER.resolve() / self.name

    @property
    def _done(self) -> Path:
        return self._folder / ".done"

    def _mark(self) -> str:
        return hashlib.sha256(self.pinned().encode()).hexdigest()

    def is_made(self) -> bool:
        """Whether it is there, as wanted."""
        return self._done.is_file() and self._done.read_text() == self._mark()

    def freeze(self) -> None:
        """Write the lock from what is installed."""
        words = [str(self.python()), "-m", "pip", "freeze"]
        listed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        self.lock.parent.mkdir(exist_ok=True)
        self.lock.write_text(listed)

    def pinned(self) -> str:
        """All that pip is told."""
        return repr((self.requirements, self.lock.read_text() if self.lock.is_file() else ""))

    def versions(self) -> str:
        """Of what `requirements` name, as locked; "" without a lock."""
        pairs = (
            [line.partition("==")[::2] for line in self.lock.read_text().splitlines()] if self.lock.is_file() else []
        )
        names = {re.split(r"[=<>!]", requirement)[0].lower() for requirement in self.requirements}
        return ", ".join(f"{name} {version}" for name, version in pairs if name.lower() in names)


ENVIRONMENTS = {
    environment.name: environment
    for environment in (
        # The newest of both that go together on Python 3.11: what edgekit itself pins.
        Environment(
            "onnx2tf", ("onnx2tf==1.29.24", "tensorflow==2.19.0", "tf_keras", "onnx", "onnxsim", "onnxruntime")
        ),
        Environment("onnxruntime", ("onnxruntime==1.32.0", "onnx", "sympy")),
        Environment("openvino", ("nncf==3.4.0", "openvino==2026.4.1", "onnx")),
        Environment("litert-torch", ("litert-torch==0.10.0",)),
        Environment("executorch", ("executorch==1.5.1", "torch==2.14.1", "torchao==0.18.0")),
        Environment("ncnn", ("ncnn==1.0.20261020", "pnnx==20261020")),
        Environment("tinynn", ("TinyNeuralNetwork==0.1.0",), " (it is distributed by its repository alone)"),
        Environment("mediapipe", ("mediapipe==1.2.3",)),
        Environment("litert", ("ai-edge-litert==2.3.0",)),
        Environment("opencv", ("opencv-python-headless==5.0.0.93",)),
    )
}


def pip_error(said: str, remark: str = "") -> EdgekitError:
    """What to raise when pip has failed and said so."""
    lines = [line for line in said.splitlines() if line.startswith("ERROR")]
    kind = NoSuchPackageError if NOT_THERE in said else InstallError
    return kind(f"pip: {(lines or ['failed'])[-1]}{remark}")


def make_all() -> None:
    """Those that are not there yet, as many at a time as there are cores; not those that nobody can have.

    Raises:
        InstallError: pip could not install one.
    """
    missing = [environment for environment in ENVIRONMENTS.values() if not environment.is_made()]
    if not missing:
        return
    with ThreadPoolExecutor(available_cores()) as pool:
        begun = [pool.submit(environment.make) for environment in missing]
        try:
            for made in tracked("Installing", as_completed(begun), len(begun), "environments"):
                with suppress(NoSuchPackageError):
                    made.result()
        except BaseException:
            # Ctrl-C too: else the pool would begin all others before it ends.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
