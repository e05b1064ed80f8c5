"""From all answers to a report, and the report to files."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit import __version__
from edgekit.bundle import Bundle
from edgekit.cpu import read_cpu
from edgekit.errors import GateError, InputError
from edgekit.files import check_writable, write_all
from edgekit.preprocess import Image
from edgekit.runtime import available_cores
from edgekit_quantize.formats import format_of
from edgekit_quantize.report import analysis, baseline, examples
from edgekit_quantize.report.answers import Comparison, Run
from edgekit_quantize.report.changes import CostRow, Costs, Since
from edgekit_quantize.report.document import Document
from edgekit_quantize.report.facts import DataFacts, ModelFacts, Outcomes, Pair
from edgekit_quantize.report.gate import Gate, Measure, Outcome, judge_agreement, judge_drop
from edgekit_quantize.report.html import render
from edgekit_quantize.report.markdown import to_markdown
from edgekit_quantize.report.verdict import change_line, like_chance
from edgekit_quantize.report.wording import interval, listed, number, too_few

_TOOLS = ("torch", "onnx", "onnxruntime", "ai-edge-litert", "tflite-runtime", "numpy", "scipy", "opencv-python")

# Points of top-1 that no quantized file ever gained over its origin.
MOST_GAINED = 5.0


@dataclass(frozen=True)
class Limits:
    """What the model is held against.

    Attributes:
        max_drop: In percentage points, for the upper bound of the drop; None for no gate.
        min_agreement: In percent, for the lower bound of the agreement; None for no gate.
        baseline: An older report of the same images; None for none.
    """

    max_drop: float | None = None
    min_agreement: float | None = None
    baseline: Document | None = None


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
        """Raise if a gate that was set did not pass or can tell nothing, or if something is worse than in the baseline.

        Raises:
            GateError: It did.
        """
        open_gates = [gate for gate in self.document.gates if gate.outcome is not Outcome.PASSED]
        problems = [_problem(self.document, gate) for gate in open_gates]
        if self.document.gates and (chance := like_chance(self.document)):
            raise GateError(" ".join([*problems, "The float network must be better than chance for a gate."]), chance)
        if worse := self.document.regressions:
            lines = listed([change_line(change) for change in worse])
            problems.append(f"Nothing must be worse than in the baseline, got {lines}.")
        if not problems:
            return
        undecided = [gate for gate in open_gates if gate.outcome is Outcome.UNDECIDED]
        if len(undecided) < len(problems):
            raise GateError(" ".join(problems), "Quantize with another recipe or more calibration images.")
        known = [gate.images_needed for gate in undecided if gate.images_needed]
        needed = f"about {max(known):,} images" if known else "more images"
        images = self.document.data.images
        raise GateError(" ".join(problems), f"{too_few(images)}: take {needed}.")


def build_report(
    comparison: Comparison,
    bundle: Bundle,
    picture: Callable[[int], Image],
    *,
    limits: Limits | None = None,
    data_name: str,
    command: str = "",
) -> Report:
    """Boil all answers down to a report.

    Args:
        comparison: Reference, stages and files on the same images.
        bundle: The model file.
        picture: The pixels of a row of the comparison, as the networks saw them: (height, width, 3) RGB uint8.
        limits: What the model is held against; None for nothing.
        data_name: What to call the images.
        command: The command line, as it was typed.

    Raises:
        InputError: The baseline is of other images or classes, or the reference is another network.
    """
    limits, comparison = limits or Limits(), analysis.with_unique_names(comparison)
    labels, targets = bundle.card.labels, comparison.targets
    reference, model = comparison.runs[0], analysis.run_of(comparison, "model")
    ours, theirs = reference.answers, model.answers
    stages = analysis.stages(comparison, len(labels))
    flips, rows = examples.find_flips(ours, theirs, targets, comparison.names, labels)
    change, change_labels = analysis.confusion_change(ours, theirs, targets, labels)
    data = _data_facts(data_name, comparison, labels)
    outcomes = Outcomes(
        *(baseline.pack(f) for f in (analysis.right(ours), analysis.right(theirs), analysis.agrees(ours, theirs)))
    )
    document = Document(
        model=_model_facts(bundle, reference.sha256),
        data=data,
        stages=stages,
        gates=(),
        classes=analysis.class_groups(ours, theirs, targets, labels),
        subgroups=analysis.tag_groups(ours, theirs, comparison.tags) if comparison.tags else None,
        confusions=analysis.confusions(ours, theirs, targets, labels),
        confusion_change=change,
        confusion_labels=change_labels,
        flips=flips,
        layers=analysis.layer_rows(comparison.layers),
        since=_since(limits.baseline, reference.sha256, data, outcomes, targets, labels),
        outcomes=outcomes,
        tools=_tools(),
        command=command,
        costs=_costs(comparison.runs, model, len(bundle.data), limits.baseline),
    )
    if reference.sha256 != bundle.card.provenance.reference_sha256:
        _check_plausible(document.drop, reference.file or reference.name)
    document = _judged(document, limits)
    pictures = tuple(examples.data_uri(picture(int(row))) for row in rows)
    return Report(document, pictures, np.stack([ours.truth, theirs.truth], axis=1))


def write_report(
    report: Report, html_path: str | Path, json_path: str | Path, markdown_path: str | Path | None = None
) -> None:
    """Write all files, or none.

    Raises:
        InputError: A folder cannot be written, the disk is full, or two names are one file.
    """
    places = [Path(path) for path in (html_path, json_path, markdown_path) if path is not None]
    if len({path.resolve() for path in places}) < len(places):
        raise InputError(f"The files of a report must be different files, got {listed([str(p) for p in places])}.")
    for path in places:
        check_writable(path)
    document = report.document
    texts = [render(document, report.pictures, report.truth), document.to_json(), to_markdown(document)]
    # Names of files may hold bytes that are no UTF-8.
    write_all({path: text.encode(errors="backslashreplace") for path, text in zip(places, texts, strict=False)})


def labels_sha256(labels: Sequence[str]) -> str:
    """Hash over the class names, in order."""
    return hashlib.sha256(json.dumps(list(labels), ensure_ascii=False).encode()).hexdigest()


def _check_plausible(drop: Pair, reference: str) -> None:
    """No file is better than its origin by more than chance and some tenths of a point; another network may be.

    Raises:
        InputError: The model gains far more than quantization ever gave.
    """
    if drop.points.high < -MOST_GAINED:
        raise InputError(
            f"The reference must be the network that the model was made from, got {reference}, with which it shares "
            f"{drop.agreement.value:.1f} % of the answers and over which it gains {-drop.points.value:.1f} points.",
            "Give the float network of this model.",
        )


def _judged(document: Document, limits: Limits) -> Document:
    gates, drop, images = [], document.drop, document.data.images
    if limits.max_drop is not None:
        gates.append(judge_drop(drop.counts, limits.max_drop))
    if limits.min_agreement is not None:
        same = round(drop.agreement.value * images / 100.0)
        gates.append(judge_agreement(same, images, limits.min_agreement))
    return replace(document, gates=tuple(gates))


def _problem(document: Document, gate: Gate) -> str:
    if gate.measure is Measure.DROP:
        drop = document.drop.points
        return (
            f"The accuracy drop must be at most {gate.limit:g} points for certain, got {drop.value:.2f} "
            f"(95 % interval {drop.low:.2f} to {drop.high:.2f})."
        )
    same = document.drop.agreement
    return (
        f"The agreement with float must be at least {gate.limit:g} %, got {number(same.value)} "
        f"(95 % interval {interval(same)})."
    )


def _model_facts(bundle: Bundle, reference_sha256: str) -> ModelFacts:
    card = bundle.card
    return ModelFacts(
        name=card.name,
        format=format_of(bundle.data).value,
        architecture=card.architecture,
        input_height=card.input.height,
        input_width=card.input.width,
        file_sha256=hashlib.sha256(bundle.data).hexdigest(),
        reference_sha256=reference_sha256,
        provenance=card.provenance,
        measurements=card.measurements,
    )


def _data_facts(name: str, comparison: Comparison, labels: Sequence[str]) -> DataFacts:
    present = {int(index) for index in np.unique(comparison.targets)}
    return DataFacts(
        name=name,
        images=len(comparison.targets),
        classes=len(present),
        data_sha256=comparison.data_sha256,
        labels_sha256=labels_sha256(labels),
        skipped=comparison.skipped,
        empty_classes=tuple(label for index, label in enumerate(labels) if index not in present),
    )


def _since(
    older: Document | None,
    reference_sha256: str,
    data: DataFacts,
    outcomes: Outcomes,
    targets: NDArray[np.int64],
    labels: Sequence[str],
) -> Since | None:
    if older is None:
        return None
    baseline.check_same_data(older, data.data_sha256, data.labels_sha256)
    return baseline.changes_since(older, reference_sha256, outcomes, targets, labels)


def _costs(runs: Sequence[Run], model: Run, size: int, older: Document | None) -> Costs:
    """What was measured; of the model at least the size of its file, in bytes."""
    rows = {run.name: CostRow(run.name, **vars(run.cost)) for run in runs if run.cost}
    machine = _machine()
    now = rows.setdefault(model.name, CostRow(model.name, size, None, None, None, None, None, None))
    changes = baseline.cost_changes(older, machine, now) if older else ()
    return Costs(machine, tuple(rows.values()), changes)


def _machine() -> str:
    """Processor and number of cores."""
    return f"{read_cpu() or platform.machine()}, {available_cores()} cores"


def _tools() -> dict[str, str]:
    found = {"edgekit": __version__, "python": platform.python_version()}
    for name in _TOOLS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
