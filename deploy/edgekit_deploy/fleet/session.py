"""A device over the user's own OpenSSH client: their configuration, agent and known hosts count."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Self

from edgekit.errors import EdgekitError, GateError, InputError, MissingError
from edgekit_deploy.fleet.device.main import ANSWER, HEADER_DIGITS

# OpenSSH counts the handshake too.
CONNECT_SECONDS = 30
# A link that died does not say so: after so many questions without an answer ssh ends.
ALIVE_SECONDS, ALIVE_COUNT = 15, 4
NO_CONNECTION, NO_COMMAND = 255, 127
CHUNK_BYTES = 1 << 16
HOST = re.compile(r"(?:[^\s@:/-][^\s@:/]*@)?(?:\[[0-9A-Fa-f:.%\w]+\]|[^\s@:/\[\]-][^\s@:/\[\]]*)")
# The device's part (see `device`) comes first on stdin, as JSON: modules by name, in the order in which they need each
# other. Requests follow. So nothing needs to be installed there, and nothing is left.
MODULES = ("disk", "manifest", "store", "switch", "main")
PACKAGE = "edgekit_deploy.fleet.device"
RECEIVE = """
import json, os, sys, types
size, text = int(sys.argv.pop(1)), b""
while len(text) < size:
    part = os.read(0, size - len(text))
    if not part:
        sys.exit(1)
    text += part
for name, code in json.loads(text).items():
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(code, name, "exec"), module.__dict__)
sys.exit(sys.modules[name].main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class SshOptions:
    """How to reach devices.

    Attributes:
        config: Another configuration file than the user's; None: theirs.
    """

    config: Path | None = None

    def command(self, host: str, words: list[str]) -> list[str]:
        """The command line that runs `words` there.

        Raises:
            InputError: `host` is no host.
            MissingError: ssh is not installed.
        """
        if not HOST.fullmatch(host):
            raise InputError(f"A host must be [user@]host, got {host!r}.", "Example: pi@raspberrypi.local")
        ssh = shutil.which("ssh")
        if ssh is None:
            raise MissingError("The OpenSSH client must be installed, got no ssh.", "sudo apt install openssh-client")
        # BatchMode fails instead of asking for a password that a script could not type.
        options = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}"]
        options += ["-o", f"ServerAliveInterval={ALIVE_SECONDS}", "-o", f"ServerAliveCountMax={ALIVE_COUNT}"]
        options += ["-F", str(self.config)] if self.config is not None else []
        return [ssh, *options, "-T", "--", host.replace("[", "").replace("]", ""), shlex.join(words)]

    def run(self, host: str, words: list[str]) -> subprocess.CompletedProcess[bytes]:
        """Run a command there.

        Raises:
            InputError: `host` is no host.
            MissingError: ssh is not installed, or gets no session.
        """
        done = subprocess.run(self.command(host, words), stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603
        if done.returncode == NO_CONNECTION:
            raise _unreachable(host, done.stderr)
        return done


class Session:
    """The device's part, running there; use as a context manager. One connection, one process, one lock.

    Args:
        host: [user@]host, or a name of the user's ssh configuration.
        root: The folder of releases there.
        options: How to reach it.

    Raises:
        InputError: `host` is something else.
        MissingError: ssh is not installed.
    """

    def __init__(self, host: str, root: str, options: SshOptions) -> None:
        self.host = host
        self._agent = agent()
        self._command = options.command(host, ["python3", "-c", RECEIVE, str(len(self._agent)), "--root", root])

    def __enter__(self) -> Self:
        """Connect."""
        self._said = tempfile.TemporaryFile()
        self._ssh = subprocess.Popen(  # noqa: S603
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, bufsize=0
        )
        self._send(self._agent)
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the connection; the device's part then ends after what it is at."""
        if self._ssh.stdin is not None:
            self._ssh.stdin.close()
        if exception[0] is not None and not isinstance(exception[1], EdgekitError):
            # Ctrl-C must not wait for what the device is at; there it goes on to its end.
            self._ssh.kill()
        self._ssh.wait()
        if self._ssh.stdout is not None:
            self._ssh.stdout.close()
        self._said.close()

    def ask(
        self,
        verb: str,
        *values: str,
        data: bytes = b"",
        allow_downgrade: bool = False,
        tell: Callable[[float], None] = lambda share: None,
    ) -> dict[str, Any]:
        """Let the device do something; see `device`.

        Args:
            verb: What.
            values: Of that verb.
            data: Of that verb.
            allow_downgrade: An older release may follow a newer one.
            tell: Called with the share of `data` that is on its way, 0 to 1.

        Raises:
            GateError: It refuses; the reason is its own.
            MissingError: It cannot be reached, or has no python3.
            EdgekitError: The connection broke.
        """
        asked = {"verb": verb, "values": values, "size": len(data), "allow_downgrade": allow_downgrade}
        header = json.dumps(asked).encode()
        self._send(f"{len(header):0{HEADER_DIGITS}d}".encode() + header)
        self._send(data, tell)
        answer = self._answer(verb)
        if "error" in answer:
            raise GateError(f"{self.host} refuses: {answer['error']}")
        return answer

    def _send(self, data: bytes, tell: Callable[[float], None] = lambda share: None) -> None:
        for start in range(0, len(data), CHUNK_BYTES):
            try:
                self._write(memoryview(data)[start : start + CHUNK_BYTES])
            except BrokenPipeError:
                # It ended early; its answer, or ssh's own words, say why.
                return
            tell(min(1.0, (start + CHUNK_BYTES) / len(data)))

    def _write(self, chunk: memoryview) -> None:
        assert self._ssh.stdin is not None  # noqa: S101 - it is a pipe
        while chunk:
            chunk = chunk[self._ssh.stdin.write(chunk) or 0 :]

    def _answer(self, verb: str) -> dict[str, Any]:
        assert self._ssh.stdout is not None  # noqa: S101 - it is a pipe
        buffered = iter(self._ssh.stdout.readline, b"")
        for line in buffered:
            if line.startswith(ANSWER.encode()):
                return dict(json.loads(line[len(ANSWER) :]))
        code = self._ssh.wait()
        self._said.seek(0)
        said = self._said.read()
        if code == NO_COMMAND:
            raise MissingError(f"{self.host} must have python3, got none.", "sudo apt install python3")
        if code == NO_CONNECTION and verb == "probe":
            raise _unreachable(self.host, said)
        raise EdgekitError(
            f"{self.host} must stay reachable during {verb!r}, got: {last_line(said)}.",
            "What ran there runs on. Push again.",
        )


def agent() -> bytes:
    """What RECEIVE reads."""
    parents = dict.fromkeys(("edgekit_deploy", "edgekit_deploy.fleet", PACKAGE), "")
    folder = resources.files(PACKAGE)
    texts = {f"{PACKAGE}.{name}": folder.joinpath(f"{name}.py").read_text("utf-8") for name in MODULES}
    return json.dumps(parents | texts).encode()


def last_line(output: bytes) -> str:
    """What an error message ends with."""
    lines = [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]
    return (lines or ["no message"])[-1].rstrip(".")


def _unreachable(host: str, said: bytes) -> MissingError:
    return MissingError(
        f"{host} must let ssh in without a password, got: {last_line(said)}.",
        f"Try: ssh {host} true. For keys: ssh-copy-id {host}",
    )
