"""The stages of a model, each as a file that can be run: the reference, ONNX, float TFLite, the model file, others."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from edgekit import __version__
from edgekit.bundle import Bundle
from edgekit.card import Card, InputSpec, to_plain
from edgekit.errors import InputError
from edgekit.files import sha256, write_whole
from edgekit.images import ImageSet, Prepared
from edgekit.preprocess import Image
from edgekit.progress import console
from edgekit.runtime import Kernels, Network, check_card
from edgekit.train import checkpoint as checkpoints
from edgekit.train.checkpoint import Checkpoint
from edgekit_quantize.export import export_with, import_onnx
from edgekit_quantize.formats import format_of
from edgekit_quantize.recipe import Format
from edgekit_quantize.report.answers import Role
from edgekit_quantize.report.models import Model, OnnxModel, TfliteModel, TorchModel
from edgekit_quantize.report.reference import Reference
from edgekit_quantize.report.store import MADE, Store
from edgekit_quantize.report.worker import Asked
from edgekit_quantize.tflite import convert_onnx
from edgekit_quantize.workers import ExportWorker

# onnx2tf compares its layers on so many.
_SAMPLE = 20


@dataclass(frozen=True)
class Stage:
    """One line of the report before it is run; attributes as in `answers.Run`."""

    role: Role
    name: str
    format: str
    file: str
    sha256: str
    model: Model

    def asked(self, reference: Stage) -> Asked:
        """Under a key that holds all that its answers depend on: both files and inputs, processor, versions."""
        facts = [
            *(fact for stage in (reference, self) for fact in (sha256(stage.model.path), to_plain(stage.model.spec))),
            *(reference.model.runs_on, self.model.runs_on, platform.machine()),
            *(__version__, np.__version__, cv2.__version__),
        ]
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return Asked(self.name, self.model, key)


@dataclass(frozen=True)
class Maker:
    """Makes the files of the stages.

    Attributes:
        card: The model's.
        for_int8: Whether the model's format is one for which the graph is rewritten.
        images: Where onnx2tf takes its sample from.
        folder: Where files are written.
        store: Conversions made before.
    """

    card: Card
    for_int8: bool
    images: ImageSet
    folder: Path
    store: Store

    def of_reference(self, reference: Reference, is_whole: bool) -> list[Stage]:
        """The reference, and if `is_whole` the float stages between it and the model."""
        if reference.checkpoint is not None:
            return self._of_checkpoint(reference, reference.checkpoint, is_whole)
        path = reference.path or Path()
        spec = replace(self.card.input, quantization=None)
        if not reference.is_onnx:
            spec = spec if reference.card is None else reference.card.input
            return [self._checked(_file("reference", "float TFLite", "float32", path, TfliteModel(path, spec)))]
        target = self.folder / "reference.onnx"
        imported = import_onnx(path, target)
        _check_size((imported.height, imported.width), imported.classes, self.card)
        first = replace(_file("reference", "ONNX", "float32", path, OnnxModel(target, spec)), sha256=reference.sha256)
        return [first, self._float_tflite(target, spec)] if is_whole else [first]

    def of_bundle(self, role: Role, name: str, bundle: Bundle, file: str, kernels: Kernels = Kernels.XNNPACK) -> Stage:
        """A model file, called `file` by the user."""
        check_card(Network(bundle.data), bundle.card)
        digest = hashlib.sha256(bundle.data).hexdigest()
        path = self.folder / f"{digest}.tflite"
        write_whole(path, bundle.data)
        model = TfliteModel(path, bundle.card.input, kernels)
        return Stage(role, name, format_of(bundle.data).value, file, digest, model)

    def _of_checkpoint(self, reference: Reference, checkpoint: Checkpoint, is_whole: bool) -> list[Stage]:
        path = self.folder / "reference.pt"
        checkpoints.save(path, replace(checkpoint, resume=None))
        spec = checkpoint.input
        first = Stage(
            "reference", "float", "float32", Path(reference.name).name, reference.sha256, TorchModel(path, spec)
        )
        if not is_whole:
            return [first]
        onnx = self.folder / "model.onnx"
        self._made(onnx, ("onnx", sha256(path), metadata.version("torch")), lambda: _export(path, onnx))
        middle = Stage("onnx", "ONNX", "float32", "", sha256(onnx), OnnxModel(onnx, spec))
        return [first, middle, self._float_tflite(onnx, spec)]

    def _float_tflite(self, onnx: Path, spec: InputSpec) -> Stage:
        path = self.folder / "float.tflite"
        versions = [metadata.version(name) for name in ("onnx2tf", "tensorflow", "onnx")]
        facts = ("float TFLite", sha256(onnx), self.for_int8, *versions)
        self._made(path, facts, lambda: write_whole(path, convert_onnx(onnx, self._sample(spec), self.for_int8)))
        return Stage("float-tflite", "float TFLite", "float32", "", sha256(path), TfliteModel(path, spec))

    def _made(self, path: Path, facts: tuple[object, ...], make: Callable[[], None]) -> None:
        """Put a file in its place, from the store if it was made before."""
        key = hashlib.sha256(json.dumps([*facts, __version__]).encode()).hexdigest()
        found = (self.store.read(MADE, key) or {}).get("content")
        if found is not None and found.dtype == np.uint8 and found.ndim == 1:
            write_whole(path, found.tobytes())
            return
        with console.status(f"{facts[0]} …"):
            make()
        self.store.write(MADE, key, {"content": np.fromfile(path, np.uint8)})

    def _sample(self, spec: InputSpec) -> Image:
        return np.stack([image for _, image in islice(iter(Prepared(self.images, spec)), _SAMPLE)])

    def _checked(self, stage: Stage) -> Stage:
        network = Network(stage.model.path.read_bytes())
        _check_size(network.input_shape[1:3], network.output_shape[1], self.card)
        return stage


def build(
    maker: Maker,
    reference: Reference,
    bundle: Bundle,
    also: Sequence[tuple[str, Bundle]],
    *,
    file: str,
    is_whole: bool,
    builtin: bool,
) -> list[Stage]:
    """All stages, the reference first, then in the order of `answers.Comparison.runs`.

    Raises:
        InputError: A file does not fit its card, or the reference not the model.
    """
    stages = maker.of_reference(reference, is_whole)
    name = format_of(bundle.data).value
    stages.append(maker.of_bundle("model", name, bundle, file))
    if builtin:
        stages.append(maker.of_bundle("builtin", f"{name}, builtin kernels", bundle, file, Kernels.BUILTIN))
    return stages + [maker.of_bundle("also", shown_name(file), other, file) for file, other in also]


def shown_name(file: str) -> str:
    """What a file of --also is called in the report."""
    return file.removesuffix(".tflite")


def is_rewritten(bundle: Bundle) -> bool:
    """Whether `convert` rewrites the graph for this format."""
    return format_of(bundle.data) in (Format.INT8, Format.INT16X8)


def _export(checkpoint: Path, onnx: Path) -> None:
    with ExportWorker(str(checkpoint), onnx) as worker:
        export_with(worker)


def _file(role: Role, name: str, file_format: str, path: Path, model: Model) -> Stage:
    return Stage(role, name, file_format, path.name, sha256(path), model)


def _check_size(size: tuple[int, ...], classes: int, card: Card) -> None:
    wanted = (card.input.height, card.input.width)
    if tuple(size) != wanted:
        raise InputError(
            f"The reference's input must be the model's, {wanted[1]}×{wanted[0]}, got {size[1]}×{size[0]}.",
            "Give the network that the model was converted from.",
        )
    if classes != card.output.classes:
        raise InputError(
            f"The reference must have the model's {card.output.classes} classes, got {classes}.",
            "Give the network that the model was converted from.",
        )
