"""From one release to another and back: what runs is decided by one rename."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import sys
import time
from pathlib import Path
from typing import IO, Any

from edgekit_deploy.fleet.device.disk import COMMAND_SECONDS, remove, run, sync_folder, tail, write
from edgekit_deploy.fleet.device.manifest import (
    HEX,
    SAFE_NAME,
    Refused,
    check_target,
    machine,
    release_id,
    unsigned,
    verified,
)
from edgekit_deploy.fleet.device.store import Store

# Left over when all is installed.
RESERVE_BYTES = 50 * 2**20
# A virtual environment takes about so many times its wheels.
UNPACKED = 4.0
DOCTOR_SECONDS = 300
# In the folder of a release that has done well for as long as it was watched.
PROVED = "proved"


class Device:
    """A folder of releases.

    Args:
        root: Made if it is missing, before anything is changed.
    """

    def __init__(self, root: Path) -> None:
        self.store = Store(root)
        self.root = root
        self._lock: IO[str] | None = None

    def lock(self) -> None:
        """From now on, until this process ends, no other push; the kernel takes care of that.

        Raises:
            Refused: Another one is at work.
        """
        if self._lock is not None:
            return
        self.store.make_folders()
        # Not inherited: a service that is started meanwhile does not hold it.
        file = (self.root / "lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Refused("Another push to this device is at work. Try again later.") from error
        self._lock = file

    def probe(self) -> dict[str, Any]:
        """What decides whether a bundle fits, and what runs; nothing is changed."""
        disk = next(folder for folder in (self.root, *self.root.parents) if folder.exists())
        return {
            "machine": machine(),
            "python": "{}.{}".format(*sys.version_info),
            "free": shutil.disk_usage(disk).free,
            "trusted": [path.stem for path in self.store.trusted_keys()],
            "current": self._linked("current"),
            "previous": self._linked("previous"),
        }

    def trust(self, name: str, key: bytes) -> dict[str, Any]:
        """Let the first key in; a later one only if it is there already.

        Raises:
            Refused: Another key came first.
        """
        if not HEX.fullmatch(name) or hashlib.sha256(key).hexdigest() != name:
            raise Refused("A key must be named by its hash.")
        known = {path.stem for path in self.store.trusted_keys()}
        if known and name not in known:
            raise Refused(f"Only the keys in {self.store.trusted} may sign, got another. Put it there by hand.")
        write(self.store.trusted / f"{name}.pem", key)
        return {"trusted": name}

    def missing(self, signed: bytes, allow_downgrade: bool) -> dict[str, Any]:
        """Which contents of a bundle are not here yet.

        Raises:
            Refused: The signature is no trusted one's, the bundle is for another machine or older than what runs, or
                the disk is too full.
        """
        manifest = self._accepted(signed, allow_downgrade)
        self.store.sweep()
        sizes = {entry["sha256"]: entry["size"] for entry in manifest["files"]}
        lacking = [digest for digest in sizes if not (self.store.blobs / digest).exists()]
        needed = (1.0 + UNPACKED) * sum(sizes[digest] for digest in lacking) + RESERVE_BYTES
        free = shutil.disk_usage(self.root).free
        if free < needed:
            raise Refused(f"The disk must have {needed / 1e6:.0f} MB free, got {free / 1e6:.0f}.")
        return {"missing": lacking}

    def install(self, signed: bytes, allow_downgrade: bool) -> dict[str, Any]:
        """Make a release of what was put here, and try it; it does not run yet.

        Raises:
            Refused: As `missing`; or a file is missing or altered, or its own test fails.
        """
        manifest = self._accepted(signed, allow_downgrade)
        for entry in manifest["files"]:
            self.store.check(entry)
        try:
            environment = self.store.environment(manifest)
        except (Refused, OSError):
            self.store.sweep()
            raise
        identity = release_id(signed, manifest)
        folder = self.store.release(identity, signed, manifest, environment)
        tested = run([str(environment / "bin" / "edgekit"), "doctor", str(folder / "model.tflite")], DOCTOR_SECONDS)
        if tested.returncode:
            if identity not in self._kept():
                remove(folder)
            raise Refused(f"The release must pass its own test on the device, got:\n{tail(tested)}")
        return {"installed": identity}

    def activate(self, identity: str) -> dict[str, Any]:
        """Switch to an installed release, restart the service and watch it; go back if it does not do well.

        Raises:
            Refused: There is no such release, or it did not do well.
        """
        if not SAFE_NAME.fullmatch(identity) or not (self.store.releases / identity).is_dir():
            raise Refused(f"There must be a release {identity}, got none.")
        before, earlier = self._way_back(identity), self._linked("previous")
        # First the way back, then the switch.
        if before:
            self._link("previous", before)
        self._link("current", identity)
        complaint = self._restarted(identity)
        if not complaint:
            write(self.store.releases / identity / PROVED, b"")
            self.store.keep(self._kept())
            return {"current": identity}
        if not before:
            raise Refused(f"{complaint} There is no other release to go back to.")
        self._link("current", before)
        if earlier:
            self._link("previous", earlier["id"])
        back = self._restarted(before)
        self.store.keep(self._kept())
        raise Refused(f"{complaint} {f'Going back failed too: {back}' if back else 'The old release runs again.'}")

    def rollback(self) -> dict[str, Any]:
        """Activate the release before.

        Raises:
            Refused: There is none.
        """
        previous = self._linked("previous")
        if previous is None or previous == self._linked("current"):
            raise Refused("There must be an older release, got none.")
        return self.activate(previous["id"])

    def _accepted(self, signed: bytes, allow_downgrade: bool) -> dict[str, Any]:
        manifest = verified(signed, self.store.trusted_keys())
        check_target(manifest)
        current = self._linked("current")
        if current and manifest["number"] < current["number"] and not allow_downgrade:
            raise Refused(
                f"A release must be no older than number {current['number']}, which runs, got {manifest['number']}. "
                "Say --allow-downgrade if you mean it."
            )
        return manifest

    def _linked(self, link: str) -> dict[str, Any] | None:
        try:
            folder = (self.root / link).resolve(strict=True)
            manifest = unsigned(folder)
        except (OSError, ValueError, KeyError):
            return None
        return {"id": folder.name, "number": manifest["number"], "model": manifest["model"]}

    def _way_back(self, identity: str) -> str:
        """The newest release, other than this one, that has done well; one whose watch was cut off does not count."""
        for link in ("current", "previous"):
            found = self._linked(link)
            if found and found["id"] != identity and (self.store.releases / found["id"] / PROVED).exists():
                return str(found["id"])
        return ""

    def _kept(self) -> set[str]:
        return {release["id"] for release in map(self._linked, ("current", "previous")) if release}

    def _link(self, name: str, identity: str) -> None:
        part = self.root / f".part-{name}"
        part.unlink(missing_ok=True)
        part.symlink_to(Path("releases") / identity)
        part.rename(self.root / name)
        sync_folder(self.root)

    def _restarted(self, identity: str) -> str:
        """Why the service does not do well with this release; "" if it does, or if there is none."""
        service = unsigned(self.store.releases / identity)["service"]
        if not service["restart"]:
            return ""
        done = run(["sh", "-c", service["restart"]], COMMAND_SECONDS, cwd=self.root)
        if done.returncode:
            return f"The service must restart, got: {tail(done)}."
        end = time.monotonic() + service["seconds"]
        while service["healthy"] and time.monotonic() < end:
            time.sleep(min(1.0, service["seconds"] / 4))
            done = run(["sh", "-c", service["healthy"]], COMMAND_SECONDS, cwd=self.root)
            if done.returncode:
                return f"The service must stay well for {service['seconds']:g} s, got: {tail(done)}."
        return ""
