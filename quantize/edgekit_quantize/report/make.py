"""Make a report, and write it: the door for programs (`edgekit demo` comes in here)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit import __version__
from edgekit.bundle import Bundle
from edgekit.errors import GateError, InputError
from edgekit.files import check_writable, write_whole
from edgekit.images import ImageSet
from edgekit.train.checkpoint import Checkpoint
from edgekit_quantize.formats import format_of
from edgekit_quantize.report import analysis, examples
from edgekit_quantize.report.document import DataFacts, Document, ModelFacts, Stage
from edgekit_quantize.report.gate import Outcome, judge
from edgekit_quantize.report.html import render
from edgekit_quantize.report.labels import check_same_reference, check_same_task, targets_by_name
from edgekit_quantize.report.predict import BATCH, Predictions, predict


@dataclass(frozen=True)
class Report:
    """A document, and what only its pictures need.

    Attributes:
        document: The numbers: what the JSON file holds.
        pictures: The flipped images as data URIs, in the order of `document.flips`.
        truth: (N, 2) float64, softmax of the true class under float and the model, in [0, 1].
    """

    document: Document
    pictures: tuple[str, ...]
    truth: NDArray[np.float64]

    def check_gate(self) -> None:
        """Raise if a limit was set and the drop is not certainly within it.

        Raises:
            GateError: It is not.
        """
        gate, drop = self.document.gate, self.document.drop.points
        if gate is None or gate.outcome is Outcome.PASSED:
            return
        message = (
            f"The accuracy drop must be at most {gate.max_drop:g} points, got {drop.value:.2f} "
            f"(95 % interval {drop.low:.2f} to {drop.high:.2f})."
        )
        if gate.outcome is Outcome.FAILED:
            raise GateError(message, "Quantize with another recipe or more calibration images.")
        needed = f"about {gate.images_needed:,} images" if gate.images_needed else "more images"
        raise GateError(message, f"{self.document.data.images:,} images are too few to decide: take {needed}.")


def make_report(
    checkpoint: Checkpoint,
    bundle: Bundle,
    images: ImageSet,
    *,
    max_drop: float | None = None,
    data_name: str,
    reference_sha256: str = "",
    batch: int = BATCH,
    threads: int | None = None,
) -> Report:
    """Compare the float network with the model file on labelled images.

    Args:
        checkpoint: The float network.
        bundle: The model file, of any format.
        images: Labelled images; their classes are matched to the card's by name.
        max_drop: Limit of the gate in percentage points, on the upper bound of the interval; None for no gate.
        data_name: What to call the images in the report.
        reference_sha256: Hash of the checkpoint's file, which must be the one in the card; "" skips that check.
        batch: Images at a time through PyTorch.
        threads: Default all cores.

    Raises:
        InputError: The three do not belong together, or cannot be used.
    """
    check_same_task(checkpoint.labels, checkpoint.input, bundle.card)
    check_same_reference(reference_sha256, bundle.card)
    targets = targets_by_name(images, bundle.card.labels)
    predictions = predict(checkpoint, bundle, images, batch=batch, threads=threads)
    targets = targets[predictions.indices]
    labels = bundle.card.labels
    ours = analysis.judge_logits(predictions.reference, targets)
    theirs = analysis.judge_logits(predictions.model, targets)
    drop = analysis.compare(predictions.reference, predictions.model, ours, theirs)
    flips, positions = examples.find_flips(predictions, ours, theirs, targets, images.names, labels)
    change, change_labels = analysis.confusion_change(ours, theirs, targets, labels)
    file_format = format_of(bundle.data).value
    document = Document(
        model=_model_facts(bundle, file_format, reference_sha256),
        data=_data_facts(data_name, predictions, targets),
        stages=_stages(checkpoint, bundle, file_format, predictions, ours, theirs),
        drop=drop,
        gate=None if max_drop is None else judge(drop.points, max_drop, len(targets)),
        classes=analysis.class_rows(ours, theirs, targets, labels),
        flips=flips,
        confusion_change=change,
        confusion_labels=change_labels,
        tools=_tools(predictions),
    )
    pictures = examples.thumbnails(images, predictions.indices[positions], bundle.card.input)
    return Report(document, pictures, np.stack([ours.truth, theirs.truth], axis=1))


def write_report(report: Report, html_path: str | Path, json_path: str | Path) -> None:
    """Write both files; each is either whole or untouched.

    Raises:
        InputError: A folder cannot be written, the disk is full, or both names are one file.
    """
    html_path, json_path = Path(html_path), Path(json_path)
    if html_path.resolve() == json_path.resolve():
        raise InputError(f"The HTML and the JSON file must be two files, got {html_path} for both.")
    check_writable(html_path)
    check_writable(json_path)
    html = render(report.document, report.pictures, report.truth)
    write_whole(json_path, report.document.to_json())
    write_whole(html_path, html)


def _model_facts(bundle: Bundle, file_format: str, reference_sha256: str) -> ModelFacts:
    card = bundle.card
    return ModelFacts(
        name=card.name,
        format=file_format,
        architecture=card.architecture,
        input_height=card.input.height,
        input_width=card.input.width,
        file_sha256=hashlib.sha256(bundle.data).hexdigest(),
        reference_sha256=reference_sha256,
        provenance=card.provenance,
        measurements=card.measurements,
    )


def _data_facts(name: str, predictions: Predictions, targets: NDArray[np.int64]) -> DataFacts:
    digest = hashlib.sha256(predictions.pixels_sha256.encode() + targets.astype("<i8").tobytes())
    return DataFacts(
        name=name,
        images=len(targets),
        classes=len(np.unique(targets)),
        pixels_sha256=digest.hexdigest(),
        skipped=predictions.skipped,
    )


def _stages(
    checkpoint: Checkpoint,
    bundle: Bundle,
    file_format: str,
    predictions: Predictions,
    ours: analysis.Judged,
    theirs: analysis.Judged,
) -> tuple[Stage, ...]:
    weights = sum(tensor.numel() * tensor.element_size() for tensor in checkpoint.state.values())
    kernels = {"xnnpack": "XNNPACK", "mixed": "XNNPACK in part"}.get(predictions.kernels.value, "builtin kernels")
    return (
        analysis.stage("float", f"PyTorch {metadata.version('torch')}", weights, ours),
        analysis.stage(file_format, f"{predictions.runtime}, {kernels}", len(bundle.data), theirs),
    )


def _tools(predictions: Predictions) -> dict[str, str]:
    runtime, version = predictions.runtime.split(" ", 1)
    names = ("torch", "numpy", "scipy", "opencv-python")
    return {"edgekit": __version__, runtime: version} | {name: metadata.version(name) for name in names}
