"""Trying a module or an interpreter in a process of its own: a wheel for another processor kills the process it is in.

`probe.tflite`, 1.7 KB: convolution, mean, fully connected, int8, 8×8 pixels to two classes; made by the tests.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

MODEL = Path(__file__).with_name("probe.tflite")
LIMIT_SECONDS = 60.0
# Characters of an error's last line.
MOST_WORDS = 200
RUN = """
import sys
sys.path[:0] = sys.argv[2].split(chr(10))
from edgekit.runtime import Network
with open(sys.argv[1], "rb") as file:
    network = Network(file.read())
network.invoke()
print(network.runtime, network.kernels, sep=chr(10))
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a process came to.

    Attributes:
        lines: Of its output.
        problem: Why it failed, in one line, or "".
    """

    lines: tuple[str, ...]
    problem: str


def try_import(module: str) -> str:
    """Why `import module` fails in a fresh process, or ""."""
    return run_python("import sys\nsys.path[:0] = sys.argv[2].split(chr(10))\nimport " + module).problem


def try_runtime() -> Answer:
    """Run the probe network once: lines are the runtime's name and version, and the kernels."""
    return run_python(RUN)


def run_python(code: str, python: str = sys.executable) -> Answer:
    """Run `code` in a fresh process; its arguments are the probe network and our own search path."""
    places = "\n".join(place for place in sys.path if place)
    command = [python, "-P", "-c", code, str(MODEL), places]
    try:
        done = subprocess.run(  # noqa: S603 (our own code)
            command, capture_output=True, text=True, errors="replace", timeout=LIMIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Answer((), f"the process did not end: {type(error).__name__}")
    if done.returncode == 0:
        return Answer(tuple(done.stdout.splitlines()), "")
    return Answer((), _problem(done.returncode, done.stderr))


def _problem(code: int, errors: str) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        return "illegal instruction: a build for another processor" if name == "SIGILL" else f"the process got {name}"
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return lines[-1][:MOST_WORDS] if lines else f"exit code {code}"
