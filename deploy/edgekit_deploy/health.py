"""The board's state, from sysfs and procfs alone: heat, throttling, clock, memory, disk.

Every function takes the root of the file system, so that a test can plant one. None is always "the machine does not
tell": no file of that name, or nothing sensible in it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")
# Bits of the Pi firmware's GET_THROTTLED; the same ones 16 higher say that it has happened since the board was booted.
THROTTLE_BITS = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
EVER_SHIFT = 16
# What the kernel calls the processor's own sensor, best first: Pi and most ARM boards, Intel, AMD.
CPU_ZONES = ("cpu", "x86_pkg_temp", "soc", "k10temp")
COLDEST, HOTTEST = -60.0, 200.0
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Throttling:
    """What slows the board down, in the words of THROTTLE_BITS.

    Attributes:
        now: At this moment.
        ever: Since the board was booted.
    """

    now: tuple[str, ...] = ()
    ever: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """One look at the board; None where the machine does not tell.

    Attributes:
        board: Its name, such as "Raspberry Pi 4 Model B Rev 1.4".
        temperature: Of the processor, degrees Celsius.
        throttling: Only a Raspberry Pi tells.
        frequency: Of the processor now, MHz.
        max_frequency: The most that it can do, MHz.
        resident: Memory of this process now, MiB.
        peak: The most that it has been, MiB.
        free_disk: For what this user may write at the root, MiB.
    """

    board: str | None = None
    temperature: float | None = None
    throttling: Throttling | None = None
    frequency: float | None = None
    max_frequency: float | None = None
    resident: float | None = None
    peak: float | None = None
    free_disk: float | None = None

    @property
    def warning(self) -> str:
        """What slows the board down at this moment, such as "under-voltage, throttled", or ""."""
        return ", ".join(self.throttling.now) if self.throttling else ""


def read_health(root: Path = ROOT) -> Health:
    """Everything at once; takes a fraction of a millisecond and never raises."""
    frequency, max_frequency = read_frequency(root)
    resident, peak = read_memory(root)
    return Health(
        read_board(root),
        read_temperature(root),
        read_throttling(root),
        frequency,
        max_frequency,
        resident,
        peak,
        read_free_disk(root),
    )


def read_board(root: Path = ROOT) -> str | None:
    """The board by its device tree, or by its firmware's tables (a PC)."""
    base = os.fspath(root)
    for name in ("proc/device-tree/model", "sys/class/dmi/id/product_name"):
        text = _text(f"{base}/{name}")
        if text:
            return text
    return None


def read_temperature(root: Path = ROOT) -> float | None:
    """Degrees Celsius of the processor's zone, else of the first zone that has a plausible value."""
    base = f"{os.fspath(root)}/sys/class/thermal"
    zones = [(_zone_rank(_text(f"{base}/{zone}/type")), zone) for zone in _numbered(base, "thermal_zone")]
    for _, zone in sorted(zones, key=lambda pair: pair[0]):
        millidegrees = _number(f"{base}/{zone}/temp")
        if millidegrees is not None and COLDEST < millidegrees / 1e3 < HOTTEST:
            return millidegrees / 1e3
    return None


def read_throttling(root: Path = ROOT) -> Throttling | None:
    """The Pi firmware's flags; where only the voltage sensor is there (rpi_volt), what it says of this moment."""
    base = os.fspath(root)
    # The bus is soc, scb or one with its address in its name, by board and kernel.
    for bus in _listed(f"{base}/sys/devices/platform", ("soc", "scb", "axi")):
        for firmware in ("soc:firmware", f"{bus}:firmware"):
            flags = _number(f"{base}/sys/devices/platform/{bus}/{firmware}/get_throttled", 16)
            if flags is not None:
                return decode_throttling(flags)
    for sensor in _numbered(f"{base}/sys/class/hwmon", "hwmon"):
        if _text(f"{base}/sys/class/hwmon/{sensor}/name") == "rpi_volt":
            alarm = _number(f"{base}/sys/class/hwmon/{sensor}/in0_lcrit_alarm")
            return None if alarm is None else decode_throttling(int(bool(alarm)))
    return None


def decode_throttling(flags: int) -> Throttling:
    """The words for the firmware's number, as `vcgencmd get_throttled` prints it."""
    now, ever = (
        tuple(word for bit, word in enumerate(THROTTLE_BITS) if flags >> shift >> bit & 1) for shift in (0, EVER_SHIFT)
    )
    return Throttling(now, ever)


def read_frequency(root: Path = ROOT) -> tuple[float | None, float | None]:
    """MHz of the fastest group of cores: (now, the most that it can do)."""
    base = f"{os.fspath(root)}/sys/devices/system/cpu/cpufreq"
    best: tuple[float | None, float | None] = (None, None)
    for policy in _numbered(base, "policy"):
        now = _number(f"{base}/{policy}/scaling_cur_freq")
        most = _number(f"{base}/{policy}/cpuinfo_max_freq")
        if now is not None and (best[0] is None or (most or 0) / 1e3 > (best[1] or 0.0)):
            best = now / 1e3, None if most is None else most / 1e3
    return best


def read_memory(root: Path = ROOT) -> tuple[float | None, float | None]:
    """MiB of this process: (resident now, the most that it has been)."""
    text = _text(f"{os.fspath(root)}/proc/self/status") or ""
    found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", text, re.MULTILINE))
    resident, peak = (int(found[name]) / 1024 if name in found else None for name in ("VmRSS", "VmHWM"))
    return resident, peak


def read_free_disk(path: Path = ROOT) -> float | None:
    """MiB that this user may still write where `path` lies."""
    try:
        disk = os.statvfs(path)
    except OSError:
        return None
    return disk.f_bavail * disk.f_frsize / MIB


def _zone_rank(kind: str | None) -> int:
    names = (kind or "").lower()
    return next((rank for rank, word in enumerate(CPU_ZONES) if names.startswith(word)), len(CPU_ZONES))


def _numbered(folder: str, prefix: str) -> list[str]:
    """Names such as policy0, policy4 in `folder`, by their number."""
    found = [name for name in _listed(folder, prefix) if name[len(prefix) :].isdecimal()]
    return sorted(found, key=lambda name: int(name[len(prefix) :]))


def _listed(folder: str, prefix: str | tuple[str, ...]) -> Iterator[str]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 (three times as fast, and read every second)
    except OSError:
        return
    yield from sorted(name for name in names if name.startswith(prefix))


def _number(path: str, base: int = 10) -> int | None:
    try:
        return int(_text(path) or "", base)
    except ValueError:
        return None


def _text(path: str) -> str | None:
    """The file's words without the white space and the NUL that end them; None if it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 (as above)
            return file.read().rstrip(b"\0 \n\t").decode(errors="replace")
    except OSError:
        return None
