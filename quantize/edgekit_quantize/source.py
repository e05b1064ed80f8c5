"""What can be converted: an edgekit checkpoint, a known network by name, or an ONNX file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from onnx import load as load_onnx
from torch import nn

from edgekit.card import Architecture, InputSpec
from edgekit.errors import InputError
from edgekit.files import sha256
from edgekit.train import checkpoint as checkpoints
from edgekit.train.checkpoint import Checkpoint
from edgekit.train.weights import FILE_SHA256, imagenet_checkpoint
from edgekit_quantize.export import check_finite, export_with, import_onnx, onnx_sha256
from edgekit_quantize.workers import ExportWorker, Workers

IMAGENET_NAME = "mobilenet_v2:imagenet"


@dataclass(frozen=True)
class Source:
    """A float classifier as ONNX, ready for conversion.

    Attributes:
        onnx: The file.
        network: The PyTorch network it was exported from; None for a foreign ONNX file.
        architecture: For the card.
        input: Size and normalization, not quantized.
        labels: Class names in logits order.
        sha256: Hash of the checkpoint or of the foreign file.
        note: What was changed about a foreign file's answer, for the user; None if nothing.
    """

    onnx: Path
    network: nn.Module | None
    architecture: Architecture
    input: InputSpec
    labels: tuple[str, ...]
    sha256: str
    note: str | None = None


@dataclass(frozen=True)
class ForeignOptions:
    """What an ONNX file does not say about itself. None: the default.

    Attributes:
        mean: Per channel, as in `InputSpec`.
        std: Likewise.
        crop_fraction: Likewise.
        labels: Class names.
    """

    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    crop_fraction: float | None = None
    labels: tuple[str, ...] | None = None

    def given(self) -> bool:
        """Whether any was set."""
        return any(value is not None for value in (self.mean, self.std, self.crop_fraction, self.labels))


def open_source(workers: Workers, options: ForeignOptions) -> Source:
    """Bring what they were started on into ONNX form, as `workers.onnx`.

    Args:
        workers: Whose exporter has not worked yet.
        options: For an ONNX file only.

    Raises:
        InputError: It cannot be read or used; or options for a checkpoint, which knows its own.
    """
    if workers.exporter is None:
        return _from_onnx(Path(workers.source), workers.onnx, options)
    return _from_checkpoint(workers.exporter, options)


def load_float(text: str) -> tuple[Checkpoint, str]:
    """A float network with its SHA-256: a checkpoint file, or "mobilenet_v2:imagenet".

    Raises:
        InputError: No such name, or not a checkpoint.
        MissingError: The ImageNet weights cannot be had.
    """
    if ":" not in text or Path(text).exists():
        return checkpoints.load(text), sha256(text)
    if text != IMAGENET_NAME:
        raise InputError(f"A network's name must be {IMAGENET_NAME}, got {text!r}.")
    return imagenet_checkpoint(), FILE_SHA256


def _from_checkpoint(exporter: ExportWorker, options: ForeignOptions) -> Source:
    if options.given():
        raise InputError(
            "--mean, --std, --crop and --labels must go with an .onnx file, got them with a checkpoint, "
            "which knows its own."
        )
    loaded, digest = load_float(exporter.source)
    network = loaded.network()
    export_with(exporter)
    check_finite(load_onnx(str(exporter.path)), exporter.source)
    return Source(exporter.path, network, loaded.architecture, loaded.input, loaded.labels, digest)


def _from_onnx(path: Path, onnx: Path, options: ForeignOptions) -> Source:
    imported = import_onnx(path, onnx)
    classes = imported.classes
    labels = options.labels
    if labels is None:
        labels = tuple(f"class {index}" for index in range(classes))
    if len(labels) != classes:
        raise InputError(f"--labels must name {classes} classes, one per line, got {len(labels)}.")
    spec = InputSpec(height=imported.height, width=imported.width)
    if options.mean is not None:
        spec = replace(spec, mean=options.mean)
    if options.std is not None:
        spec = replace(spec, std=options.std)
    if options.crop_fraction is not None:
        spec = replace(spec, crop_fraction=options.crop_fraction)
    return Source(onnx, None, Architecture("onnx", 0.0), spec, labels, onnx_sha256(path), imported.note)
