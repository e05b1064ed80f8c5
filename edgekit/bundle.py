"""The self-describing model file: a TFLite flatbuffer with a zip archive behind it.

    [ flatbuffer, starts with ....TFL3 ][ zip: edgekit.json, labels.txt, golden/0.png, ... ]

TFLite reads the front and ignores the rest; zip tools read the tail and ignore the front. The archive is stored
uncompressed with fixed dates, so that the same content gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.card import Card
from edgekit.errors import InputError

CARD_NAME = "edgekit.json"
LABELS_NAME = "labels.txt"
METADATA_MARK = b"TFLITE_METADATA"
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Bundle:
    """A model file in memory.

    Attributes:
        card: The parsed card.
        data: All bytes of the file; TFLite interpreters take them as they are.
        images: Golden sample PNGs by name.
    """

    card: Card
    data: bytes
    images: dict[str, bytes]


def seal(flatbuffer: bytes, card: Card, images: dict[str, bytes]) -> bytes:
    """Put the card (with the flatbuffer's hash), the labels and the golden images behind the flatbuffer.

    Returns:
        The bytes of the model file; the same arguments give the same bytes.
    """
    card = replace(card, flatbuffer_sha256=hashlib.sha256(flatbuffer).hexdigest())
    members = {CARD_NAME: card.to_json().encode(), LABELS_NAME: labels_text(card.labels), **images}
    buffer = io.BytesIO()
    buffer.write(flatbuffer)
    # Mode "a" on bytes that are no zip appends an archive whose offsets count from the start of the file,
    # which is what TFLite's metadata readers expect.
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    return buffer.getvalue()


def labels_text(labels: Sequence[str]) -> bytes:
    """labels.txt: UTF-8, a name per line."""
    return ("\n".join(labels) + "\n").encode()


def read(path: str | Path) -> Bundle:
    """Read and check a model file.

    Raises:
        InputError: Missing, not TFLite, without a card, truncated or altered.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"The model {path} must be a readable file, got: {error.strerror}.") from error
    return parse(data, str(path))


def parse(data: bytes, name: str = "model") -> Bundle:
    """Check the bytes of a model file; `name` stands in errors.

    Raises:
        InputError: As `read`.
    """
    if data[4:8] != b"TFL3":
        raise InputError(f"{name} must be a .tflite model, got a file of {len(data)} bytes without the TFL3 mark.")
    try:
        members, front = _unzip(data)
    except (
        zipfile.BadZipFile,
        EOFError,
        ValueError,
        NotImplementedError,
        RuntimeError,
        OSError,
        struct.error,
    ) as error:
        raise _without_card(data, name) from error
    if CARD_NAME not in members or LABELS_NAME not in members:
        raise _without_card(data, name)
    card = Card.from_json(members[CARD_NAME], _labels(members[LABELS_NAME], name))
    # A view: a slice would be a copy of the whole network.
    if hashlib.sha256(memoryview(data)[:front]).hexdigest() != card.flatbuffer_sha256:
        raise InputError(
            f"{name} must match the hash in its card, got other bytes: it was altered or damaged.", "Copy it again."
        )
    images = {key: value for key, value in members.items() if key.endswith(".png")}
    return Bundle(card=card, data=data, images=images)


def _labels(text: bytes, name: str) -> list[str]:
    try:
        return text.decode().removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{LABELS_NAME} in {name} must be UTF-8, got: {error}.") from error


def _unzip(data: bytes) -> tuple[dict[str, bytes], int]:
    """Members by name, and where the first one begins. Only stored ones: damage must not set off a decompressor."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise zipfile.BadZipFile("compressed members")
        members = {info.filename: archive.read(info) for info in archive.infolist()}
        return members, min((info.header_offset for info in archive.infolist()), default=len(data))


def _without_card(data: bytes, name: str) -> InputError:
    if METADATA_MARK in data:
        return InputError(f"{name} must be a whole model file, got a truncated or damaged one.", "Copy it again.")
    return InputError(
        f"{name} must carry an edgekit card, got a plain .tflite.",
        "Make it with: edgekit convert ... --out model.tflite",
    )
