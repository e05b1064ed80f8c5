"""What the tests of `edgekit deploy` share: bundles, a small wheel, devices without ssh, and an OpenSSH server."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgekit_deploy.fleet import archive
from edgekit_deploy.fleet.archive import Archive, ServicePlan, Target
from edgekit_deploy.fleet.device.manifest import verified
from edgekit_deploy.fleet.session import SshOptions
from support.ports import free_port

# Tells each state on a line, as the table would.
PUSHER = """
import sys
from pathlib import Path
from edgekit_deploy.fleet.archive import unpack
from edgekit_deploy.fleet.push import push_to
from edgekit_deploy.fleet.session import SshOptions
bundle, config = map(Path, sys.argv[1:])
push_to(unpack(bundle), "pi", SshOptions(config), lambda host, state: print(state, flush=True))
"""
PUSHER_STEPS = ("looking", "uploading", "installing", "switching")
ANY = Target("any", "any")
# Of a wheel that installs in a second: its test on the device is that of the file's checksums.
DOCTOR = """
import sys, zipfile

def main():
    if sys.argv[1] != "doctor":
        sys.exit("no such command")
    with zipfile.ZipFile(sys.argv[2]) as file:
        sys.exit(1 if {fails} or file.testzip() else 0)
"""


def small_wheel(folder: Path, version: str, fails: bool = False) -> Path:
    """A wheel "edgekit" whose command `edgekit doctor FILE` holds the file against its CRCs, or always fails."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"edgekit-{version}.dist-info"
    files = {
        "tiny_doctor.py": DOCTOR.format(fails=fails),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: edgekit\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nedgekit = tiny_doctor:main\n",
    }
    digests = {name: hashlib.sha256(text.encode()).digest() for name, text in files.items()}
    record = [
        f"{name},sha256={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}," for name, digest in digests.items()
    ]
    path = folder / f"edgekit-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in {**files, f"{info}/RECORD": "\n".join([*record, f"{info}/RECORD,,", ""])}.items():
            wheel.writestr(name, text)
    return path


@dataclass(frozen=True)
class Local(SshOptions):
    """A device without ssh: what would be run there is run here, in a session of its own.

    Attributes:
        prelude: Python that runs there first.
    """

    prelude: str = ""

    def command(self, host: str, words: list[str]) -> list[str]:
        """As SshOptions has it."""
        python, flag, code, *others = words
        assert (python, flag) == ("python3", "-c")
        return [sys.executable, flag, f"import os; os.setsid()\n{self.prelude}\n{code}", *others]


