"""What lies on the device: contents by hash, environments, releases. Complete by name, or not there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Protocol

from edgekit_deploy.fleet.device.disk import COMMAND_SECONDS, make_folder, remove, run, sync_folder, tail, write
from edgekit_deploy.fleet.device.manifest import HEX, Refused, unsigned

PART = ".part-"
COMPLETE = "complete"


class Readable(Protocol):
    """Gives b"" at its end."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes."""


class Store:
    """The contents of a folder of releases.

    Args:
        root: See `make_folders`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.trusted, self.blobs, self.environments, self.releases = (
            root / name for name in ("trusted", "blobs", "environments", "releases")
        )

    def make_folders(self) -> None:
        """What is missing of them.

        Raises:
            PermissionError: They cannot be ours.
        """
        for folder in (self.root, self.trusted, self.blobs, self.environments, self.releases):
            make_folder(folder)

    def trusted_keys(self) -> list[Path]:
        """The public keys that count; a half-written one begins with a dot."""
        return sorted(path for path in self.trusted.glob("*.pem") if not path.name.startswith("."))

    def put(self, digest: str, size: int, content: Readable) -> None:
        """Take one file in.

        Raises:
            Refused: Other bytes came than were announced.
        """
        if not HEX.fullmatch(digest):
            raise Refused("A file must be named by its hash.")
        part = self.blobs / f"{PART}{digest}"
        got, length = hashlib.sha256(), 0
        with part.open("wb") as file:
            while length <= size and (chunk := content.read(1 << 16)):
                got.update(chunk)
                length += len(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        if (length, got.hexdigest()) != (size, digest):
            part.unlink()
            raise Refused(f"{digest[:12]} must arrive whole, got {length} of {size} bytes or others.")
        part.rename(self.blobs / digest)
        sync_folder(self.blobs)

    def check(self, entry: dict[str, Any]) -> None:
        """Is a file of a manifest here, as it was signed?

        Raises:
            Refused: It is not; an altered one is thrown away.
        """
        path = self.blobs / entry["sha256"]
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError as error:
            raise Refused(f"{entry['name']} must have been uploaded, got nothing. Push again.") from error
        if digest != entry["sha256"]:
            path.unlink()
            raise Refused(f"{entry['name']} must have the hash that was signed, got another. Push again.")

    def environment(self, manifest: dict[str, Any]) -> Path:
        """The virtual environment of a manifest's wheels, made if it is not there: a new model alone needs no new one.

        Raises:
            Refused: It cannot be made here.
        """
        wheels = sorted((entry["name"], entry["sha256"]) for entry in manifest["files"] if entry["kind"] == "wheel")
        key = hashlib.sha256(json.dumps([wheels, manifest["system_packages"], sys.version]).encode()).hexdigest()[:16]
        folder = self.environments / key
        if not (folder / COMPLETE).exists():
            remove(folder)
            self._make_environment(folder, wheels, manifest["system_packages"])
            os.sync()
            write(folder / COMPLETE, b"")
        return folder

    def release(self, identity: str, signed: bytes, manifest: dict[str, Any], environment: Path) -> Path:
        """The folder of a release, made if it is not there."""
        folder = self.releases / identity
        if folder.exists():
            return folder
        part = Path(tempfile.mkdtemp(dir=self.releases, prefix=PART))
        write(part / "release.json", signed)
        for entry in manifest["files"]:
            if entry["kind"] != "wheel":
                shutil.copyfile(self.blobs / entry["sha256"], part / entry["name"])
        (part / "environment").symlink_to(os.path.relpath(environment, folder))
        part.chmod(0o755)
        os.sync()
        part.rename(folder)
        sync_folder(self.releases)
        return folder

    def sweep(self) -> None:
        """Throw away what a push that died has left."""
        for folder in (self.trusted, self.blobs, self.releases, self.environments, self.root):
            for path in folder.glob(f"{PART}*"):
                remove(path)
        for path in self.environments.iterdir():
            if not (path / COMPLETE).exists():
                remove(path)

    def keep(self, identities: set[str]) -> None:
        """Throw away all releases but these, and what only the others needed."""
        for path in self.releases.iterdir():
            if path.name not in identities:
                remove(path)
        kept = list(self.releases.iterdir())
        blobs = {entry["sha256"] for release in kept for entry in unsigned(release)["files"]}
        environments = {(release / "environment").resolve().name for release in kept}
        for folder, used in ((self.blobs, blobs), (self.environments, environments)):
            for path in folder.iterdir():
                if path.name not in used:
                    remove(path)

    def _make_environment(self, folder: Path, wheels: list[tuple[str, str]], has_system_packages: bool) -> None:
        with tempfile.TemporaryDirectory(dir=self.root, prefix=PART) as scratch:
            paths = [str(Path(scratch) / name) for name, _ in wheels]
            for path, (_, digest) in zip(paths, wheels, strict=True):
                os.link(self.blobs / digest, path)
            flags = ["--system-site-packages"] if has_system_packages else []
            made = run([sys.executable, "-m", "venv", *flags, str(folder)], 5 * COMMAND_SECONDS)
            if made.returncode:
                raise Refused(
                    f"python3 must make virtual environments (sudo apt install python3-venv), got:\n{tail(made)}"
                )
            pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
            done = run([*pip, "--no-index", "--no-deps", *paths], 10 * COMMAND_SECONDS)
            if done.returncode:
                raise Refused(f"The wheels must install on this device, got:\n{tail(done)}")
