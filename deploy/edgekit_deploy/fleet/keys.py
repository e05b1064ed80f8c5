"""Ed25519 keys (RFC 8032) that bundles are signed with."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgekit.errors import InputError


def generate(path: Path, passphrase: bytes | None) -> Path:
    """Write a new private key (PKCS #8, PEM, readable by its owner alone) and, beside it, the public one (.pub.pem).

    Args:
        path: Of the private key; must not exist.
        passphrase: None: the key is not encrypted.

    Returns:
        The path of the public key.

    Raises:
        InputError: There is a file already, or it cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    encryption: serialization.KeySerializationEncryption
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    public = path.with_suffix(".pub.pem")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for target, content, mode in ((path, private, 0o600), (public, public_pem(key), 0o644)):
            # Readable by nobody else from the first moment on.
            with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(content)
    except FileExistsError as error:
        raise InputError(f"A key must not replace another, got {error.filename}.", "Choose another name.") from error
    except OSError as error:
        raise InputError(f"{path} must be writable, got: {error.strerror}.", "Choose another place.") from error
    return public


def load(path: Path, passphrase: bytes | None) -> Ed25519PrivateKey:
    """The private key in a PEM file.

    Raises:
        InputError: It is something else, or the passphrase is wrong or missing.
    """
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), passphrase)
    except OSError as error:
        remedy = "Make one: edgekit deploy keygen"
        raise InputError(f"{path} must be a private key, got: {error.strerror}.", remedy) from error
    except TypeError as error:
        raise InputError(
            f"{path} {'has no passphrase' if passphrase else 'must be given its passphrase'}.",
            "Set EDGEKIT_KEY_PASSPHRASE, or unset it.",
        ) from error
    except ValueError as error:
        raise InputError(f"{path} must be a private key in PEM, with its passphrase, got something else.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path} must be an Ed25519 key, got another kind.", "Make one: edgekit deploy keygen")
    return key


def is_encrypted(path: Path) -> bool:
    """Does this key need a passphrase? False for what is no key, which `load` complains of."""
    return path.is_file() and b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in path.read_bytes()


def public_pem(key: Ed25519PrivateKey) -> bytes:
    """The public half of a private key, PEM."""
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(encoding, form)


def fingerprint(pem: bytes) -> str:
    """SHA-256 of a public key's PEM, 64 hex digits."""
    return hashlib.sha256(pem).hexdigest()
