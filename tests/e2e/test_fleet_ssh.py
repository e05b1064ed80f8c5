"""`edgekit deploy` over a real OpenSSH server: what users type, and connections killed at every step of a push."""

import pytest
from click.testing import CliRunner
from support.fleet import Sshd, state
from support.fleet_faults import FAULTS, Bed, full_disk
from support.small_disk import NoSmallDisk

from edgekit.errors import GateError, MissingError
from edgekit_deploy.fleet.command import command

pytestmark = pytest.mark.deploy


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def fleet(sshd, tmp_path_factory):
    """A device on which release 1 runs."""
    return Bed(tmp_path_factory.mktemp("fleet") / "bed", sshd.config)


def run(*words):
    return CliRunner().invoke(command, [str(word) for word in words])


def test_what_users_type(sshd, fleet):
    config, root = ("--ssh-config", sshd.config), ("--root", fleet.root)
    old = fleet.reset()
    done = run("push", fleet.file(2), "pi", *config)
    assert done.exit_code == 0, done.output
    new = state(fleet.root)
    assert new.startswith("2-")
    shown = run("status", "pi", "gate", *root, *config).output
    assert shown.count(new) == 2 and shown.count(old) == 2
    assert run("rollback", "pi", *root, *config).output == f"pi runs {old}\n"
    assert state(fleet.root) == old
    (fleet.root / "wrong" / "night").mkdir(parents=True)
    (fleet.root / "wrong" / "night" / "1.png").write_bytes(b"picture")
    pull = ("pull-wrong", "pi", fleet.folder / "home", "--from", fleet.root / "wrong", *config)
    done = run(*pull)
    assert "1 new files" in done.output, (done.output, done.exception)
    assert (fleet.folder / "home" / "night" / "1.png").read_bytes() == b"picture"
    assert "0 new files" in run(*pull).output
    # The small wheel has no benchmark; that of the real one is tried on the virtual Pi.
    result = fleet.folder / "result.json"
    assert isinstance(run("bench", "pi", "--json", result, *root, *config).exception, GateError)
    assert not result.exists()


def test_one_host_that_is_gone_does_not_stop_the_other(sshd, fleet, tmp_path):
    fleet.reset()
    config = tmp_path / "config"
    config.write_text(f"Host gone\nHostName 127.0.0.1\nPort 9\n{sshd.config.read_text()}")
    done = run("push", fleet.file(3), "gone", "pi", "--ssh-config", config)
    assert isinstance(done.exception, GateError)
    assert "gone must let ssh in" in done.output
    assert state(fleet.root).startswith("3-")
    done = run("status", "gone", "pi", "--root", fleet.root, "--ssh-config", config)
    assert isinstance(done.exception, MissingError)
    assert "3-" in done.output


def test_a_host_key_that_changed_is_refused(sshd, fleet, tmp_path):
    old = fleet.reset()
    other = (sshd.folder / "id.pub").read_text()
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{sshd.port} {other}")
    config = tmp_path / "config"
    config.write_text(sshd.config.read_text().replace(f"{sshd.folder}/known_hosts", f"{tmp_path}/known_hosts"))
    done = run("push", fleet.file(4), "pi", "--ssh-config", config)
    assert "Host key verification failed" in done.output
    assert state(fleet.root) == old


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_faults(fleet, fault):
    told, _ = fault.happen(fleet)
    assert told


def test_a_disk_that_fills_up(sshd, tmp_path):
    try:
        told, active = full_disk(tmp_path / "disk", sshd.config)
    except NoSmallDisk as reason:
        pytest.skip(str(reason))
    assert "MB free" in told or "No space left" in told
    assert active == "old"
