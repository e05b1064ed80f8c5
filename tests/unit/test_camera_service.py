"""What systemd is told: a real datagram socket on the other end, and a loop that hangs."""

import os
import signal
import socket
import subprocess
import threading
import time

import pytest
from support import tiny_model
from support.camera_process import COLOURS, EDGEKIT, environment, make_files
from support.faulty_camera import Cameras, quicken

from edgekit_deploy import camera, capture
from edgekit_deploy.camera import Limits, run_camera
from edgekit_deploy.classifier import Classifier
from edgekit_deploy.fleet import unit
from edgekit_deploy.service import Service
from edgekit_deploy.sources.folder import FolderSource
from edgekit_deploy.sources.frames import SourceLost

# systemd-analyze's "OK" begins here; the issue of it was at most so much.
MOST_EXPOSED = 3.0


@pytest.fixture
def manager(tmp_path):
    """systemd's end of the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.settimeout(30.0)
        yield end


def told(end) -> list[str]:
    """All that has come."""
    end.setblocking(False)
    messages = []
    while True:
        try:
            messages.append(end.recv(4096).decode())
        except BlockingIOError:
            return messages


@pytest.mark.parametrize("source", ["long.mp4", "63"], ids=["a clip", "a camera that is not there"])
def test_a_process_says_that_it_begins_lives_and_ends(manager, tmp_path, source):
    files = make_files(tmp_path)
    settings = environment(NOTIFY_SOCKET=manager.getsockname(), WATCHDOG_USEC="200000")
    command = [*EDGEKIT, "camera", "model.tflite", "--source", source, "--headless", "--threads", "1"]
    with subprocess.Popen(command, cwd=files, env=settings, stderr=subprocess.PIPE, text=True) as process:
        assert manager.recv(4096) == b"READY=1"
        alive = [manager.recv(4096).decode() for _ in range(5)]
        end = time.monotonic() + 20
        while source == "63" and "camera 63" not in alive[-1] and time.monotonic() < end:
            alive.append(manager.recv(4096).decode())
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert all(message.startswith("WATCHDOG=1\nSTATUS=") for message in alive)
    assert ("camera 63 must open" in alive[-1]) == (source == "63")
    assert told(manager)[-1] == "STOPPING=1"


def test_a_network_that_hangs_is_not_alive(manager, tmp_path, monkeypatch):
    import cv2
    import numpy as np

    for index, colour in enumerate(COLOURS):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((48, 64, 3), colour, np.uint8))
    monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    classifier, woken, hangs = Classifier(tiny_model.parsed()), threading.Event(), threading.Event()
    classify = classifier.classify

    def stuck(frame):
        hangs.set()
        woken.wait(30)
        return classify(frame)

    monkeypatch.setattr(classifier, "classify", stuck)
    loop = threading.Thread(target=run_camera, args=(classifier, FolderSource(tmp_path)), kwargs={"limits": Limits()})
    loop.start()
    assert hangs.wait(30)
    told(manager)
    time.sleep(0.3)
    assert told(manager) == []
    woken.set()
    loop.join(30)
    assert any(message.startswith("WATCHDOG=1") for message in told(manager))


def test_a_driver_that_hangs_is_left_to_another_process(manager, monkeypatch):
    """Threads in a driver cannot be ended; systemd starts the service anew after exit code 3."""
    quicken(monkeypatch)
    monkeypatch.setattr(capture, "HANG_SECONDS", 0.02)
    monkeypatch.setattr(camera, "HUNG_SECONDS", 0.3)
    monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
    cameras = Cameras(["frame", "hang"])
    begun = time.monotonic()
    with pytest.raises(SourceLost, match="hangs in its driver: 4 attempts did not return") as caught:
        run_camera(Classifier(tiny_model.parsed()), cameras(), reopen=cameras, limits=Limits(seconds=20.0))
    assert caught.value.exit_code == 3
    assert time.monotonic() - begun >= 0.3
    cameras.stop.set()


def test_the_watchdog_is_fed_twice_in_its_time_and_only_if_it_is_ours(manager):
    now = [100.0]
    settings = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}
    service = Service(settings, lambda: now[0])
    fed = []
    for _ in range(20):
        service.alive("running")
        fed.append(len(told(manager)))
        now[0] += 1.0
    assert fed == [1, 0, 0, 0, 0] * 4
    for other in (settings | {"WATCHDOG_PID": "1"}, {"NOTIFY_SOCKET": manager.getsockname()}):
        Service(other).alive("running")
    assert told(manager) == []


def test_without_a_manager_or_with_one_that_is_gone_nothing_is_told(tmp_path):
    for settings in ({}, {"NOTIFY_SOCKET": str(tmp_path / "nobody"), "WATCHDOG_USEC": "1000"}):
        service = Service(settings)
        service.ready()
        service.alive("running")
        service.stopping()


def test_an_abstract_address(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        name = f"edgekit-{os.getpid()}"
        end.bind(f"\0{name}")
        end.settimeout(10.0)
        Service({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert end.recv(100) == b"READY=1"


@pytest.mark.debian
@pytest.mark.parametrize("options", [unit.CAMERA, "--source picamera2 --serve 0.0.0.0:8080 --mqtt mqtt://hub"])
def test_systemd_finds_the_unit_little_exposed(tmp_path, options):
    name = f"{unit.NAME}.service"
    (tmp_path / name).write_bytes(unit.files(unit.checked(options), unit.ROOT)[name])
    command = ["systemd-analyze", "security", "--offline=true", str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    line = next(line for line in done.stdout.splitlines() if "Overall exposure level" in line)
    assert float(line.split(":")[1].split()[0]) <= MOST_EXPOSED, line
