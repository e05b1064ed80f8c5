"""Is this machine fit to run models? Every check returns a `Check` and never raises."""

from __future__ import annotations

import contextlib
import getpass
import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from edgekit_deploy import check_devices, check_packages, probe
from edgekit_deploy.checks import Check, Verdict, note
from edgekit_deploy.health import ROOT, read_health
from edgekit_deploy.versions import installed_versions, python_bits


def check_machine(root: Path = ROOT, path: list[str] | None = None) -> Iterator[Check]:
    """The checks that need no model, in the order of dependence.

    Args:
        root: Where /dev, /sys, /proc and the system's libraries lie.
        path: Where the metadata of Python packages lies; default: where this Python looks.
    """
    versions = installed_versions(check_packages.PACKAGES, path)
    packages = list(_check_packages(root, versions))
    yield from packages
    devices = check_devices.video_devices(root)
    yield check_devices.check_cameras(devices, _group_names(), _members_of_video())
    has_module = all(importlib.util.find_spec(name) for name in ("picamera2", "libcamera"))
    yield check_devices.check_picamera2(devices, has_module, check_devices.has_system_picamera2(root))
    can_draw = not any(check.name in ("numpy", "OpenCV") and check.verdict is Verdict.BROKEN for check in packages)
    yield _check_display(can_draw)
    health = read_health(root)
    yield check_devices.check_health(health)
    yield check_devices.check_disk(health.free_disk)


def _check_packages(root: Path, versions: dict[str, str]) -> Iterator[Check]:
    python = sys.version_info[:3]
    yield check_packages.check_python(python)
    yield check_packages.check_architecture(platform.machine(), python_bits(), python)
    if sys.platform.startswith("linux"):
        libc, glibcxx = platform.libc_ver(), check_packages.newest_glibcxx(root)
        yield check_packages.check_c_library(libc, glibcxx, versions)
    yield check_packages.check_numpy(versions, probe.try_import("numpy") if "numpy" in versions else "")
    has_cv2 = importlib.util.find_spec("cv2") is not None
    yield check_packages.check_opencv(versions, probe.try_import("cv2") if has_cv2 else "", has_cv2)
    answer = probe.try_runtime()
    name, kernels = answer.lines if len(answer.lines) == 2 else ("", "")
    yield check_packages.check_runtime(versions, name, answer.problem)
    if name:
        has_cpu_list = (root / "sys/devices/system/cpu/possible").exists()
        yield check_packages.check_xnnpack(name, kernels, has_cpu_list)


def _check_display(can_draw: bool) -> Check:
    if not can_draw:
        return note("display", "not looked at", "Mend numpy and OpenCV first.")
    from edgekit_deploy.outputs.window import display_problem

    return check_devices.check_display(os.environ, display_problem())


def _group_names() -> list[str]:
    with contextlib.suppress(ImportError):  # Windows has no groups
        import grp

        known = {group.gr_gid: group.gr_name for group in grp.getgrall()}
        return [known[number] for number in os.getgroups() if number in known]
    return []


def _members_of_video() -> list[str]:
    """Users in the group video, this one as "me"."""
    with contextlib.suppress(ImportError, KeyError, OSError):
        import grp

        user = getpass.getuser()
        return ["me" if member == user else member for member in grp.getgrnam("video").gr_mem]
    return []
