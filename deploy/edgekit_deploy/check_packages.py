"""Do Python, the C libraries, numpy, OpenCV and the TFLite runtime go together? Pure functions over what was found."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgekit_deploy.checks import Check, broken, note, ok

LITERT_GLIBC = (2, 34)
LITERT_GLIBCXX = (3, 4, 30)
# tflite-runtime's last version has wheels up to this Python.
TFLITE_PYTHON = (3, 11)
OPENCVS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
PACKAGES = ("numpy", *OPENCVS, "ai-edge-litert", "tflite-runtime")
DEPLOY_REMEDY = 'pip install "edgekit[deploy]"'
REINSTALL = "pip install --force-reinstall --no-deps {}"
TFLITE_REMEDY = 'pip install "numpy<2" "opencv-python<4.12"'
OLD_SYSTEM_REMEDY = "Install 64-bit Raspberry Pi OS Bookworm or newer: LiteRT needs glibc 2.34 and GLIBCXX 3.4.30."
# System libraries that OpenCV's wheel does not bring along.
OPENCV_LIBRARIES = ("libGL", "libglib", "libgthread")


def check_python(version: tuple[int, ...]) -> Check:
    """3.11 to 3.13 are tested; newer ones are worth a note."""
    text = ".".join(map(str, version))
    if version < (3, 11):
        return broken("Python", text, "Install Raspberry Pi OS Bookworm or newer: edgekit needs Python 3.11.")
    if version >= (3, 14):
        return note("Python", text, "Tested with 3.11 to 3.13.")
    return ok("Python", text)


def check_architecture(machine: str, bits: int, python: tuple[int, ...]) -> Check:
    """LiteRT has no 32-bit build, tflite-runtime none for ARMv6; 64-bit boards often run a 32-bit system.

    Args:
        machine: As `uname -m`: of the kernel, which may be 64-bit under a 32-bit system.
        bits: Of Python.
        python: Its version.
    """
    if bits == 64:
        return ok("architecture", f"{machine}, 64-bit")
    found = f"32-bit Python on {machine}: LiteRT has no 32-bit build"
    if machine.startswith("armv6"):
        return broken(
            "architecture", f"{machine}, 32-bit: no TFLite runtime has a build", "Use a Pi Zero 2, 3 or newer."
        )
    if python[:2] > TFLITE_PYTHON:
        found += f", and tflite-runtime none for Python {python[0]}.{python[1]}"
        return broken("architecture", found, "Install 64-bit Raspberry Pi OS.")
    remedy = 'Install 64-bit Raspberry Pi OS, or: pip install "edgekit[tflite-runtime]"'
    return note("architecture", found, remedy)


def check_c_library(libc: tuple[str, str], glibcxx: tuple[int, ...] | None, versions: Mapping[str, str]) -> Check:
    """LiteRT's wheels need glibc 2.34 and GLIBCXX 3.4.30 (Bookworm has both, Bullseye neither).

    Args:
        libc: As `platform.libc_ver()`.
        glibcxx: As `newest_glibcxx`.
        versions: Of the installed packages.
    """
    name, text = libc
    if name != "glibc":
        found = f"{name or 'unknown'} {text}".strip()
        return note("C library", found, "LiteRT's wheels need glibc: use a Debian-like system.")
    found = f"glibc {text}" + (f", GLIBCXX {_dotted(glibcxx)}" if glibcxx else "")
    if _numbers(text) >= LITERT_GLIBC and (glibcxx is None or glibcxx >= LITERT_GLIBCXX):
        return ok("C library", found)
    if "tflite-runtime" in versions and "ai-edge-litert" not in versions:
        return note("C library", f"{found}: too old for LiteRT, fine for tflite-runtime", OLD_SYSTEM_REMEDY)
    remedy = f'{OLD_SYSTEM_REMEDY} Or, on Python 3.11: pip install "edgekit[tflite-runtime]"'
    return broken("C library", f"{found}: too old for LiteRT", remedy)


def newest_glibcxx(root: Path) -> tuple[int, ...] | None:
    """The newest GLIBCXX that the system's libstdc++ offers, such as (3, 4, 30); None if there is no such library."""
    found: list[tuple[int, ...]] = []
    for place in ("usr/lib", "lib"):
        for library in (*root.glob(f"{place}/libstdc++.so.6"), *root.glob(f"{place}/*/libstdc++.so.6")):
            try:
                names = re.findall(rb"GLIBCXX_(\d+(?:\.\d+)+)", library.read_bytes())
            except OSError:
                continue
            found += [_numbers(name.decode()) for name in names]
    return max(found, default=None)


