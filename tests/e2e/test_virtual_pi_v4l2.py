"""A booted arm64 machine with systemd, sshd, sudo and a V4L2 camera: the camera loop, and a release as a service."""

import json
import time

import pytest
from support import device_fixtures, tiny_model, virtual_pi
from support.fleet import Sshd, make
from support.virtual_pi_boot import Machine

from edgekit.errors import GateError
from edgekit_deploy.fleet import keys, unit, wheels
from edgekit_deploy.fleet.archive import Target
from edgekit_deploy.fleet.push import push_to
from edgekit_deploy.fleet.session import Session, SshOptions

pytestmark = [pytest.mark.pi_v4l2, pytest.mark.timeout(1500)]
SECONDS = 240.0


def quiet(host, text):
    pass


@pytest.fixture(scope="module")
def bundle(raspberry, tmp_path_factory):
    """Makes releases with all that edgekit needs."""
    folder = tmp_path_factory.mktemp("bundles")
    keys.generate(folder / "fleet.pem", None)
    key = keys.load(folder / "fleet.pem", None)
    (folder / "model.tflite").write_bytes(tiny_model.sealed())
    own = next((raspberry.root / "wheels").glob("edgekit-*.whl"))
    paths = wheels.fetch(own, Target("aarch64", "3.11"), folder / "wheels", False, False)

    def of(number, **service):
        return make(folder / "model.tflite", paths, unit.ROOT, number, key, **service)

    return of


@pytest.fixture(scope="module")
def machine(raspberry, bundle, tmp_path_factory):
    """Booted, with release 1 there, which has no service: installed before, in quicker emulation."""
    raspberry.put(device_fixtures.make(tmp_path_factory.mktemp("fixtures")), "/lab/fixtures")
    (raspberry.root / "lab").chmod(0o777)
    enter = virtual_pi.entering(raspberry.root, "cortex-a72", "/usr/sbin/sshd")
    server = Sshd(raspberry.root / "lab" / "sshd", enter, "pi", "/lab/sshd", ["SetEnv QEMU_CPU=cortex-a72"])
    push_to(bundle(1), "pi", SshOptions(server.config), quiet)
    server.stop()
    with Machine(raspberry) as booted:
        yield booted


@pytest.fixture
def service(machine, bundle):
    """Release 2 runs, as `edgekit deploy build` makes it."""
    files = unit.files(unit.checked(unit.CAMERA), unit.ROOT)
    made = bundle(2, files=files, restart=unit.RESTART, healthy=unit.HEALTHY, seconds=5.0)
    return push_to(made, "pi", SshOptions(machine.config), quiet)


def show(machine, name):
    return machine.run(f"systemctl show -P {name} {unit.NAME}").strip()


def until(condition):
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(1.0)


def test_the_camera_loop_on_vivid(machine):
    # One at a time has the camera.
    machine.run(f"sudo -n systemctl stop {unit.NAME} || true")
    words = "/opt/litert/bin/edgekit camera /lab/fixtures/colours.tflite --source 0 --size 640x480 --headless"
    log = machine.run(f"{words} --no-reconnect --max-frames 20 --jsonl /lab/lines.jsonl --json /lab/stats.json 2>&1")
    # By the guest itself: the host sees what it wrote only later.
    stats = json.loads(machine.run("cat /lab/stats.json"))
    assert stats["inferred"] == 20
    assert stats["captured"] == stats["inferred"] + stats["dropped"]
    assert "camera 0:" in log and "640×480" in log
    lines = [json.loads(line) for line in machine.run("cat /lab/lines.jsonl").splitlines()]
    assert len(lines) == 20 and all(line["top"] for line in lines)


def test_systemd_runs_the_release_and_restarts_a_loop_that_hangs(machine, service):
    assert service.startswith("2-")
    assert show(machine, "ActiveState") == "active"
    # It sees the camera, as a user of its own, and no network.
    until(lambda: " inferred" in machine.run(f"journalctl --unit {unit.NAME}"))
    first, restarts = show(machine, "MainPID"), int(show(machine, "NRestarts"))
    assert machine.run(f"ps -o user= -p {first}").strip() not in ("pi", "root")
    assert "eth0" not in machine.run(f"sudo -n nsenter --target {first} --net ip link")
    machine.run(f"sudo -n kill -STOP {first}")
    until(lambda: int(show(machine, "NRestarts")) > restarts and show(machine, "ActiveState") == "active")
    assert show(machine, "MainPID") != first
    assert "Watchdog timeout" in machine.run(f"journalctl --unit {unit.NAME}")


def test_a_release_that_systemd_cannot_start_goes_back(machine, service, bundle):
    files = unit.files(unit.checked(unit.CAMERA), unit.ROOT) | {"camera.env": b'EDGEKIT_CAMERA="--no-such-option"\n'}
    made = bundle(3, files=files, restart=unit.RESTART, healthy=unit.HEALTHY, seconds=5.0)
    with pytest.raises(GateError, match=r"(?s)must restart.*no-such-option.*The old release runs again"):
        push_to(made, "pi", SshOptions(machine.config), quiet)
    with Session("pi", unit.ROOT, SshOptions(machine.config)) as device:
        assert device.ask("probe")["current"]["id"] == service
    assert show(machine, "ActiveState") == "active"
