"""The float network that a report starts from: a checkpoint, an ONNX file or a float TFLite file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit import bundle
from edgekit.card import Card
from edgekit.errors import InputError
from edgekit.files import sha256
from edgekit.train.checkpoint import Checkpoint
from edgekit_quantize.export import onnx_sha256
from edgekit_quantize.formats import format_of
from edgekit_quantize.recipe import Format
from edgekit_quantize.report.labels import check_same_reference, check_same_task
from edgekit_quantize.source import load_float


@dataclass(frozen=True)
class Reference:
    """A float network, not yet run. Exactly one of `checkpoint` and `path` is set.

    Attributes:
        name: What the user calls it.
        sha256: Of its file; "" if it was only in memory.
        checkpoint: The PyTorch network.
        path: An .onnx or .tflite file.
        card: The card of a sealed .tflite.
    """

    name: str
    sha256: str
    checkpoint: Checkpoint | None = None
    path: Path | None = None
    card: Card | None = None

    @property
    def is_onnx(self) -> bool:
        """Whether it is an ONNX file."""
        return self.path is not None and self.path.suffix.lower() == ".onnx"

    def check_fits(self, card: Card) -> None:
        """Make sure that it answers the same question about the same crop, and that the model was made from it.

        An ONNX file and a plain .tflite say nothing of labels and crop; size and classes are checked when they are
        opened.

        Raises:
            InputError: Other classes, another order of classes, another crop, or another network than the card's.
        """
        if self.checkpoint is not None:
            check_same_task(self.checkpoint.labels, self.checkpoint.input, card)
        if self.card is not None:
            check_same_task(self.card.labels, self.card.input, card)
            check_same_reference(self.card.provenance.reference_sha256, card)
        # An ONNX file that edgekit exported has a hash of its own: the card names the checkpoint.
        if self.checkpoint is not None or (self.is_onnx and card.architecture.name == "onnx"):
            check_same_reference(self.sha256, card)


def open_reference(text: str) -> Reference:
    """Find and read what the user named: CHECKPOINT, mobilenet_v2:imagenet, FILE.onnx or FILE.tflite.

    Raises:
        InputError: Nothing there, another kind of file, or a .tflite that is not float.
        MissingError: The ImageNet weights cannot be had.
    """
    path = Path(text)
    if path.suffix.lower() not in (".onnx", ".tflite"):
        checkpoint, digest = load_float(text)
        return Reference(text, digest, checkpoint)
    if not path.is_file():
        raise InputError(
            f"The reference {text} must be a file, got {'a folder' if path.is_dir() else 'nothing there'}."
        )
    card = _float_card(path) if path.suffix.lower() == ".tflite" else None
    digest = onnx_sha256(path) if path.suffix.lower() == ".onnx" else sha256(path)
    return Reference(text, digest, path=path, card=card)


def _float_card(path: Path) -> Card | None:
    """The card of a sealed float model; None for a plain one."""
    data = path.read_bytes()
    if data[4:8] != b"TFL3" or bundle.CARD_NAME.encode() in data:
        # It is refused here, with the reason, if it is damaged.
        card: Card | None = bundle.parse(data, str(path)).card
    else:
        card = None
    try:
        held = format_of(data)
    # A damaged flatbuffer makes its reader raise anything.
    except Exception as error:
        raise InputError(
            f"The reference {path} must be a whole .tflite, got a damaged one.", "Copy it again."
        ) from error
    if held is not Format.FP32:
        raise InputError(
            f"The reference {path} must be a float32 model, got {held.value}.",
            "Give the checkpoint or a float .tflite.",
        )
    return card
