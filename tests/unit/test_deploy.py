"""The systemd unit, the pinned packages, and what the device side imports."""

import configparser
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from edgekit.cli import cli
from edgekit_deploy.fleet import unit, wheels
from edgekit_deploy.fleet.archive import Target
from edgekit_deploy.outputs.recorder import FINISH_SECONDS

ROOT = Path(__file__).parents[2]


def service(options=unit.CAMERA, root=unit.ROOT):
    """The unit's section [Service], and the words that it reads from its settings."""
    files = unit.files(unit.checked(options), root)
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read_string(files[f"{unit.NAME}.service"].decode())
    name, _, value = files["camera.env"].decode().strip().partition("=")
    assert name == "EDGEKIT_CAMERA"
    return parser["Service"], shlex.split(shlex.split(value)[0])


@pytest.mark.parametrize("key", ["ExecStartPre", "ExecStart"])
def test_unit_calls_commands_that_exist_with_options_that_exist(key):
    section, settings = service(root="/srv/kit")
    program, name, *arguments = shlex.split(section[key])
    assert program == "/srv/kit/current/environment/bin/edgekit"
    assert arguments[0] == "/srv/kit/current/model.tflite"
    arguments = [word for words in arguments for word in (settings if words == "$EDGEKIT_CAMERA" else [words])]
    sub_command = cli.get_command(click.Context(cli), name)
    assert sub_command is not None
    sub_command.make_context(name, arguments)  # raises on an unknown option


def test_unit_is_hardened():
    section, _ = service()
    assert section["DynamicUser"] == "yes"
    for key in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateNetwork", "RestrictSUIDSGID"):
        assert section[key] == "yes"
    assert section["ProtectSystem"] == "strict"
    assert section["DeviceAllow"] == "char-video4linux rw"


@pytest.mark.parametrize(
    "options",
    [
        "--serve 8080",
        "--serve=0.0.0.0:8080",
        "--source rtsp://cam/live",
        "--source 0 --mqtt mqtt://hub",
        # The source may be a URL in the device's /etc/edgekit/secrets.
        "--headless",
    ],
)
def test_only_what_needs_a_network_has_one(options):
    section, words = service(options)
    assert words == options.split()
    assert section["PrivateNetwork"] == "no"
    assert section["RestrictAddressFamilies"] == "AF_UNIX AF_INET AF_INET6"


def test_a_network_can_be_asked_for():
    """For what stands in the device's secrets: EDGEKIT_MQTT, or a camera's URL that takes the place of --source."""
    words = unit.checked("--source 0 --headless")
    lines = unit.files(words, unit.ROOT, network=True)[f"{unit.NAME}.service"].decode().splitlines()
    assert "PrivateNetwork=no" in lines and "PrivateNetwork=yes" not in lines


@pytest.mark.parametrize("options", ["--source picamera2", "--source picamera2:1", "--source=picamera2:0"])
def test_the_camera_module_has_its_devices(options):
    words = unit.checked(options)
    assert unit.has_camera_module(words)
    files = unit.files(words, unit.ROOT)
    lines = files[f"{unit.NAME}.service"].decode().splitlines()
    allowed = {line for line in lines if line.startswith("DeviceAllow=")}
    assert len(allowed) == 4
    assert "PrivateNetwork=yes" in lines


def test_a_hung_loop_is_restarted_and_a_slow_recording_is_waited_for():
    section, _ = service()
    assert (section["Type"], section["Restart"]) == ("notify", "on-failure")
    assert int(section["WatchdogSec"]) >= 10
    assert int(section["TimeoutStopSec"]) > FINISH_SECONDS


def test_beside_what_apt_compiled_on_bookworm_numpy_is_the_one_it_was_compiled_for():
    for python, has_system_packages, version in (("3.11", True, "1."), ("3.11", False, "2."), ("3.13", True, "2.")):
        names = wheels.pins(Target("aarch64", python), True, has_system_packages)
        assert any(name.startswith(f"numpy=={version}") for name in names)
        assert any(name.startswith("starlette==") for name in names)


@pytest.mark.parametrize("name", ["requirements-pi.txt", "requirements-tflite-runtime.txt"])
def test_device_requirements_are_pinned_and_light(name):
    lines = next((ROOT / "deploy").rglob(name)).read_text().splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    assert all(line.count("==") == 1 for line in wanted)
    packages = {line.split("==")[0].lower() for line in wanted}
    assert packages >= {"numpy", "opencv-python", "click", "rich"}
    assert not packages & {"torch", "tensorflow", "onnx", "onnx2tf", "pillow", "matplotlib", "opencv-python-headless"}


BLOCKED = ("torch", "tensorflow", "onnx", "onnx2tf", "matplotlib", "PIL", "edgekit_quantize", "onnxruntime", "scipy")


def test_device_side_never_reaches_the_hosts_packages():
    """Every module of the device side imports in a process where the heavy names do not exist."""
    modules = sorted(path.stem for path in (ROOT / "deploy" / "edgekit_deploy").glob("*.py") if path.stem != "__init__")
    assert len(modules) > 15
    code = f"""
import importlib, sys
for name in {BLOCKED!r}:
    sys.modules[name] = None
for module in {modules!r}:
    importlib.import_module("edgekit_deploy." + module)
print("fine")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "fine", done.stderr


@pytest.mark.parametrize("name", ["camera", "bench", "doctor", "deploy"])
def test_help_imports_nothing_heavy(name):
    code = f"""
import sys
from edgekit.cli import run
code = run([{name!r}, "--help"])
heavy = [m for m in ("cv2", "numpy", "ai_edge_litert", "tflite_runtime", "torch", "tensorflow") if m in sys.modules]
print(code, heavy)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines()[-1] == "0 []", done.stdout + done.stderr
    assert "Example" in done.stdout
