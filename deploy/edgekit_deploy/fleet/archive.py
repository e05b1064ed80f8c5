"""Bundles (.ekb): a model, the wheels that run it and how to run it, signed. A plain zip, the same bytes every time."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from edgekit import bundle as model_file
from edgekit.errors import InputError
from edgekit_deploy.fleet.keys import public_pem

MANIFEST, SIGNATURE, KEY = "manifest.json", "manifest.sig", "key.pub.pem"
# The earliest date that a zip can hold.
EPOCH = (1980, 1, 1, 0, 0, 0)
MOST_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Target:
    """What a bundle runs on.

    Attributes:
        machine: As `uname -m` tells, such as "aarch64"; "any".
        python: Such as "3.11"; "any".
    """

    machine: str
    python: str


@dataclass(frozen=True)
class ServicePlan:
    """How the device runs a release; shell commands, run in the folder of releases.

    Attributes:
        root: The folder of releases, absolute.
        files: Other files of the release, contents by name: the unit and its settings.
        has_system_packages: Its environment sees what apt installed, such as picamera2.
        has_network: It serves a page, or speaks to a broker or a network camera.
        restart: Starts the service anew; "" if there is none.
        healthy: Succeeds while the service does well; "" to look at `restart` only.
        seconds: How long it is watched after a switch.
    """

    root: str
    files: Mapping[str, bytes] = field(default_factory=dict)
    has_system_packages: bool = False
    has_network: bool = False
    restart: str = ""
    healthy: str = ""
    seconds: float = 10.0


@dataclass(frozen=True)
class Archive:
    """A bundle in memory.

    Attributes:
        manifest: What was signed: JSON text.
        signature: 64 bytes.
        key: Public key, PEM.
        contents: Files by SHA-256.
    """

    manifest: str
    signature: bytes
    key: bytes
    contents: Mapping[str, bytes]

    @property
    def facts(self) -> dict[str, Any]:
        """The manifest as a dictionary."""
        return dict(json.loads(self.manifest))

    @property
    def signed(self) -> bytes:
        """Manifest and signature as the device takes them."""
        return json.dumps({"manifest": self.manifest, "signature": self.signature.hex()}).encode()


def make(
    model: Path, wheels: Sequence[Path], target: Target, service: ServicePlan, number: int, key: Ed25519PrivateKey
) -> Archive:
    """Put a bundle together and sign it.

    Args:
        model: A sealed model file.
        wheels: All that the device installs; nothing is fetched there.
        target: Where it runs.
        service: How it runs.
        number: Of the release: a device takes no smaller one than it has.
        key: Private Ed25519 key.

    Raises:
        InputError: A file is missing or something else than it should be.
    """
    card = model_file.read(model).card
    if not any(path.name.startswith("edgekit-") for path in wheels):
        raise InputError(f"The wheels must include edgekit's own, got {len(wheels)} others.")
    files = [("model.tflite", "model", _read(model))]
    files += [(name, "file", content) for name, content in sorted(service.files.items())]
    files += [(path.name, "wheel", _read(path)) for path in sorted(wheels, key=lambda path: path.name)]
    if twice := {name for name, _, _ in files if [other for other, _, _ in files].count(name) > 1}:
        raise InputError(f"Each wheel must be given once, got {', '.join(sorted(twice))} twice.")
    manifest = {
        "edgekit": 1,
        "number": number,
        "model": card.name,
        "target": {"machine": target.machine, "python": target.python},
        "root": service.root,
        "system_packages": service.has_system_packages,
        "service": {"restart": service.restart, "healthy": service.healthy, "seconds": service.seconds},
        "files": [
            {"name": name, "kind": kind, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, kind, data in files
        ],
    }
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False)
    contents = {hashlib.sha256(data).hexdigest(): data for _, _, data in files}
    return Archive(text, key.sign(text.encode()), public_pem(key), contents)


def pack(archive: Archive) -> bytes:
    """The file's bytes."""
    names = {entry["sha256"]: entry["name"] for entry in archive.facts["files"]}
    parts = {MANIFEST: archive.manifest.encode(), SIGNATURE: archive.signature, KEY: archive.key}
    parts |= {f"files/{names[digest]}": archive.contents[digest] for digest in sorted(names)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for name, data in parts.items():
            file.writestr(zipfile.ZipInfo(name, EPOCH), data)
    return buffer.getvalue()


def unpack(path: Path) -> Archive:
    """Read a bundle, and hold every file against its hash and the manifest against its signature.

    Raises:
        InputError: It is no bundle, or was altered or cut off.
    """
    data = _read(path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            if sum(entry.file_size for entry in file.infolist()) > MOST_BYTES:
                raise InputError(f"{path} must hold at most {MOST_BYTES // 10**9} GB, got more.")
            parts = {entry.filename: file.read(entry) for entry in file.infolist()}
            archive = Archive(parts[MANIFEST].decode(), parts[SIGNATURE], parts[KEY], {})
            entries = archive.facts["files"]
            contents = {entry["sha256"]: parts[f"files/{entry['name']}"] for entry in entries}
            expected = {MANIFEST, SIGNATURE, KEY, *(f"files/{entry['name']}" for entry in entries)}
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, EOFError) as error:
        raise InputError(f"{path} must be a whole bundle of edgekit deploy build, got something else.") from error
    if extra := sorted(parts.keys() - expected):
        raise InputError(f"{path} must hold what its manifest names, got {', '.join(extra[:3])} besides.")
    if wrong := [digest for digest, content in contents.items() if hashlib.sha256(content).hexdigest() != digest]:
        names = {entry["sha256"]: entry["name"] for entry in entries}
        raise InputError(f"{path} must hold what was signed, got another {names[wrong[0]]}.", "Copy or build it again.")
    _check_signature(path, archive)
    return Archive(archive.manifest, archive.signature, archive.key, contents)


def _check_signature(path: Path, archive: Archive) -> None:
    try:
        key = load_pem_public_key(archive.key)
        is_signed = isinstance(key, Ed25519PublicKey)
        if isinstance(key, Ed25519PublicKey):
            key.verify(archive.signature, archive.manifest.encode())
    except (InvalidSignature, ValueError):
        is_signed = False
    if not is_signed:
        raise InputError(f"{path} must be signed, got a signature that does not fit.", "Build it again.")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} must be a readable file, got: {error.strerror}.") from error