def state(root: Path) -> str:
    """Which release is active, "" if none; fails unless it is whole, with an environment that works."""
    if not (root / "current").is_symlink():
        return ""
    release = (root / "current").resolve(strict=True)
    manifest = verified((release / "release.json").read_bytes(), sorted((root / "trusted").glob("[!.]*.pem")))
    for entry in manifest["files"]:
        if entry["kind"] != "wheel":
            assert hashlib.sha256((release / entry["name"]).read_bytes()).hexdigest() == entry["sha256"]
    assert (release / "environment" / "complete").exists()
    doctor = [
        str(root / "current" / "environment" / "bin" / "edgekit"),
        "doctor",
        str(root / "current" / "model.tflite"),
    ]
    done = subprocess.run(doctor, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return release.name


def leftovers(root: Path) -> list[str]:
    """What nothing that is active needs."""
    releases = {path.name for path in (root / "releases").iterdir()}
    active = {(root / name).resolve().name for name in ("current", "previous") if (root / name).is_symlink()}
    parts = [str(path) for path in root.rglob(".part-*")]
    unused = [path.name for path in (root / "environments").iterdir() if not (path / "complete").exists()]
    return parts + sorted(releases - active) + unused


def make(
    model: Path, wheels: list[Path], root: Path, number: int, key: Ed25519PrivateKey, **service: object
) -> Archive:
    """A bundle for this machine."""
    return archive.make(model, wheels, ANY, ServicePlan(str(root), **service), number, key)  # type: ignore[arg-type]


def resigned(made: Archive, key: Ed25519PrivateKey, **changes: object) -> Archive:
    """The bundle with another manifest, properly signed: what a careless or hostile signer could make."""
    text = json.dumps({**made.facts, **changes})
    return Archive(text, key.sign(text.encode()), made.key, made.contents)


class Sshd:
    """A real OpenSSH server on a loopback port, until `stop`; its sessions go on after that, as with any other.

    Args:
        folder: For its keys, configuration and log.
        sshd: The command that starts it, without options.
        user: Who logs in.
        there: What `folder` is called where it runs.
        settings: Other lines of its configuration.
    """

    def __init__(
        self, folder: Path, sshd: Sequence[str] = (), user: str = "", there: str = "", settings: Sequence[str] = ()
    ) -> None:
        self.folder, there, port = folder, there or str(folder), free_port()
        server_files(folder, there, [f"Port {port}", "ListenAddress 127.0.0.1", *settings])
        if not sshd:
            Path("/run/sshd").mkdir(exist_ok=True)
            sshd = [shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin") or "sshd"]
        self._process = subprocess.Popen([*sshd, "-D", "-f", f"{there}/sshd_config", "-E", f"{there}/log"])
        user = user or subprocess.check_output(["id", "-un"], text=True).strip()
        self.port, self.config = port, client_config(folder, port, user)
        wait_for_ssh(self.config, 60, lambda: (folder / "log").read_text())

    def stop(self) -> None:
        """No more connections."""
        # By its own word: what started it may not pass a signal on.
        os.kill(int((self.folder / "pid").read_text()), signal.SIGTERM)
        self._process.wait()


def server_files(folder: Path, there: str, settings: Sequence[str]) -> None:
    """Keys of a server and its user, and its configuration; `there` is what `folder` is called where it runs."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("host", "id"):
        make_key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(make_key, check=True)
    lines = [f"HostKey {there}/host", f"AuthorizedKeysFile {there}/id.pub", f"PidFile {there}/pid"]
    lines += ["StrictModes no", "UsePAM no", "PermitRootLogin yes", *settings]
    (folder / "sshd_config").write_text("\n".join([*lines, ""]))


def client_config(folder: Path, port: int, user: str) -> Path:
    """A client's configuration with two names for such a server, and its host key."""
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    lines = ["Host pi gate", "HostName 127.0.0.1", f"Port {port}", f"User {user}"]
    lines += [f"IdentityFile {folder}/id", "IdentitiesOnly yes", "StrictHostKeyChecking yes"]
    lines += [f"UserKnownHostsFile {folder}/known_hosts", "GlobalKnownHostsFile none"]
    (folder / "config").write_text("\n".join([*lines, ""]))
    return folder / "config"


def wait_for_ssh(config: Path, seconds: float, complaint: Callable[[], str]) -> None:
    """Until it lets us in."""
    end, command = time.monotonic() + seconds, SshOptions(config).command("pi", ["true"])
    while subprocess.run(command, capture_output=True, check=False).returncode:
        assert time.monotonic() < end, complaint()
        time.sleep(0.2)


def killed_push(bundle: Path, config: Path, root: Path | str, victim: str, step: str) -> None:
    """Push in a process of its own, kill -9 "pusher", "ssh" or "remote shell" at a step, and wait for what is left."""
    words = [sys.executable, "-c", PUSHER, str(bundle), str(config)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pusher:
        assert pusher.stdout is not None
        said: list[str] = []
        while not (said and said[-1].startswith(step)):
            said += [pusher.stdout.readline()]
            assert said[-1], f"the push must get to {step!r}, said:\n{''.join(said)}"
        end = time.monotonic() + 60
        while not (chosen := _victims(pusher.pid, root)[victim]):
            assert time.monotonic() < end, "the device's part must start"
        for process in chosen:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    end = time.monotonic() + 300
    while _agents(root):
        assert time.monotonic() < end, "what is left must end by itself"
        time.sleep(0.05)


def _victims(pusher: int, root: Path | str) -> dict[str, list[psutil.Process]]:
    process = psutil.Process(pusher)
    return {"pusher": [process], "ssh": process.children(), "remote shell": _agents(root)}


def _agents(root: Path | str) -> list[psutil.Process]:
    """Processes on the device that work for a push; not the client, which names the folder too."""
    found = psutil.process_iter(["name", "cmdline"])
    named = [process for process in found if f"--root {root}" in " ".join(process.info["cmdline"] or ())]
    return [process for process in named if process.info["name"] != "ssh"]
