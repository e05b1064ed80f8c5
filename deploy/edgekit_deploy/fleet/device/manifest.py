"""What a bundle says of itself, and whether it may be believed."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import platform
import re
import struct
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit_deploy.fleet.device.disk import COMMAND_SECONDS, NO_ANSWER, run, tail

HEX = re.compile(r"[0-9a-f]{64}")
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,120}")
RESERVED = {"release.json", "environment", "proved"}


class Refused(Exception):
    """Said to the one who pushes; nothing that runs was touched."""


def verified(signed: bytes, keys: Sequence[Path]) -> dict[str, Any]:
    """The manifest, if somebody trusted has signed it.

    Args:
        signed: JSON, {"manifest": text, "signature": hex}; Ed25519 over the text's UTF-8 bytes.
        keys: Files of public keys, PEM.

    Raises:
        Refused: Nobody has, or it says something that no manifest of ours says.
    """
    try:
        parts = json.loads(signed)
        text, signature = parts["manifest"].encode(), bytes.fromhex(parts["signature"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused("A bundle must have a manifest and a signature.") from error
    with tempfile.TemporaryDirectory() as scratch:
        message, proof = Path(scratch) / "message", Path(scratch) / "signature"
        message.write_bytes(text)
        proof.write_bytes(signature)
        words = ["-rawin", "-in", str(message), "-sigfile", str(proof)]
        if not any(_openssl("pkeyutl", "-verify", "-pubin", "-inkey", str(key), *words) for key in keys):
            known = ", ".join(key.stem[:12] for key in keys) or "none"
            raise Refused(
                f"The bundle must be signed by a key that the device trusts ({known}), got another signature."
            )
    return checked(text)


def unsigned(release: Path) -> dict[str, Any]:
    """The manifest of a release that was verified when it was installed."""
    return dict(json.loads(json.loads((release / "release.json").read_text())["manifest"]))


def release_id(signed: bytes, manifest: dict[str, Any]) -> str:
    """Such as "12-3f9a0c11"."""
    return f"{manifest['number']}-{hashlib.sha256(signed).hexdigest()[:8]}"


def check_target(manifest: dict[str, Any]) -> None:
    """Is it for this kind of machine, and has that all that it takes?

    Raises:
        Refused: It is for another, or something is missing here.
    """
    here = {"machine": machine(), "python": "{}.{}".format(*sys.version_info)}
    for name, value in here.items():
        if manifest["target"][name] not in ("any", value):
            raise Refused(f"The bundle must be for {name} {value}, got one for {manifest['target'][name]}.")
    if importlib.util.find_spec("ensurepip") is None:
        raise Refused("python3 must be able to make environments. Run there: sudo apt install python3-venv")
    service = manifest["service"]["restart"]
    if service.startswith("sudo ") and run(["sudo", "-n", "true"], COMMAND_SECONDS).returncode:
        raise Refused("The user must be allowed sudo without a password, to restart the service. See deploy/README.md.")


def machine() -> str:
    """As `uname -m` says; but a 32-bit system on a 64-bit kernel is "armv7l"."""
    is_small = struct.calcsize("P") == 4 and platform.machine() == "aarch64"
    return "armv7l" if is_small else platform.machine()


def checked(text: bytes) -> dict[str, Any]:
    """A manifest whose names stay inside their folder; it was signed, but a signer can be wrong too.

    Raises:
        Refused: It is something else.
    """
    try:
        manifest = json.loads(text)
        names = [entry["name"] for entry in manifest["files"]]
        is_sound = (
            all(SAFE_NAME.fullmatch(name) for name in names)
            and all(HEX.fullmatch(entry["sha256"]) and entry["size"] >= 0 for entry in manifest["files"])
            and len(set(names)) == len(names)
            and {entry["kind"] for entry in manifest["files"]} <= {"model", "wheel", "file"}
            and not RESERVED & set(names)
            and "model.tflite" in names
            and isinstance(manifest["number"], int)
            and {"restart", "healthy", "seconds"} == set(manifest["service"])
            and isinstance(manifest["system_packages"], bool)
            and {"machine", "python"} == set(manifest["target"])
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Refused("The manifest must be one of edgekit's, got something else.") from error
    if not is_sound:
        raise Refused("The manifest must be one of edgekit's, got something else.")
    return dict(manifest)


def _openssl(*words: str) -> bool:
    done = run(["openssl", *words], COMMAND_SECONDS)
    if done.returncode == NO_ANSWER:
        raise Refused(f"The device must have openssl, got: {tail(done)}. Run there: sudo apt install openssl")
    return done.returncode == 0
