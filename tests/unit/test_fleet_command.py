"""`edgekit deploy keygen` and `build` on the command line, and hosts: what is made, and what is refused."""

import os
import pty
import subprocess
import sys

import pytest
from click.testing import CliRunner
from support import tiny_model
from support.fleet import ANY, small_wheel

from edgekit.errors import EdgekitError, InputError
from edgekit_deploy.fleet import archive, keys
from edgekit_deploy.fleet.archive import ServicePlan
from edgekit_deploy.fleet.command import command
from edgekit_deploy.fleet.push import read_hosts
from edgekit_deploy.fleet.session import SshOptions


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A model and a small wheel."""
    folder = tmp_path_factory.mktemp("parts")
    (folder / "model.tflite").write_bytes(tiny_model.sealed())
    return folder / "model.tflite", [small_wheel(folder, "1.0")]


def run(*words, **settings):
    return CliRunner().invoke(command, [str(word) for word in words], **settings)


def test_keygen_and_build_on_the_command_line(tmp_path, parts, monkeypatch):
    monkeypatch.setenv("EDGEKIT_KEY_PASSPHRASE", "open sesame")
    private, out = tmp_path / "k" / "fleet.pem", tmp_path / "app.ekb"
    assert run("keygen", private).exit_code == 0
    assert private.stat().st_mode & 0o777 == 0o600
    assert b"ENCRYPTED" in private.read_bytes()
    build = ("build", parts[0], "--key", private, "--wheels", parts[1][0].parent, "--number", 7, "--out", out)
    assert run(*build).exit_code == 0, run(*build).output
    first = out.read_bytes()
    out.unlink()
    assert run(*build).exit_code == 0
    assert out.read_bytes() == first
    made = archive.unpack(out)
    assert {entry["name"] for entry in made.facts["files"]} > {"edgekit-camera.service", "camera.env", "model.tflite"}
    assert isinstance(run("keygen", private).exception, InputError)
    for value in ("wrong", ""):
        monkeypatch.setenv("EDGEKIT_KEY_PASSPHRASE", value)
        assert isinstance(run(*build).exception, InputError)


def test_a_passphrase_is_asked_for_at_a_terminal_and_only_there(tmp_path, monkeypatch):
    monkeypatch.delenv("EDGEKIT_KEY_PASSPHRASE", raising=False)
    path = tmp_path / "fleet.pem"
    assert isinstance(run("keygen", path, "--passphrase").exception, InputError)
    assert not path.exists()
    ours, theirs = pty.openpty()
    code = "from edgekit.cli import main; main()"
    command = [sys.executable, "-c", code, "deploy", "keygen", str(path), "--passphrase"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as asking:
        os.close(theirs)
        for question in (b"Passphrase", b"Repeat"):
            said = b""
            while question not in said:
                said += os.read(ours, 1000)
            os.write(ours, b"open sesame\n")
        assert asking.wait(timeout=60) == 0
    os.close(ours)
    keys.load(path, b"open sesame")
    with pytest.raises(InputError, match="passphrase"):
        keys.load(path, None)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--camera", "--no-such-option"], "no-such-option"),
        (["--camera", "--source '/dev/my camera'"], "spaces"),
        (["--camera", "'"], "quotation"),
        (["--root", "relative"], "absolute"),
        (["--healthy", "true"], "--restart"),
        (["--restart", "", "--camera", "--source 0"], "both"),
        (["--wheel", "x.whl"], "both"),
        (["--key", "missing.pem"], "keygen"),
    ],
)
def test_bad_input_of_build_is_told_and_nothing_is_written(tmp_path, parts, options, reason):
    keys.generate(tmp_path / "fleet.pem", None)
    out = tmp_path / "app.ekb"
    words = ["build", parts[0], "--key", tmp_path / "fleet.pem", "--wheels", parts[1][0].parent, "--out", out, *options]
    done = run(*words)
    assert isinstance(done.exception, InputError)
    assert reason in str(done.exception)
    assert not out.exists()


def test_other_keys_and_models_are_told(tmp_path, parts):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    other = X25519PrivateKey.generate().private_bytes(encoding, form, serialization.NoEncryption())
    (tmp_path / "other.pem").write_bytes(other)
    with pytest.raises(InputError, match="Ed25519"):
        keys.load(tmp_path / "other.pem", None)
    keys.generate(tmp_path / "own.pem", None)
    key = keys.load(tmp_path / "own.pem", None)
    (tmp_path / "cut.tflite").write_bytes(parts[0].read_bytes()[:-20])
    with pytest.raises(EdgekitError):
        archive.make(tmp_path / "cut.tflite", parts[1], ANY, ServicePlan("/x"), 1, key)


def test_lists_of_hosts(tmp_path):
    path = tmp_path / "fleet.txt"
    path.write_text("# all of them\npi@porch\n\n  gate  # at the gate\n")
    assert read_hosts(path) == ["pi@porch", "gate"]
    path.write_text("# none\n")
    with pytest.raises(InputError, match="must name hosts"):
        read_hosts(path)


def test_hosts_that_are_options_are_refused():
    for host in ("-oProxyCommand=x", "pi@-x", "", "a b", "a@b@c", "h:folder", "a/b"):
        with pytest.raises(InputError, match="host"):
            SshOptions().command(host, ["true"])
