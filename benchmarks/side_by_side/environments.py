"""An environment of its own for every peer, made on first use, with the very versions that were measured."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import EdgekitError
from edgekit.progress import console

FOLDER = Path(os.environ.get("EDGEKIT_PEERS", ".peers"))
LOCKS = Path(__file__).parent / "locks"


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
            EdgekitError: pip could not install it; its last line is quoted.
        """
        wanted = hashlib.sha256(self.pinned().encode()).hexdigest()
        folder = FOLDER.resolve() / self.name
        done = folder / ".done"
        if not done.is_file() or done.read_text() != wanted:
            with console.status(f"Installing {self.name} …"):
                subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
                pins = ("--constraint", str(self.lock)) if self.lock.is_file() else ()
                words = [str(folder / "bin" / "pip"), "install", "--quiet", *pins, *self.requirements]
                result = subprocess.run(words, capture_output=True, text=True)
            if result.returncode:
                lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
                raise EdgekitError(f"pip: {(lines or ['failed'])[-1]}{self.remark}")
            done.write_text(wanted)
        return folder / "bin" / "python"

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
        Environment("tinynn", ("TinyNeuralNetwork",), " (it is distributed by its repository alone)"),
        Environment("mediapipe", ("mediapipe==1.2.3",)),
        Environment("litert", ("ai-edge-litert==2.3.0",)),
        Environment("opencv", ("opencv-python-headless==5.0.0.93",)),
    )
}
