"""Samples of WebDataset's tar shards: an image and a class number under one name, `000017.jpg` and `000017.cls`."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from edgekit.card import InputSpec
from edgekit.errors import InputError
from edgekit.preprocess import IMAGE_SUFFIXES, Image, crop_and_resize, decode_image

CLASS = "cls"


@dataclass(frozen=True)
class Fault:
    """What is wrong with a sample. As a value: an error would come out of a worker with its whole traceback.

    Attributes:
        message: One line.
        is_grave: Not just an image that cannot be read.
    """

    message: str
    is_grave: bool


class Part(NamedTuple):
    """What a worker delivers: (N, H, W, 3) uint8, (N,) int64, and what it left out."""

    pixels: Tensor
    targets: Tensor
    faults: list[Fault]

    @classmethod
    def of(cls, samples: list[tuple[Image, int] | Fault]) -> Part:
        """A DataLoader's `collate_fn`."""
        good = [sample for sample in samples if not isinstance(sample, Fault)]
        pixels = torch.from_numpy(np.stack([pixels for pixels, _ in good])) if good else torch.empty(0)
        targets = torch.tensor([target for _, target in good], dtype=torch.int64)
        return cls(pixels, targets, [sample for sample in samples if isinstance(sample, Fault)])


class Decoder:
    """A sample's bytes to (pixels (H, W, 3) uint8 RGB, class number), or what is wrong with it."""

    def __init__(self, spec: InputSpec, classes: int) -> None:
        self.spec = spec
        self.classes = classes

    def __call__(self, sample: dict[str, Any]) -> tuple[Image, int] | Fault:
        """One sample, as `samples_of` gives it."""
        name = f"{'/'.join(Path(str(sample['__url__'])).parts[-2:])}: {sample['__key__']}"
        data = next((value for key, value in sample.items() if f".{key.lower()}" in IMAGE_SUFFIXES), None)
        try:
            target = class_number(sample.get(CLASS), self.classes, name)
        except InputError as error:
            return Fault(error.message, is_grave=True)
        if data is None:
            return Fault(f"{name} must have an image, got none.", is_grave=True)
        try:
            return crop_and_resize(decode_image(data, name), self.spec), target
        except InputError as error:
            return Fault(error.message, is_grave=False)


def class_number(content: bytes | None, classes: int, name: str) -> int:
    """What a `.cls` file says.

    Raises:
        InputError: No file (None), no number, or none of a class.
    """
    try:
        found = int(content or b"")
    except ValueError:
        raise InputError(f"{name} must have a class number (.{CLASS}), got {content!r}.") from None
    if not 0 <= found < classes:
        raise InputError(f"{name} must be an image of one of {classes} classes, got class {found}.")
    return found


def samples_of(path: Path) -> Iterator[dict[str, Any]]:
    """Samples of one shard, as webdataset gives them."""
    import webdataset

    yield from webdataset.DataPipeline(webdataset.SimpleShardList([str(path)]), webdataset.tarfile_to_samples())


def look_into(path: Path, classes: int) -> tuple[int, str]:
    """A shard's number of samples, and a SHA-256 of its names, sizes and classes; of images only headers are read.

    Names count that webdataset takes, which hidden files' are not.

    Raises:
        InputError: No tar file, or a sample whose class is none of ours.
    """
    from webdataset.tariterators import base_plus_ext

    count, digest = 0, hashlib.sha256()
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                digest.update(f"{member.name}\0{member.size}\n".encode(errors="surrogateescape"))
                if member.isreg() and (base_plus_ext(member.name)[1] or "").lower() == CLASS:
                    count += 1
                    content = cast(IO[bytes], tar.extractfile(member)).read()
                    class_number(content, classes, f"{'/'.join(path.parts[-2:])}: {member.name.removesuffix('.cls')}")
                    digest.update(content)
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{path} must be a tar file, got a damaged or another one: {error}.") from error
    return count, digest.hexdigest()
