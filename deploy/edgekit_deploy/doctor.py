"""Is this machine fit to run models, and does a model give the same bits here as where it was made?

Every check returns a `Check` and never raises; a remedy is a command line wherever there is one.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path

from edgekit.errors import EdgekitError

LITERT_GLIBC = (2, 34)
TFLITE_REMEDY = 'pip install "numpy<2" "opencv-python<4.12"'


class Verdict(StrEnum):
    """How a check went. Only BROKEN makes the doctor fail."""

    OK = "ok"
    NOTE = "note"
    BROKEN = "broken"


@dataclass(frozen=True)
class Check:
    """One line of the doctor's table.

    Attributes:
        name: What was looked at.
        verdict: How it is.
        found: What was found.
        remedy: What to do about it; "" if nothing.
    """

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""


def check_machine() -> Iterator[Check]:
    """The checks that need no model, in the order of dependence."""
    yield check_python(sys.version_info[:3])
    yield check_architecture(platform.machine(), 8 * struct.calcsize("P"))
    if sys.platform.startswith("linux"):
        yield check_glibc(platform.libc_ver())
    versions = installed_versions()
    yield check_numpy(versions)
    yield check_opencv(versions)
    yield check_runtime(versions)
    yield check_cameras(Path("/dev"))
    yield check_display()


def installed_versions() -> dict[str, str]:
    """Versions of the packages that matter to the device side, as far as they are installed."""
    names = (
        "numpy",
        "opencv-python",
        "opencv-python-headless",
        "opencv-contrib-python",
        "opencv-contrib-python-headless",
        "ai-edge-litert",
        "tflite-runtime",
    )
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def check_python(version: tuple[int, ...]) -> Check:
    """3.11 to 3.13 are tested; newer ones are worth a note."""
    text = ".".join(map(str, version))
    if version < (3, 11):
        return Check("Python", Verdict.BROKEN, text, "Install Python 3.11 or newer.")
    if version >= (3, 14):
        return Check("Python", Verdict.NOTE, text, "Tested with 3.11 to 3.13.")
    return Check("Python", Verdict.OK, text)


def check_architecture(machine: str, bits: int) -> Check:
    """LiteRT has no 32-bit build; a 64-bit kernel under a 32-bit system is a common trap on the Pi."""
    if bits == 32:
        return Check(
            "architecture",
            Verdict.NOTE,
            f"32-bit Python on {machine}: LiteRT has no 32-bit build",
            'Install 64-bit Raspberry Pi OS, or on Python 3.11: pip install "edgekit[tflite-runtime]"',
        )
    return Check("architecture", Verdict.OK, f"{machine}, 64-bit")


def check_glibc(libc: tuple[str, str]) -> Check:
    """LiteRT's wheels need glibc 2.34 (Bookworm has 2.36, Bullseye 2.31)."""
    name, text = libc
    version = tuple(int(part) for part in text.split(".")[:2] if part.isdecimal())
    if name != "glibc":
        return Check("C library", Verdict.NOTE, f"{name or 'unknown'} {text}".strip(), "LiteRT's wheels need glibc.")
    if version < LITERT_GLIBC:
        remedy = "Upgrade to Raspberry Pi OS Bookworm or newer: LiteRT needs glibc 2.34."
        return Check("C library", Verdict.NOTE, f"glibc {text}", remedy)
    return Check("C library", Verdict.OK, f"glibc {text}")


def check_numpy(versions: dict[str, str]) -> Check:
    """tflite-runtime was built for numpy 1: with numpy 2 it imports and then fails."""
    version = versions.get("numpy")
    if version is None:
        return Check("numpy", Verdict.BROKEN, "not installed", "pip install numpy")
    is_old_runtime_alone = "tflite-runtime" in versions and "ai-edge-litert" not in versions
    if is_old_runtime_alone and _major_minor(version) >= (2, 0):
        return Check("numpy", Verdict.BROKEN, f"{version}, but tflite-runtime needs numpy 1", TFLITE_REMEDY)
    return Check("numpy", Verdict.OK, version)


def check_opencv(versions: dict[str, str]) -> Check:
    """One cv2 only, one that loads, and one that agrees with numpy."""
    builds = [name for name in versions if name.startswith("opencv-")]
    text = ", ".join(f"{name} {versions[name]}" for name in builds)
    if len(builds) > 1:
        remedy = f"pip uninstall -y {' '.join(builds)} && pip install opencv-python"
        return Check("OpenCV", Verdict.BROKEN, f"{text}: they overwrite each other's cv2", remedy)
    if builds and _major_minor(versions[builds[0]]) >= (4, 12) and _major_minor(versions.get("numpy", "2.0")) < (2, 0):
        return Check("OpenCV", Verdict.BROKEN, f"{text}, but it needs numpy 2", 'pip install "opencv-python<4.12"')
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError as error:
        if importlib.util.find_spec("cv2") is None:
            return Check("OpenCV", Verdict.BROKEN, "not installed", 'pip install "edgekit[deploy]"')
        remedy = "sudo apt-get install libgl1 libglib2.0-0" if "libG" in str(error) or "libg" in str(error) else ""
        return Check("OpenCV", Verdict.BROKEN, f"cv2 does not load: {error}", remedy or TFLITE_REMEDY)
    return Check("OpenCV", Verdict.OK, text or f"cv2 {cv2.__version__} of the system")


def check_runtime(versions: dict[str, str]) -> Check:
    """An interpreter that loads; LiteRT rather than tflite-runtime."""
    if "ai-edge-litert" not in versions and "tflite-runtime" not in versions:
        return Check("runtime", Verdict.BROKEN, "no TFLite interpreter", 'pip install "edgekit[deploy]"')
    try:
        from edgekit.runtime import runtime_name

        name = runtime_name()
    except (ImportError, EdgekitError) as error:
        remedy = "pip install --force-reinstall ai-edge-litert" if "ai-edge-litert" in versions else TFLITE_REMEDY
        return Check("runtime", Verdict.BROKEN, f"it does not load: {error}", remedy)
    if name.startswith("tflite-runtime"):
        found = f"{name}: no XNNPACK for int8, so slower, and other bits than LiteRT"
        return Check("runtime", Verdict.NOTE, found, "Where Python is 64-bit: pip install ai-edge-litert")
    return Check("runtime", Verdict.OK, name)


def check_cameras(devices: Path) -> Check:
    """V4L2 devices, and whether we may open them."""
    found = sorted(devices.glob("video*"), key=lambda path: (len(path.name), path.name)) if devices.is_dir() else []
    if not found:
        return Check("cameras", Verdict.NOTE, "no /dev/video*", "Plug one in, or use --source with a file.")
    closed = [path.name for path in found if not os.access(path, os.R_OK | os.W_OK)]
    if closed:
        remedy = "sudo usermod -aG video $USER, then log in again"
        return Check("cameras", Verdict.NOTE, f"no permission for {', '.join(closed)}", remedy)
    return Check("cameras", Verdict.OK, ", ".join(path.name for path in found))


def check_display() -> Check:
    """A window is a comfort: its absence is only worth a note."""
    try:
        from edgekit_deploy.outputs.window import display_problem
    except ImportError:
        return Check("display", Verdict.NOTE, "not looked at: OpenCV does not load")
    problem = display_problem()
    if problem:
        return Check("display", Verdict.NOTE, problem, "edgekit camera runs headless; see --record.")
    return Check("display", Verdict.OK, os.environ.get("DISPLAY", "") or "available")


def _major_minor(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdecimal() else 0 for part in version.split(".")[:2])
