"""Pushing a model: arguments, the real receiving script, a real ssh that fails, the systemd unit, the imports."""

import configparser
import os
import shlex
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from support import tiny_model

from edgekit.cli import cli
from edgekit.errors import EdgekitError, GateError, InputError, MissingError
from edgekit.files import sha256
from edgekit_deploy import push as push_module
from edgekit_deploy.deploy_command import command
from edgekit_deploy.outputs.recorder import FINISH_SECONDS
from edgekit_deploy.push import Ssh, Target, push, receive_command

ROOT = Path(__file__).parents[2]


@pytest.fixture
def model_file(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(tiny_model.sealed())
    return path


@pytest.fixture
def device(tmp_path, monkeypatch):
    """A stand-in for ssh that runs the remote command line here, in a home folder of its own."""
    home, tools = tmp_path / "home", tmp_path / "tools"
    home.mkdir()
    tools.mkdir()
    fake = tools / "ssh"
    fake.write_text(f'#!/bin/sh\nfor last; do :; done\ncd {shlex.quote(str(home))} && exec sh -c "$last"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    return home


@pytest.mark.parametrize(
    ("text", "host", "folder"),
    [
        ("pi", "pi", "."),
        ("pi@raspberrypi.local", "pi@raspberrypi.local", "."),
        ("pi@10.0.0.7:models", "pi@10.0.0.7", "models"),
        ("pi@10.0.0.7:", "pi@10.0.0.7", "."),
        ("h:/opt/a b/c:d", "h", "/opt/a b/c:d"),
        ("h:~/models", "h", "models"),
        ("h:~", "h", "."),
        ("pi@[fe80::1%eth0]:m", "pi@fe80::1%eth0", "m"),
        ("[::1]", "::1", "."),
    ],
)
def test_targets(text, host, folder):
    assert Target.parse(text) == Target(host, folder)


@pytest.mark.parametrize(
    "text", ["", "-oProxyCommand=x", "pi@-x", "-x@pi", "a b", ":x", "a@", "@a", "a@b@c", "a/b", "h:a\nb"]
)
def test_bad_targets(text):
    with pytest.raises(InputError, match="target"):
        Target.parse(text)


def test_arguments_keep_host_keys_checked_and_never_ask(device):
    arguments = Ssh("pi@x", 2222, Path("my config")).arguments("true")
    assert arguments[-3:] == ["--", "pi@x", "true"]
    assert "BatchMode=yes" in arguments
    assert "ServerAliveInterval=15" in arguments and "ServerAliveCountMax=4" in arguments
    assert arguments[arguments.index("-p") + 1] == "2222"
    assert arguments[arguments.index("-F") + 1] == "my config"
    assert not any("StrictHostKeyChecking" in word or "UserKnownHostsFile" in word for word in arguments)
    assert "-p" not in Ssh("pi").arguments("true")


@pytest.mark.parametrize("folder", ["models", "a b/'c'", "$(touch pwned)", "-rf", ";true", '"x"'])
def test_push_arrives_whole_whatever_the_folder_is_called(device, model_file, folder):
    path = push(model_file, Target("pi", folder), Ssh("pi"))
    arrived = device / folder / "model.tflite"
    assert sha256(arrived) == sha256(model_file)
    assert str(path) == f"{folder}/model.tflite"
    assert stat.S_IMODE(arrived.stat().st_mode) == 0o644
    assert [entry.name for entry in (device / folder).iterdir()] == ["model.tflite"]
    assert not list(device.rglob("pwned"))


def test_push_replaces_an_older_model(device, model_file):
    (device / "model.tflite").write_text("old")
    push(model_file, Target("pi", "."), Ssh("pi"))
    assert sha256(device / "model.tflite") == sha256(model_file)


def test_wrong_bytes_on_the_way_leave_the_old_model(device, model_file, monkeypatch):
    (device / "model.tflite").write_text("old")
    honest = receive_command
    monkeypatch.setattr(push_module, "receive_command", lambda *words: honest(*words[:3], "0" * 64))
    with pytest.raises(EdgekitError, match="bytes"):
        push(model_file, Target("pi", "."), Ssh("pi"))
    assert (device / "model.tflite").read_text() == "old"
    assert [entry.name for entry in device.iterdir()] == ["model.tflite"]


def test_a_file_that_changes_meanwhile_does_not_matter(device, model_file, monkeypatch):
    read = push_module.bundle_file.read

    def read_then_change(path):
        model = read(path)
        path.write_bytes(b"newer")
        return model

    monkeypatch.setattr(push_module.bundle_file, "read", read_then_change)
    push(model_file, Target("pi", "."), Ssh("pi"))
    assert (device / "model.tflite").read_bytes() == tiny_model.sealed()


def test_connection_cut_in_the_middle_leaves_nothing(tmp_path, model_file):
    words = shlex.split(receive_command(str(tmp_path / "there"), ".m.tmp", "m.tflite", sha256(model_file)))
    done = subprocess.run(words, input=model_file.read_bytes()[:1000], capture_output=True, check=False)
    assert done.returncode == push_module.WRONG_BYTES
    assert list((tmp_path / "there").iterdir()) == []


def test_a_folder_that_cannot_be_made(device, model_file):
    (device / "file").write_text("")
    with pytest.raises(InputError, match=r"store model\.tflite"):
        push(model_file, Target("pi", "file/in"), Ssh("pi"))


def test_only_whole_models_are_sent(tmp_path, monkeypatch):
    monkeypatch.setattr(Ssh, "run", lambda *arguments: pytest.fail("nothing must be sent"))
    broken = tmp_path / "m.tflite"
    broken.write_bytes(tiny_model.sealed()[:-10])
    with pytest.raises(InputError):
        push(broken, Target("pi", "."), Ssh("pi"))


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_real_ssh_that_gets_no_connection_is_exit_3(model_file):
    if shutil.which("ssh") is None:
        with pytest.raises(MissingError, match="OpenSSH"):
            Ssh("127.0.0.1").run("true")
        return
    with pytest.raises(MissingError, match="ssh-copy-id") as caught:
        Ssh("127.0.0.1", closed_port()).run("true")
    assert "refused" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_ssh_at_all_is_exit_3(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="openssh-client"):
        Ssh("pi").run("true")


def remote_doctor(device, code):
    tool = device / "edgekit"
    tool.write_text(f'#!/bin/sh\necho "doctor saw $*"\nexit {code}\n')
    tool.chmod(0o755)
    return ["--remote-edgekit", "./edgekit"]


def test_command_runs_the_doctor_there(device, model_file):
    done = CliRunner().invoke(command, ["push", str(model_file), "pi:m", *remote_doctor(device, 0)])
    assert done.exit_code == 0, done.output
    assert "same sha256" in done.output
    assert "doctor saw doctor -- m/model.tflite" in done.output


def test_command_fails_the_gate_with_the_doctor(device, model_file):
    done = CliRunner().invoke(command, ["push", str(model_file), "pi:m", *remote_doctor(device, 1)])
    assert isinstance(done.exception, GateError)
    assert "doctor saw" in done.output


def test_command_says_when_there_is_no_doctor(device, model_file):
    done = CliRunner().invoke(command, ["push", str(model_file), "pi:m", "--remote-edgekit", "no-such-edgekit"])
    assert done.exit_code == 0, done.output
    assert "No doctor was run" in done.output


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(ROOT / "deploy" / "systemd" / "edgekit-camera.service")
    return parser


@pytest.mark.parametrize("key", ["ExecStartPre", "ExecStart"])
def test_unit_calls_commands_that_exist_with_options_that_exist(key):
    program, name, *arguments = shlex.split(unit()["Service"][key])
    assert program.endswith("/edgekit")
    sub_command = cli.get_command(click.Context(cli), name)
    assert sub_command is not None
    sub_command.make_context(name, arguments)  # raises on an unknown option


def test_unit_is_hardened():
    service = unit()["Service"]
    assert service["User"] != "root"
    for key in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateNetwork", "RestrictSUIDSGID"):
        assert service[key] == "yes"
    assert service["ProtectSystem"] == "strict"


def test_a_hung_loop_is_restarted_and_a_slow_recording_is_waited_for():
    service = unit()["Service"]
    assert (service["Type"], service["Restart"]) == ("notify", "on-failure")
    assert int(service["WatchdogSec"]) >= 10
    assert int(service["TimeoutStopSec"]) > FINISH_SECONDS


@pytest.mark.parametrize("name", ["requirements-pi.txt", "requirements-tflite-runtime.txt"])
def test_device_requirements_are_pinned_and_light(name):
    lines = (ROOT / "deploy" / name).read_text().splitlines()
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
