"""What one process does with a few neighbouring images: decode once, crop once for each size, ask every model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from edgekit.card import InputSpec
from edgekit.errors import InputError
from edgekit.images import ImageSet
from edgekit.preprocess import Image, crop_and_resize
from edgekit_quantize.report.answers import TOP, Answers, Logits, answers_of
from edgekit_quantize.report.models import Model, Run
from edgekit_quantize.report.store import PIXELS, Arrays, Store


@dataclass(frozen=True)
class Asked:
    """A model to be asked.

    Attributes:
        name: For messages.
        model: How to open it.
        key: Hash of all that its answers depend on, the image apart.
    """

    name: str
    model: Model
    key: str


@dataclass(frozen=True)
class Task:
    """Neighbouring images and their true classes (N,)."""

    images: ImageSet
    targets: NDArray[np.int64]


@dataclass(frozen=True)
class Chunk:
    """What comes of a task of N images, M of them readable.

    Attributes:
        readable: (N,) bool.
        skipped: Why the others could not be read.
        pixels: (M, 32) uint8, SHA-256 of each cropped image.
        answers: M rows from each model, in the order of `Worker.asked`.
    """

    readable: NDArray[np.bool_]
    skipped: tuple[str, ...]
    pixels: NDArray[np.uint8]
    answers: tuple[Answers, ...]


@dataclass(frozen=True)
class Worker:
    """Carries out tasks; it can be sent to another process.

    Attributes:
        asked: The models, the reference first.
        crop: The crop whose pixels are hashed.
        classes: Of all models.
        store: What was answered before.
    """

    asked: tuple[Asked, ...]
    crop: InputSpec
    classes: int
    store: Store

    def __call__(self, task: Task) -> Chunk:
        """Answers of all models, from the store as far as they are there.

        Raises:
            InputError: A model gives NaN or infinity; model and image are named.
        """
        key = "" if self.store.folder is None else _content(task)
        readable, pixels = self._seen(key, len(task.targets))
        known = [None if readable is None else self._known(asked.key, key, int(readable.sum())) for asked in self.asked]
        answers = [rows for rows in known if rows is not None]
        if readable is not None and pixels is not None and len(answers) == len(known):
            return Chunk(readable, _reasons(task.images, readable), pixels, tuple(answers))
        crops, readable, skipped = _cropped(task.images, (self.crop, *(asked.model.spec for asked in self.asked)))
        pixels = np.asarray([_sha256(image) for image in crops.of(self.crop)], np.uint8).reshape(-1, 32)
        self.store.write(self._cropping, key, {"readable": readable, "pixels": pixels})
        return Chunk(readable, skipped, pixels, self._answers(key, known, crops, task, readable))

    def _answers(
        self,
        key: str,
        known: Sequence[Answers | None],
        crops: _Crops,
        task: Task,
        readable: NDArray[np.bool_],
    ) -> tuple[Answers, ...]:
        names = [name for name, is_readable in zip(task.images.names, readable, strict=True) if is_readable]
        targets = task.targets[readable]
        reference = self._logits(0, crops, names)
        answers = []
        for place, (asked, rows) in enumerate(zip(self.asked, known, strict=True)):
            if rows is None:
                logits = reference if place == 0 else self._logits(place, crops, names)
                rows = answers_of(logits, reference, targets)
                if names:
                    self.store.write(asked.key, key, asdict(rows))
            answers.append(rows)
        return tuple(answers)

    def _logits(self, place: int, crops: _Crops, names: Sequence[str]) -> Logits:
        asked = self.asked[place]
        if not names:
            return np.empty((0, self.classes), np.float32)
        logits = self._runs[place](np.stack(crops.of(asked.model.spec)))
        bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
        if len(bad):
            raise InputError(
                f"{asked.name} must give finite numbers, got NaN or infinity for {names[int(bad[0])]}.",
                "Look at the weights: something has grown beyond all bounds.",
            )
        return logits

    @cached_property
    def _runs(self) -> tuple[Run, ...]:
        return tuple(asked.model.open() for asked in self.asked)

    @cached_property
    def _cropping(self) -> str:
        """Where pixel hashes are kept: what they depend on, the image apart."""
        facts = f"{_geometry(self.crop)} OpenCV {cv2.__version__}"
        return f"{PIXELS}{hashlib.sha256(facts.encode()).hexdigest()}"

    def _seen(self, key: str, count: int) -> tuple[NDArray[np.bool_] | None, NDArray[np.uint8] | None]:
        arrays = self.store.read(self._cropping, key) or {}
        readable, pixels = arrays.get("readable"), arrays.get("pixels")
        if readable is None or readable.shape != (count,) or readable.dtype != np.bool_:
            return None, None
        if pixels is None or pixels.shape != (readable.sum(), 32) or pixels.dtype != np.uint8:
            return None, None
        return readable, pixels

    def _known(self, kind: str, key: str, count: int) -> Answers | None:
        arrays = self.store.read(kind, key)
        return None if arrays is None else _as_answers(arrays, count, self.classes)


class _Crops:
    """Images, cropped once for each size that is asked for. Photos are large: what was cropped is all that is kept."""

    def __init__(self, specs: Sequence[InputSpec]) -> None:
        self._specs = {_geometry(spec): spec for spec in specs}
        self._made: dict[tuple[object, ...], list[Image]] = {geometry: [] for geometry in self._specs}

    def add(self, image: Image) -> None:
        for geometry, spec in self._specs.items():
            self._made[geometry].append(crop_and_resize(image, spec))

    def of(self, spec: InputSpec) -> list[Image]:
        return self._made[_geometry(spec)]


def _geometry(spec: InputSpec) -> tuple[object, ...]:
    """What a crop depends on."""
    return spec.height, spec.width, spec.crop_fraction, spec.resize.value


def _cropped(images: ImageSet, specs: Sequence[InputSpec]) -> tuple[_Crops, NDArray[np.bool_], tuple[str, ...]]:
    """The readable images, which they are, and why the others are not."""
    crops, readable, skipped = _Crops(specs), np.zeros(len(images.names), np.bool_), []
    for index in range(len(readable)):
        try:
            image = images.image(index)
        except InputError as error:
            skipped.append(error.message)
        else:
            crops.add(image)
            readable[index] = True
    return crops, readable, tuple(skipped)


def _reasons(images: ImageSet, readable: NDArray[np.bool_]) -> tuple[str, ...]:
    """Found anew: they name files, which may have moved since."""
    return _cropped(images.subset(np.flatnonzero(~readable)), ())[2]


def _content(task: Task) -> str:
    """Hash over what the images are decoded from, and their classes."""
    digest = hashlib.sha256(task.targets.astype("<i8").tobytes())
    for index in range(len(task.targets)):
        try:
            digest.update(task.images.digest(index).encode())
        except InputError:
            digest.update(b"unreadable")
    return digest.hexdigest()


def _sha256(image: Image) -> list[int]:
    return list(hashlib.sha256(image.tobytes()).digest())


def _as_answers(arrays: Arrays, count: int, classes: int) -> Answers | None:
    """The rows, if these are such rows."""
    wide = (count, min(TOP, classes))
    shapes = {field.name: wide if field.name in ("top", "probabilities") else (count,) for field in fields(Answers)}
    kinds = {"top": np.int32, "rank": np.int32, "probabilities": np.float32}
    if arrays.keys() != shapes.keys():
        return None
    for name, shape in shapes.items():
        if arrays[name].shape != shape or arrays[name].dtype != kinds.get(name, np.float64):
            return None
    return Answers(**arrays)
