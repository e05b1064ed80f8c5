"""What a figure was measured on: board, processor, system and packages, without anything that names its owner."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path

from edgekit.cpu import read_cpu
from edgekit.runtime import available_cores, runtime_name
from edgekit_deploy.health import ROOT, read_board, read_frequency
from edgekit_deploy.versions import installed_versions, python_bits

PACKAGES = ("numpy", "opencv-python", "opencv-python-headless", "ai-edge-litert", "tflite-runtime")


@dataclass(frozen=True, slots=True)
class Machine:
    """Where figures come from.

    Attributes:
        board: By the device tree or the firmware, else the architecture.
        cpu: Name of the processor, or "unknown".
        cores: That this process may use.
        max_frequency: Of the processor, MHz; None if the machine does not tell.
        architecture: As `uname -m`, of the kernel.
        bits: Of this Python, 32 or 64: with 32, a 64-bit board runs a 32-bit system.
        kernel: Release of the kernel.
        system: Name and version of the distribution.
        libc: Name and version of the C library.
        python: Version.
        runtime: Package and version of the TFLite interpreter.
        packages: Versions of PACKAGES, as far as installed.
    """

    board: str
    cpu: str
    cores: int
    max_frequency: float | None
    architecture: str
    bits: int
    kernel: str
    system: str
    libc: str
    python: str
    runtime: str
    packages: dict[str, str]


def this_machine(root: Path = ROOT) -> Machine:
    """The machine at hand; board, processor and distribution as the files under `root` tell.

    Raises:
        MissingError: No interpreter is installed.
    """
    return Machine(
        board=read_board(root) or platform.machine(),
        cpu=read_cpu(root) or "unknown",
        cores=available_cores(),
        max_frequency=read_frequency(root)[1],
        architecture=platform.machine(),
        bits=python_bits(),
        kernel=platform.release(),
        system=read_system(root) or platform.system(),
        libc=" ".join(platform.libc_ver()).strip(),
        python=platform.python_version(),
        runtime=runtime_name(),
        packages=installed_versions(PACKAGES),
    )


def read_system(root: Path = ROOT) -> str | None:
    """Name and version of the distribution by /etc/os-release."""
    for place in ("etc/os-release", "usr/lib/os-release"):
        try:
            text = (root / place).read_text(errors="replace")
        except OSError:
            continue
        name = re.search(r"""^PRETTY_NAME=["']?(.*?)["']?$""", text, re.MULTILINE)
        if name:
            return name[1]
    return None
