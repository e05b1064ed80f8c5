"""`edgekit deploy` to the virtual Pi: its own sshd, python3, pip and openssl, and edgekit with all that it needs."""

import json
import time
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from support import clips, tiny_model, virtual_pi
from support.fleet import PUSHER_STEPS, Sshd, killed_push, resigned

from edgekit.errors import GateError
from edgekit_deploy.fleet import archive, keys
from edgekit_deploy.fleet.command import command
from edgekit_deploy.fleet.push import push_to
from edgekit_deploy.fleet.session import Session, SshOptions

pytestmark = [pytest.mark.pi, pytest.mark.timeout(1500)]
CORE = "cortex-a72"
ROOT = "/opt/edgekit"
# Those that are built for one test: no number twice, or its model would be there already.
OWN = count(101)
VICTIMS = ("pusher", "ssh", "remote shell", "ssh")
# Instead of systemd, which the userland has not.
PID = "/tmp/camera.pid"
CAMERA = "current/environment/bin/edgekit camera current/model.tflite --headless --source /lab/deploy/clip.avi"
RESTART = f"kill $(cat {PID}); setsid {CAMERA} >/tmp/camera.log 2>&1 </dev/null & echo $! >{PID}; sleep 1"
HEALTHY = f"kill -0 $(cat {PID})"


@pytest.fixture(scope="module")
def fleet(raspberry, tmp_path_factory):
    """A server there, and three bundles: a first one with all wheels, another model, and one whose camera ends."""
    folder = raspberry.root / "lab" / "deploy"
    # SetEnv: a session has the core that sshd was started on.
    enter = virtual_pi.entering(raspberry.root, CORE, "/usr/sbin/sshd")
    server = Sshd(folder, enter, "pi", "/lab/deploy", [f"SetEnv QEMU_CPU={CORE} LANG=C.UTF-8"])
    clips.write_clip(folder / "clip.avi", clips.colour_pictures([(0, 0, 250), (250, 0, 0)], 150), fps=2.0)
    scratch = tmp_path_factory.mktemp("deploy")
    wheel = next((raspberry.root / "wheels").glob("edgekit-*.whl"))
    keys.generate(scratch / "fleet.pem", None)

    def build(number, seed, restart=RESTART, watch=4):
        model, out = scratch / f"{seed}.tflite", scratch / f"{number}.ekb"
        model.write_bytes(tiny_model.sealed(seed=seed))
        words = ["build", model, "--key", scratch / "fleet.pem", "--wheel", wheel, "--out", out]
        words += ["--number", number, "--restart", restart, "--healthy", HEALTHY, "--watch", watch]
        done = CliRunner().invoke(command, [str(word) for word in words])
        assert done.exit_code == 0, (done.output, done.exception)
        return out

    ends = RESTART.replace("camera current", "camera --no-such-option current")
    bundles = (build(1, 1), build(2, 2), build(3, 2, ends, watch=60))
    key = keys.load(scratch / "fleet.pem", None)
    yield SimpleNamespace(config=server.config, folder=folder, bundles=bundles, build=build, key=key)
    SshOptions(server.config).run("pi", ["sh", "-c", f"kill $(cat {PID})"])
    server.stop()


def push(fleet, number, **options):
    return push_bundle(fleet, fleet.bundles[number - 1], **options)


def push_bundle(fleet, path, **options):
    return push_to(archive.unpack(path), "pi", SshOptions(fleet.config), lambda host, text: None, **options)


def ask(fleet, verb, **options):
    with Session("pi", ROOT, SshOptions(fleet.config)) as device:
        return device.ask(verb, **options)


def active(fleet):
    """The number of the active release."""
    return ask(fleet, "probe")["current"]["number"]


def runs(fleet):
    """The same, after its doctor there has replayed the golden samples, bit for bit."""
    words = [f"{ROOT}/current/environment/bin/edgekit", "doctor", f"{ROOT}/current/model.tflite"]
    done = SshOptions(fleet.config).run("pi", words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert b"golden" in done.stdout
    return active(fleet)


def test_from_nothing_to_a_running_camera_and_on(fleet):
    started = time.monotonic()
    assert push(fleet, 1, allow_downgrade=True).startswith("1-")
    print(f"first push, emulated: {time.monotonic() - started:.0f} s")
    assert runs(fleet) == 1
    assert SshOptions(fleet.config).run("pi", ["sh", "-c", HEALTHY]).returncode == 0
    push(fleet, 2)
    assert active(fleet) == 2
    result = fleet.folder / "result.json"
    words = ["bench", "pi", "--json", result, "--ssh-config", fleet.config, "--seconds", "0.2"]
    words += ["--threads", "1", "--cold-start", "1"]
    done = CliRunner().invoke(command, [str(word) for word in words])
    assert done.exit_code == 0, (done.output, done.exception)
    assert json.loads(result.read_text())["machine"]
    words = ["rollback", "pi", "--ssh-config", str(fleet.config)]
    assert "runs 1-" in CliRunner().invoke(command, words).output
    assert active(fleet) == 1


def test_a_camera_that_ends_goes_back(fleet):
    push(fleet, 1, allow_downgrade=True)
    with pytest.raises(GateError, match=r"must stay well for 60 s.*The old release runs again"):
        push(fleet, 3)
    assert active(fleet) == 1
    assert SshOptions(fleet.config).run("pi", ["sh", "-c", HEALTHY]).returncode == 0


def test_what_is_unsigned_altered_older_or_leads_elsewhere_is_refused_there(fleet):
    push(fleet, 2, allow_downgrade=True)
    made = archive.unpack(fleet.bundles[1])
    altered = replace(made, manifest=made.manifest.replace('"number": 2', '"number": 9'))
    entry = {"name": "../evil", "kind": "file", "size": 1, "sha256": made.facts["files"][0]["sha256"]}
    evil = resigned(made, fleet.key, files=[*made.facts["files"], entry])
    older = archive.unpack(fleet.bundles[0])
    other = resigned(made, fleet.key, target={"machine": "x86_64", "python": "any"})
    for bad, reason in (
        (altered, "signed by a key"),
        (replace(made, signature=bytes(64)), "signed by a key"),
        (evil, "one of edgekit's"),
        (older, "no older than number 2"),
        (other, "machine aarch64, got one for x86_64"),
    ):
        with pytest.raises(GateError, match=reason):
            push_to(bad, "pi", SshOptions(fleet.config), lambda host, text: None)
    with pytest.raises(GateError, match="must arrive whole"):
        ask_to_store(fleet, made)
    assert runs(fleet) == 2


def ask_to_store(fleet, made):
    """A file whose bytes are others than its name says."""
    with Session("pi", ROOT, SshOptions(fleet.config)) as device:
        device.ask("put", made.facts["files"][0]["sha256"], "5", data=b"other")


@pytest.mark.parametrize(("step", "victim"), list(zip(PUSHER_STEPS, VICTIMS, strict=True)))
def test_killed_at_a_step(fleet, step, victim):
    # What runs, after whichever test; something if nothing does.
    before = active(fleet) if ask(fleet, "probe")["current"] else int(push(fleet, 1).partition("-")[0])
    number = next(OWN)
    bundle = fleet.build(number, seed=number)
    killed_push(bundle, fleet.config, ROOT, victim, step)
    assert runs(fleet) in (before, number)
    push_bundle(fleet, bundle)
    assert active(fleet) == number
