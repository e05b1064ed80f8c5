"""The doctor on the machine: each trap is planted and recognised, with the command that mends it."""

import os
import signal
from dataclasses import replace

import pytest
from support import tiny_model

from edgekit.runtime import Kernels, Network
from edgekit_deploy import check_devices, check_packages, doctor, probe
from edgekit_deploy.check_devices import VideoDevice, video_devices
from edgekit_deploy.checks import Verdict
from edgekit_deploy.health import Health, Throttling

GOOD = {"numpy": "2.4.6", "opencv-python": "4.11.0.86", "ai-edge-litert": "2.3.0"}
OLD = {"numpy": "1.26.4", "opencv-python": "4.11.0.86", "tflite-runtime": "2.14.0"}
BOOKWORM, BULLSEYE = ("glibc", "2.36"), ("glibc", "2.31")
LITERT, TFLITE = "ai-edge-litert 2.3.0", "tflite-runtime 2.14.0"
KILL = "import os; os.kill(os.getpid(),"
OK, NOTE, BROKEN = Verdict.OK, Verdict.NOTE, Verdict.BROKEN


def plant(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def packages(root, versions):
    """A folder of installed packages, as far as their metadata goes."""
    for name, version in versions.items():
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        plant(root, {f"{name.replace('-', '_')}-{version}.dist-info/METADATA": metadata})
    return root


def test_this_machine_is_not_broken():
    checks = list(doctor.check_machine())
    assert [check.name for check in checks] == [
        "Python",
        "architecture",
        "C library",
        "numpy",
        "OpenCV",
        "runtime",
        "XNNPACK",
        "cameras",
        "picamera2",
        "display",
        "throttling",
        "free disk",
    ]
    assert [check for check in checks if check.verdict is BROKEN] == []
    assert [check for check in checks if check.verdict is NOTE and not check.remedy] == []


@pytest.mark.parametrize(
    ("check", "verdict", "word"),
    [
        (check_packages.check_python((3, 9, 2)), BROKEN, "Bookworm"),
        (check_packages.check_python((3, 13, 0)), OK, ""),
        (check_packages.check_python((3, 15, 0)), NOTE, "Tested"),
        (check_packages.check_architecture("aarch64", 64, (3, 11, 2)), OK, ""),
        (check_packages.check_architecture("armv7l", 32, (3, 11, 2)), NOTE, "edgekit[tflite-runtime]"),
        (check_packages.check_architecture("aarch64", 32, (3, 11, 2)), NOTE, "64-bit Raspberry Pi OS"),
        (check_packages.check_architecture("armv7l", 32, (3, 13, 1)), BROKEN, "64-bit Raspberry Pi OS"),
        (check_packages.check_architecture("armv6l", 32, (3, 11, 2)), BROKEN, "Zero 2"),
        (check_packages.check_c_library(BOOKWORM, (3, 4, 30), GOOD), OK, ""),
        (check_packages.check_c_library(BOOKWORM, None, GOOD), OK, ""),
        (check_packages.check_c_library(BULLSEYE, (3, 4, 28), GOOD), BROKEN, "Bookworm"),
        (check_packages.check_c_library(BULLSEYE, (3, 4, 28), {}), BROKEN, "edgekit[tflite-runtime]"),
        (check_packages.check_c_library(BULLSEYE, (3, 4, 28), OLD), NOTE, "Bookworm"),
        (check_packages.check_c_library(BOOKWORM, (3, 4, 29), GOOD), BROKEN, "GLIBCXX 3.4.30"),
        (check_packages.check_c_library(("", ""), None, GOOD), NOTE, "glibc"),
        (check_packages.check_numpy(GOOD), OK, ""),
        (check_packages.check_numpy(OLD), OK, ""),
        (check_packages.check_numpy({}), BROKEN, 'pip install "edgekit[deploy]"'),
        (check_packages.check_numpy(OLD | {"numpy": "2.1.0"}), BROKEN, 'pip install "numpy<2" "opencv-python<4.12"'),
        (check_packages.check_numpy(GOOD | {"tflite-runtime": "2.14.0"}), OK, ""),
        (
            check_packages.check_numpy(GOOD, "ImportError: libopenblas.so.0: cannot open shared object file"),
            BROKEN,
            "sudo apt-get install libopenblas0",
        ),
        (
            check_packages.check_numpy(GOOD, "the process got SIGSEGV"),
            BROKEN,
            "--force-reinstall --no-deps numpy==2.4.6",
        ),
        (check_packages.check_opencv(GOOD, ""), OK, ""),
        (check_packages.check_opencv({"numpy": "1.24.2"}, ""), OK, ""),
        (check_packages.check_opencv({"numpy": "2.0.0"}, "", has_cv2=False), BROKEN, 'pip install "edgekit[deploy]"'),
        (
            check_packages.check_opencv(OLD | {"opencv-python": "4.12.0.88"}, "numpy.core.multiarray failed to import"),
            BROKEN,
            'pip install "opencv-python<4.12"',
        ),
        (
            check_packages.check_opencv(GOOD | {"opencv-python-headless": "4.11.0.86"}, ""),
            BROKEN,
            "pip uninstall -y opencv-python opencv-python-headless && pip install opencv-python",
        ),
        (
            check_packages.check_opencv(OLD | {"opencv-contrib-python": "4.11.0.86"}, ""),
            BROKEN,
            'pip uninstall -y opencv-python opencv-contrib-python && pip install "opencv-python<4.12"',
        ),
        (
            check_packages.check_opencv(GOOD, "ImportError: libGL.so.1: cannot open shared object file"),
            BROKEN,
            "sudo apt-get install libgl1",
        ),
        (check_packages.check_opencv(OLD, "odd"), BROKEN, '--force-reinstall --no-deps "opencv-python<4.12"'),
        (check_packages.check_runtime({"numpy": "2.0"}, "", ""), BROKEN, 'pip install "edgekit[deploy]"'),
        (check_packages.check_runtime(GOOD, LITERT, ""), OK, ""),
        (check_packages.check_runtime(OLD, TFLITE, ""), NOTE, "pip install ai-edge-litert"),
        (check_packages.check_runtime(GOOD, "", "version `GLIBCXX_3.4.30' not found"), BROKEN, "Bookworm"),
        (check_packages.check_runtime(GOOD, "", "illegal instruction"), BROKEN, "--no-deps ai-edge-litert"),
        (check_packages.check_runtime(OLD, "", "odd"), BROKEN, "--no-deps tflite-runtime==2.14.0"),
        (check_packages.check_runtime(OLD | {"numpy": "2.0.0"}, "", "_ARRAY_API"), BROKEN, 'pip install "numpy<2"'),
        (check_packages.check_xnnpack(LITERT, "xnnpack", True), OK, ""),
        (check_packages.check_xnnpack(LITERT, "builtin", True), BROKEN, "--force-reinstall"),
        (check_packages.check_xnnpack(LITERT, "builtin", False), BROKEN, "Mount /sys"),
        (check_packages.check_xnnpack(TFLITE, "builtin", True), NOTE, "pip install ai-edge-litert"),
    ],
)
def test_traps_of_packages(check, verdict, word):
    assert (check.verdict, word in check.remedy) == (verdict, True), check


def camera(name, driver="HD Webcam", is_open=True):
    return VideoDevice(name, driver, is_open)


CSI = [camera("video0", "unicam-image"), camera("video10", "bcm2835-codec-decode"), camera("video13", "bcm2835-isp")]
PI5_CSI = [camera("video0", "rp1-cfe-csi2_ch0"), camera("video19", "rpi-hevc-dec"), camera("video20", "pispbe-input")]


@pytest.mark.parametrize(
    ("check", "verdict", "word"),
    [
        (check_devices.check_cameras([], [], []), NOTE, "--source"),
        (check_devices.check_cameras([camera("video0")], ["video"], []), OK, ""),
        (check_devices.check_cameras(CSI, ["video"], []), NOTE, "picamera2"),
        (check_devices.check_cameras(PI5_CSI, ["video"], []), NOTE, "picamera2"),
        (check_devices.check_cameras(CSI[1:], ["video"], []), NOTE, "Plug one in"),
        (check_devices.check_cameras([camera("video0", is_open=False)], [], []), NOTE, "usermod -aG video $USER"),
        (check_devices.check_cameras([camera("video0", is_open=False)], [], ["me"]), NOTE, "Log out and in"),
        (check_devices.check_cameras([camera("video0", is_open=False)], ["video"], ["me"]), NOTE, "usermod"),
        (check_devices.check_cameras([camera("video0"), replace(CSI[1], is_open=False)], [], []), OK, ""),
        (check_devices.check_picamera2(CSI, True, True), OK, ""),
        (check_devices.check_picamera2(CSI, False, True), NOTE, "--system-site-packages"),
        (check_devices.check_picamera2(PI5_CSI, False, False), NOTE, "sudo apt-get install python3-picamera2"),
        (check_devices.check_picamera2([camera("video0")], False, False), OK, ""),
        (check_devices.check_display({"DISPLAY": ":0"}, ""), OK, ""),
        (check_devices.check_display({}, "there is no display"), NOTE, "headless"),
        (check_devices.check_health(Health()), OK, ""),
        (check_devices.check_health(Health(temperature=55.0, throttling=Throttling())), OK, ""),
        (check_devices.check_health(Health(temperature=85.0)), NOTE, "fan"),
        (check_devices.check_health(Health(throttling=Throttling(("under-voltage", "throttled")))), NOTE, "power"),
        (check_devices.check_health(Health(throttling=Throttling((), ("under-voltage",)))), NOTE, "power"),
        (check_devices.check_health(Health(throttling=Throttling(("soft temperature limit",)))), NOTE, "fan"),
        (check_devices.check_disk(20_000.0), OK, ""),
        (check_devices.check_disk(500.0), NOTE, "apt-get clean"),
        (check_devices.check_disk(0.0), NOTE, "apt-get clean"),
        (check_devices.check_disk(None), NOTE, "df"),
    ],
)
def test_traps_of_devices(check, verdict, word):
    assert (check.verdict, word in check.remedy) == (verdict, True), check


def test_what_is_found_is_said():
    assert check_devices.check_cameras([camera("video2")], [], []).found == "video2 (HD Webcam)"
    health = Health(temperature=61.3, frequency=600.0, max_frequency=1500.0, throttling=Throttling(("throttled",)))
    assert check_devices.check_health(health).found == "now: throttled, 61 °C, 600 of 1500 MHz"
    assert "32-bit" in check_packages.check_architecture("aarch64", 32, (3, 11)).found


def test_video_devices_of_a_planted_tree(tmp_path, monkeypatch):
    for number, name in ((0, "unicam-image"), (10, "bcm2835-codec-decode"), (2, "HD Webcam")):
        plant(tmp_path, {f"dev/video{number}": "", f"sys/class/video4linux/video{number}/name": f"{name}\n"})
    plant(tmp_path, {"dev/video": "", "dev/videodev": ""})
    found = video_devices(tmp_path)
    assert [(device.name, device.driver) for device in found] == [
        ("video0", "unicam-image"),
        ("video2", "HD Webcam"),
        ("video10", "bcm2835-codec-decode"),
    ]
    assert [(device.is_csi, device.is_camera) for device in found] == [(True, False), (False, True), (False, False)]
    assert all(device.is_open for device in found)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert not any(device.is_open for device in video_devices(tmp_path))
    assert video_devices(tmp_path / "nothing") == []


def test_glibcxx_is_read_from_the_library(tmp_path):
    assert check_packages.newest_glibcxx(tmp_path) is None
    names = b"\x7fELF\0GLIBCXX_3.4\0GLIBCXX_3.4.9\0GLIBCXX_3.4.28\0GLIBCXX_DEBUG_MESSAGE_LENGTH\0"
    plant(tmp_path, {"usr/lib/aarch64-linux-gnu/libstdc++.so.6": names})
    assert check_packages.newest_glibcxx(tmp_path) == (3, 4, 28)


def test_a_planted_bullseye_with_a_camera_module(tmp_path):
    """The whole machine part over a planted root and planted packages."""
    root = plant(
        tmp_path / "root",
        {
            "usr/lib/aarch64-linux-gnu/libstdc++.so.6": b"GLIBCXX_3.4.28\0",
            "usr/lib/python3/dist-packages/picamera2/__init__.py": "",
            "dev/video0": "",
            "sys/class/video4linux/video0/name": "unicam-image\n",
            "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
        },
    )
    site = packages(tmp_path / "site", OLD | {"numpy": "2.1.0", "opencv-python-headless": "4.11.0.86"})
    checks = {check.name: check for check in doctor.check_machine(root, [str(site)])}
    assert {name for name, check in checks.items() if check.verdict is BROKEN} == {"numpy", "OpenCV"}
    assert "too old" in checks["C library"].found and checks["C library"].verdict is NOTE
    assert "--source picamera2" in checks["cameras"].remedy
    assert "--system-site-packages" in checks["picamera2"].remedy
    assert "under-voltage" in checks["throttling"].found and "power" in checks["throttling"].remedy
    assert checks["display"].found == "not looked at"


def test_the_probe_network_is_what_it_says():
    data = probe.MODEL.read_bytes()
    assert data == tiny_model.flatbuffer(tiny_model.input_spec(8, 8), 2)
    assert Network(data).kernels is Kernels.XNNPACK


def test_the_probe_runs_in_a_process_of_its_own():
    answer = probe.try_runtime()
    assert answer.problem == ""
    assert answer.lines == (Network(probe.MODEL.read_bytes()).runtime, "xnnpack")
    assert probe.try_import("json") == ""
    assert probe.try_import("no_such_module") == "ModuleNotFoundError: No module named 'no_such_module'"


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (
            f"import os; os.kill(os.getpid(), {int(signal.SIGILL)})",
            "illegal instruction: a build for another processor",
        ),
        (f"{KILL} {int(signal.SIGSEGV)})", "the process got SIGSEGV"),
        ("raise SystemExit(3)", "exit code 3"),
        ("raise ValueError('x' * 1000)", "ValueError: " + "x" * 188),
    ],
)
def test_a_probe_that_dies_is_a_problem(code, problem):
    assert probe.run_python(code).problem == problem


def test_a_probe_that_hangs_or_cannot_start_is_a_problem(monkeypatch):
    monkeypatch.setattr(probe, "LIMIT_SECONDS", 0.2)
    assert "TimeoutExpired" in probe.run_python("import time; time.sleep(60)").problem
    assert "FileNotFoundError" in probe.run_python("", python="/nothing/python").problem
