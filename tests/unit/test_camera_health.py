"""The board's state, read from planted trees of files: as a Pi, a PC and a bare container have them."""

import json
import os
import subprocess
import sys
import time

import pytest

from edgekit_deploy.health import (
    THROTTLE_BITS,
    Health,
    Throttling,
    decode_throttling,
    read_free_disk,
    read_health,
    read_temperature,
    read_throttling,
)

FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
# The promise is 1 ms; the median of many on an idle core is a tenth of it.
MOST_SECONDS = 1e-3


def plant(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def zones(*pairs):
    found = {}
    for number, (kind, temp) in enumerate(pairs):
        found[f"sys/class/thermal/thermal_zone{number}/type"] = f"{kind}\n"
        found[f"sys/class/thermal/thermal_zone{number}/temp"] = f"{temp}\n"
    return found


PI4 = {
    "proc/device-tree/model": b"Raspberry Pi 4 Model B Rev 1.4\0",
    **zones(("cpu-thermal", 61342)),
    FIRMWARE: "50005\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "600000\n",
    "sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq": "1500000\n",
    "proc/self/status": "Name:\tpython3\nVmPeak:\t  900000 kB\nVmHWM:\t   98304 kB\nVmRSS:\t   65536 kB\nThreads:\t4\n",
}


def test_a_raspberry_pi(tmp_path):
    health = read_health(plant(tmp_path, PI4))
    throttling = Throttling(("under-voltage", "throttled"), ("under-voltage", "throttled"))
    disk = os.statvfs(tmp_path)
    expected = Health("Raspberry Pi 4 Model B Rev 1.4", 61.342, throttling, 600.0, 1500.0, 64.0, 96.0, health.free_disk)
    assert health == expected
    assert health.free_disk == pytest.approx(disk.f_bavail * disk.f_frsize / 2**20, rel=0.05)
    assert health.warning == "under-voltage, throttled"


def test_a_bare_root_tells_nothing_but_its_disk(tmp_path):
    health = read_health(tmp_path)
    assert health == Health(free_disk=health.free_disk)
    assert health.warning == ""
    assert read_free_disk(tmp_path / "nothing") is None


@pytest.mark.parametrize("bit", range(4))
@pytest.mark.parametrize("shift", [0, 16])
def test_each_bit_has_its_word(bit, shift):
    words = (THROTTLE_BITS[bit],)
    assert decode_throttling(1 << bit + shift) == (Throttling(now=words) if shift == 0 else Throttling(ever=words))


def test_bits_of_no_meaning_have_no_word():
    assert decode_throttling(0xFFF0FFF0) == Throttling()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({FIRMWARE: "0\n"}, Throttling()),
        ({FIRMWARE: "0x50000\n"}, Throttling((), ("under-voltage", "throttled"))),
        ({FIRMWARE: ""}, None),
        ({FIRMWARE: "not a number"}, None),
        ({"sys/devices/platform/scb/soc:firmware/get_throttled": "2\n"}, Throttling(("frequency capped",))),
        (
            {"sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled": "8\n"},
            Throttling(("soft temperature limit",)),
        ),
        (
            {
                "sys/class/hwmon/hwmon0/name": "cpu_thermal\n",
                "sys/class/hwmon/hwmon2/name": "rpi_volt\n",
                "sys/class/hwmon/hwmon2/in0_lcrit_alarm": "1\n",
            },
            Throttling(("under-voltage",)),
        ),
    ],
)
def test_throttling_of_several_kernels(tmp_path, files, expected):
    assert read_throttling(plant(tmp_path, files)) == expected


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([("acpitz", 27800), ("x86_pkg_temp", 51000)], 51.0),
        ([("gpu-thermal", 70000), ("cpu-thermal", 45000)], 45.0),
        ([("cpu-thermal", -274000), ("ddr", 40000)], 40.0),
        ([("iwlwifi", "junk")], None),
        ([("odd", -5500)], -5.5),
    ],
)
def test_the_processors_zone_is_preferred(tmp_path, pairs, expected):
    assert read_temperature(plant(tmp_path, zones(*pairs))) == expected


def test_a_zone_that_cannot_be_read_is_passed_over(tmp_path):
    root = plant(tmp_path, zones(("cpu-thermal", 50000), ("soc-thermal", 44000)))
    unreadable = root / "sys/class/thermal/thermal_zone0/temp"
    unreadable.unlink()
    unreadable.mkdir()
    assert read_temperature(root) == 44.0


def test_ten_zones_are_ordered_by_number(tmp_path):
    assert read_temperature(plant(tmp_path, zones(*[("other", 1000 * n) for n in range(20, 32)]))) == 20.0


def test_of_two_groups_of_cores_the_fast_one_counts(tmp_path):
    cpu = "sys/devices/system/cpu/cpufreq"
    files = {}
    for policy, now, most in (("policy0", 1800000, 1800000), ("policy4", 408000, 2400000)):
        files |= {f"{cpu}/{policy}/scaling_cur_freq": str(now), f"{cpu}/{policy}/cpuinfo_max_freq": str(most)}
    health = read_health(plant(tmp_path, files))
    assert (health.frequency, health.max_frequency) == (408.0, 2400.0)


def test_memory_of_this_process_follows_what_it_holds():
    # In a process of its own: one that has freed much takes a block from that.
    code = """
import json
import psutil
import numpy as np
from edgekit_deploy.health import read_memory
before, _ = read_memory()
block = np.ones(64 * 2**20, np.uint8)
after, peak = read_memory()
print(json.dumps([before, after, peak, psutil.Process().memory_info().rss / 2**20]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    before, after, peak, resident = json.loads(done.stdout)
    assert after - before == pytest.approx(64.0, abs=8.0)
    assert after == pytest.approx(resident, abs=2.0)
    assert after <= peak < after + 8.0


def test_it_is_quick(tmp_path):
    root = plant(tmp_path, PI4)
    seconds = []
    for _ in range(101):
        start = time.perf_counter()
        read_health(root)
        seconds.append(time.perf_counter() - start)
    assert sorted(seconds)[50] < MOST_SECONDS
