"""Copy a model to a device with the OpenSSH client, and prove that it arrived.

The file goes through one ssh connection into a temporary name, is hashed on the far side and only then renamed: the
device never sees half a model. The user's own ssh configuration counts; host keys are always checked.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgekit import bundle as bundle_file
from edgekit.errors import EdgekitError, InputError, MissingError

CONNECT_SECONDS = 10
# A link that died does not say so: after so many questions without an answer ssh ends.
ALIVE_SECONDS, ALIVE_COUNT = 15, 4
# What ssh itself exits with when it gets no session, what the shell does for a command that is not there or may not be
# executed, and our own code for bytes that arrived wrong.
NO_CONNECTION, CANNOT_RUN, WRONG_BYTES = 255, (126, 127), 65
_WORD = r"[^\s@:/\[\]-][^\s@:/\[\]]*"
TARGET = re.compile(rf"(?P<host>(?:{_WORD}@)?(?:\[[0-9A-Fa-f:.%\w]+\]|{_WORD}))(?::(?P<folder>.*))?", re.DOTALL)

# Runs under `sh` on the device: folder, temporary name, final name, sha256 as $1…$4, the model on stdin.
RECEIVE = """\
set -eu
mkdir -p -- "$1"
cd -- "$1"
trap 'rm -f -- "$2"' EXIT HUP INT TERM
cat > "$2"
got=$(sha256sum < "$2")
[ "${got%% *}" = "$4" ] || exit 65
chmod 644 -- "$2"
sync
mv -f -- "$2" "$3"
"""


@dataclass(frozen=True)
class Target:
    """Where to copy to.

    Attributes:
        host: As ssh takes it: host, user@host, or a name of the user's ssh configuration.
        folder: On the device; relative to the home folder unless it starts with a slash.
    """

    host: str
    folder: str

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read [user@]host[:folder].

        Raises:
            InputError: The text is something else (a leading dash too: it would be an option to ssh).
        """
        match = TARGET.fullmatch(text)
        if match is None:
            raise InputError(f"The target must be [user@]host[:folder], got {text!r}.", "Example: pi@raspberrypi.local")
        folder = (match["folder"] or ".").removeprefix("~/")
        if folder == "~":
            folder = "."
        if "\0" in folder or "\n" in folder:
            raise InputError(f"The target's folder must be one line, got {folder!r}.")
        return cls(match["host"].replace("[", "").replace("]", ""), folder)


@dataclass(frozen=True)
class Ssh:
    """The OpenSSH client with our options.

    Attributes:
        host: The first part of a `Target`.
        port: None as configured.
        config: Another configuration file than the user's.
    """

    host: str
    port: int | None = None
    config: Path | None = None

    def arguments(self, remote: str) -> list[str]:
        """The command line that runs `remote` on the device.

        Raises:
            MissingError: There is no ssh.
        """
        ssh = shutil.which("ssh")
        if ssh is None:
            raise MissingError("The OpenSSH client must be installed, got no ssh.", "sudo apt install openssh-client")
        # BatchMode fails instead of asking for a password that a script could not type.
        options = ["-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}"]
        options += ["-o", f"ServerAliveInterval={ALIVE_SECONDS}", "-o", f"ServerAliveCountMax={ALIVE_COUNT}"]
        options += ["-p", str(self.port)] if self.port is not None else []
        options += ["-F", str(self.config)] if self.config is not None else []
        return [ssh, *options, "--", self.host, remote]

    def run(self, remote: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a command line on the device with `data` as its stdin.

        Raises:
            MissingError: ssh is not installed, or got no session.
        """
        done = subprocess.run(self.arguments(remote), input=data, capture_output=True, check=False)  # noqa: S603
        if done.returncode == NO_CONNECTION:
            raise MissingError(
                f"{self.host} must let ssh in without a password, got: {last_line(done.stderr)}.",
                f"Try: ssh {self.host} true. For keys: ssh-copy-id {self.host}",
            )
        return done


def push(model: Path, target: Target, ssh: Ssh) -> PurePosixPath:
    """Check `model`, copy it into the target's folder under its own name, and verify its hash there.

    Returns:
        The path on the device.

    Raises:
        InputError: The file is no whole model of ours, or the device could not store it.
        MissingError: As `Ssh.run`.
        EdgekitError: Other bytes arrived than were sent.
    """
    data = bundle_file.read(model).data
    digest = hashlib.sha256(data).hexdigest()
    temporary = f".{model.name}.{secrets.token_hex(4)}"
    done = ssh.run(receive_command(target.folder, temporary, model.name, digest), data)
    if done.returncode == WRONG_BYTES:
        raise EdgekitError(f"{ssh.host} must receive the bytes that were sent, got others.", "Push again.")
    if done.returncode:
        raise InputError(
            f"{ssh.host} must be able to store {model.name} in {target.folder}, got: {last_line(done.stderr)}.",
            "Choose another folder: user@host:folder",
        )
    return PurePosixPath(target.folder) / model.name


def receive_command(folder: str, temporary: str, name: str, digest: str) -> str:
    """The remote command line; whatever shell the user logs in with only sees quoted words."""
    return shlex.join(["sh", "-c", RECEIVE, "edgekit", folder, temporary, name, digest])


def run_doctor(ssh: Ssh, path: PurePosixPath, remote_edgekit: str) -> tuple[int, str]:
    """Run `edgekit doctor` on the device.

    Returns:
        Its exit code (one of CANNOT_RUN if edgekit is not there) and its output.
    """
    # A folder may start with a dash.
    done = ssh.run(shlex.join([remote_edgekit, "doctor", "--", str(path)]))
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace").strip()


def last_line(output: bytes) -> str:
    """The last line that says something, without its full stop."""
    lines = [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "no message"