def check_numpy(versions: Mapping[str, str], problem: str = "") -> Check:
    """tflite-runtime was built for numpy 1: with numpy 2 it imports and then fails.

    Args:
        versions: Of the installed packages.
        problem: Why `import numpy` fails, or "".
    """
    version = versions.get("numpy")
    if version is None:
        return broken("numpy", "not installed", DEPLOY_REMEDY)
    if problem:
        # piwheels' builds take OpenBLAS from the system.
        remedy = "sudo apt-get install libopenblas0" if "openblas" in problem else REINSTALL.format(f"numpy=={version}")
        return broken("numpy", f"{version} does not load: {problem}", remedy)
    if _only_tflite(versions) and _numbers(version) >= (2,):
        return broken("numpy", f"{version}, but tflite-runtime needs numpy 1", TFLITE_REMEDY)
    return ok("numpy", version)


def check_opencv(versions: Mapping[str, str], problem: str, has_cv2: bool = True) -> Check:
    """One cv2 only, one that loads, and one that agrees with numpy.

    Args:
        versions: Of the installed packages.
        problem: Why `import cv2` fails, or "".
        has_cv2: Whether there is a module of that name: Debian's python3-opencv is no Python package.
    """
    builds = [name for name in OPENCVS if name in versions]
    text = ", ".join(f"{name} {versions[name]}" for name in builds) or "cv2 of the system"
    wanted = '"opencv-python<4.12"' if _numbers(versions.get("numpy", "2")) < (2,) else "opencv-python"
    if len(builds) > 1:
        # Each removal takes files of the others with it: all go, one comes back.
        remedy = f"pip uninstall -y {' '.join(builds)} && pip install {wanted}"
        return broken("OpenCV", f"{text}: they overwrite each other's cv2", remedy)
    if builds and _numbers(versions[builds[0]]) >= (4, 12) and _numbers(versions.get("numpy", "2")) < (2,):
        return broken("OpenCV", f"{text}, but it needs numpy 2", f'pip install "{builds[0]}<4.12"')
    if not has_cv2:
        return broken("OpenCV", "not installed", DEPLOY_REMEDY)
    if problem:
        return broken("OpenCV", f"cv2 does not load: {problem}", _opencv_remedy(problem, wanted))
    return ok("OpenCV", text)


def check_runtime(versions: Mapping[str, str], answer: str, problem: str) -> Check:
    """An interpreter that runs a network; LiteRT rather than tflite-runtime.

    Args:
        versions: Of the installed packages.
        answer: Package and version of the interpreter that ran the probe network, or "".
        problem: Why it did not run, or "".
    """
    if "ai-edge-litert" not in versions and "tflite-runtime" not in versions:
        return broken("runtime", "no TFLite interpreter", DEPLOY_REMEDY)
    if problem:
        return broken("runtime", f"it does not run a network: {problem}", _runtime_remedy(versions, problem))
    if answer.startswith("tflite-runtime"):
        found = f"{answer}: no XNNPACK for int8, so slower, and other bits than LiteRT"
        return note("runtime", found, "Where Python is 64-bit: pip install ai-edge-litert")
    return ok("runtime", answer)


def check_xnnpack(answer: str, kernels: str, has_cpu_list: bool) -> Check:
    """XNNPACK proved by the plan of a network that it can take whole.

    Args:
        answer: Package and version of the interpreter.
        kernels: What ran the probe network.
        has_cpu_list: Whether /sys/devices/system/cpu/possible is there; XNNPACK counts the cores by it.
    """
    if kernels == "xnnpack":
        return ok("XNNPACK", f"takes int8 networks ({answer})")
    if answer.startswith("tflite-runtime"):
        return note("XNNPACK", f"not for int8 in {answer}", "Where Python is 64-bit: pip install ai-edge-litert")
    remedy = REINSTALL.format("ai-edge-litert")
    if not has_cpu_list:
        remedy = "Mount /sys (docker run: it is there by default; chroot: mount --rbind /sys ROOT/sys)."
    return broken("XNNPACK", f"not taken although {answer} has it: several times slower", remedy)


def _opencv_remedy(problem: str, wanted: str) -> str:
    if any(library in problem for library in OPENCV_LIBRARIES):
        return "sudo apt-get install libgl1 libglib2.0-0"
    return REINSTALL.format(wanted)


def _runtime_remedy(versions: Mapping[str, str], problem: str) -> str:
    if "GLIBC" in problem:
        return OLD_SYSTEM_REMEDY
    if _only_tflite(versions) and _numbers(versions.get("numpy", "1")) >= (2,):
        return TFLITE_REMEDY
    package = "tflite-runtime==2.14.0" if _only_tflite(versions) else "ai-edge-litert"
    return REINSTALL.format(package)


def _only_tflite(versions: Mapping[str, str]) -> bool:
    """LiteRT is taken where both are installed."""
    return "tflite-runtime" in versions and "ai-edge-litert" not in versions


def _numbers(version: str) -> tuple[int, ...]:
    """(4, 11, 0) for "4.11.0rc1": the leading number of each part."""
    return tuple(_leading(version))


def _leading(version: str) -> Iterator[int]:
    for part in version.split("."):
        digits = re.match(r"\d+", part)
        if not digits:
            return
        yield int(digits[0])


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
