"""A bundle onto devices: several at a time, some before the others, and one that fails does not stop the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import EdgekitError, InputError
from edgekit_deploy.fleet.archive import Archive
from edgekit_deploy.fleet.keys import fingerprint
from edgekit_deploy.fleet.session import Session, SshOptions

MOST_AT_ONCE = 8
Tell = Callable[[str, str], None]


@dataclass(frozen=True)
class Pushed:
    """What became of one device.

    Attributes:
        host: As given.
        release: What it runs now; "" if the push failed.
        complaint: Why it failed, in a line; "" if it did not.
    """

    host: str
    release: str
    complaint: str


def push(
    archive: Archive,
    hosts: Sequence[str],
    options: SshOptions,
    tell: Tell,
    *,
    canaries: int = 0,
    allow_downgrade: bool = False,
) -> list[Pushed]:
    """Bring a bundle onto devices and let it run there.

    Args:
        archive: The bundle.
        hosts: Different devices.
        options: How to reach them.
        tell: Called from several threads with host and state.
        canaries: So many come first; if one of them fails, the others are left alone.
        allow_downgrade: Take it although a device has a newer one.

    Returns:
        One for each host, in their order.

    Raises:
        InputError: A host is given twice.
    """
    if len(set(hosts)) < len(hosts):
        raise InputError("Each host must be given once, got one twice.")

    def one(host: str) -> Pushed:
        try:
            return Pushed(host, push_to(archive, host, options, tell, allow_downgrade), "")
        except EdgekitError as error:
            tell(host, "failed")
            return Pushed(host, "", str(error))

    first, rest = list(hosts[:canaries]), list(hosts[canaries:])
    with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
        done = list(pool.map(one, first))
        if any(pushed.complaint for pushed in done):
            return done + [Pushed(host, "", f"{host} was left alone, because one before it failed.") for host in rest]
        return done + list(pool.map(one, rest))


def push_to(archive: Archive, host: str, options: SshOptions, tell: Tell, allow_downgrade: bool = False) -> str:
    """One device.

    Returns:
        The release that runs now.

    Raises:
        GateError: The device refuses, or went back to the old release.
        MissingError: It cannot be reached.
        EdgekitError: The connection broke.
    """
    with Session(host, archive.facts["root"], options) as device:
        tell(host, "looking")
        found = device.ask("probe")
        if not found["trusted"]:
            # ssh has proved who we are; from now on the key must be the same.
            device.ask("trust", fingerprint(archive.key), data=archive.key)
            tell(host, f"trusts the key {fingerprint(archive.key)[:12]} from now on")
        sizes = {entry["sha256"]: entry["size"] for entry in archive.facts["files"]}
        lacking = device.ask("missing", data=archive.signed, allow_downgrade=allow_downgrade)["missing"]
        for number, digest in enumerate(lacking, 1):
            what = f"uploading {number} of {len(lacking)}, {sizes[digest] / 1e6:.1f} MB"
            device.ask(
                "put",
                digest,
                str(sizes[digest]),
                data=archive.contents[digest],
                tell=lambda share, what=what: tell(host, f"{what}, {share:.0%}"),  # type: ignore[misc]
            )
        tell(host, "installing")
        release = device.ask("install", data=archive.signed, allow_downgrade=allow_downgrade)["installed"]
        tell(host, "switching and watching")
        current = str(device.ask("activate", release)["current"])
        tell(host, f"runs {current}")
        return current


def read_hosts(path: Path) -> list[str]:
    """One host a line; empty lines and what follows a # do not count.

    Raises:
        InputError: The file cannot be read or names none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} must be a readable text file, got: {error}.") from error
    hosts = [line.partition("#")[0].strip() for line in lines]
    if not any(hosts):
        raise InputError(f"{path} must name hosts, one a line, got none.")
    return [host for host in hosts if host]
