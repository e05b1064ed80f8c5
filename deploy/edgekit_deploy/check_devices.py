"""Cameras, display, heat, power and disk: what the board has and what this user may touch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit_deploy.checks import Check, note, ok
from edgekit_deploy.health import Health

# Video devices that are no camera: the Pi's codecs and image processors, which fill /dev/video10 to 31.
NO_CAMERAS = ("codec", "isp", "pispbe", "hevc")
# Receivers of the Pi's camera connector: raw sensor data, of use to libcamera only.
CSI_RECEIVERS = ("unicam", "rp1-cfe")
SYSTEM_PACKAGES = "usr/lib/python3/dist-packages"
LIBCAMERA_REMEDY = "sudo apt-get install python3-picamera2"
VENV_REMEDY = "Make the environment again: python3 -m venv --system-site-packages .venv"
# A processor this hot is about to be slowed down (the Pi's soft limit is 80, some models' 60).
HOT = 80.0
FEW_MIB = 1024.0
POWER_REMEDY = "Use the official power supply and a short cable; unplug USB devices that draw much."
HEAT_REMEDY = "Add a heat sink or a fan."


@dataclass(frozen=True, slots=True)
class VideoDevice:
    """A /dev/videoN.

    Attributes:
        name: "video0".
        driver: What the driver calls it, such as "HD Webcam: HD Webcam"; "" if the machine does not tell.
        is_open: Whether this user may read and write it.
    """

    name: str
    driver: str
    is_open: bool

    @property
    def is_csi(self) -> bool:
        """Whether it is the receiver of a Pi camera module."""
        return self.driver.lower().startswith(CSI_RECEIVERS)

    @property
    def is_camera(self) -> bool:
        """Whether OpenCV can take pictures from it, as far as its name tells."""
        return not self.is_csi and not any(word in self.driver.lower() for word in NO_CAMERAS)


def video_devices(root: Path) -> list[VideoDevice]:
    """All of /dev/video*, by number."""
    found = [path for path in (root / "dev").glob("video*") if path.name[5:].isdecimal()]
    return [
        VideoDevice(path.name, _driver(root, path.name), os.access(path, os.R_OK | os.W_OK))
        for path in sorted(found, key=lambda path: int(path.name[5:]))
    ]


def check_cameras(devices: Sequence[VideoDevice], groups: Sequence[str], members: Sequence[str]) -> Check:
    """V4L2 cameras, and whether we may open them.

    Args:
        devices: As `video_devices`.
        groups: Names of this process's groups.
        members: Users in the group video, as the system has it now; this one as "me".
    """
    cameras = [device for device in devices if device.is_camera]
    closed = [device.name for device in devices if not device.is_open and (device.is_camera or device.is_csi)]
    if closed:
        is_new = "video" not in groups and "me" in members
        remedy = "Log out and in again: you are in the group video, but this session is older."
        if not is_new:
            remedy = "sudo usermod -aG video $USER, then log out and in again"
        return note("cameras", f"no permission for {', '.join(closed)}", remedy)
    if cameras:
        return ok("cameras", ", ".join(f"{c.name}{f' ({c.driver})' if c.driver else ''}" for c in cameras))
    if any(device.is_csi for device in devices):
        return note("cameras", "a Pi camera module only, which OpenCV cannot open", "Use --source picamera2.")
    return note("cameras", "no /dev/video*", "Plug one in, or use --source with a file.")


def check_picamera2(devices: Sequence[VideoDevice], has_module: bool, is_in_system: bool) -> Check:
    """picamera2 comes from apt only: an environment must let the system's packages in.

    Args:
        devices: As `video_devices`.
        has_module: Whether this Python finds picamera2 and libcamera.
        is_in_system: Whether Debian's own Python has them.
    """
    if has_module:
        return ok("picamera2", "available")
    needed = any(device.is_csi for device in devices)
    if is_in_system:
        found, remedy = "installed, but this environment does not let it in", VENV_REMEDY
    else:
        found, remedy = "not installed", LIBCAMERA_REMEDY
    if needed:
        return note("picamera2", f"{found}: the Pi camera module needs it", remedy)
    return ok("picamera2", f"{found}; only a Pi camera module needs it")


def has_system_picamera2(root: Path) -> bool:
    """Whether python3-picamera2 is there for Debian's own Python."""
    return (root / SYSTEM_PACKAGES / "picamera2").is_dir()


def check_display(environment: Mapping[str, str], problem: str) -> Check:
    """A window is a comfort: its absence is only worth a note.

    Args:
        environment: Of this process.
        problem: Why no window can be opened, or "".
    """
    if problem:
        return note("display", problem, "edgekit camera runs headless; see --record.")
    return ok("display", environment.get("WAYLAND_DISPLAY") or environment.get("DISPLAY") or "available")


def check_health(health: Health) -> Check:
    """Power and heat: what slows the board down, or did since it was booted."""
    facts = []
    if health.temperature is not None:
        facts.append(f"{health.temperature:.0f} °C")
    if health.frequency is not None:
        most = "" if health.max_frequency is None else f" of {health.max_frequency:.0f}"
        facts.append(f"{health.frequency:.0f}{most} MHz")
    throttling = health.throttling
    if throttling is None:
        facts.append("this machine does not tell about throttling")
    elif throttling.now:
        return note("throttling", ", ".join([f"now: {health.warning}", *facts]), _throttling_remedy(throttling.now))
    elif throttling.ever:
        words = f"not now, but since boot: {', '.join(throttling.ever)}"
        return note("throttling", ", ".join([words, *facts]), _throttling_remedy(throttling.ever))
    else:
        facts.append("never since boot")
    if health.temperature is not None and health.temperature >= HOT:
        return note("throttling", ", ".join(facts), HEAT_REMEDY)
    return ok("throttling", ", ".join(facts))


def check_disk(free: float | None) -> Check:
    """Room for recordings and logs.

    Args:
        free: MiB.
    """
    if free is None:
        return note("free disk", "unknown", "Look with: df -h")
    remedy = "sudo apt-get clean; delete old recordings; see: sudo du -xh / | sort -h | tail"
    # However little: answers need no disk, and the service does not start where something is broken.
    if free < FEW_MIB:
        return note("free disk", f"{free:.0f} MiB", remedy)
    return ok("free disk", f"{free / 1024:.1f} GiB")


def _throttling_remedy(words: Sequence[str]) -> str:
    """Under-voltage also caps and throttles, so it goes first."""
    return POWER_REMEDY if "under-voltage" in words else HEAT_REMEDY


def _driver(root: Path, name: str) -> str:
    try:
        return (root / "sys/class/video4linux" / name / "name").read_text(errors="replace").strip()
    except OSError:
        return ""
