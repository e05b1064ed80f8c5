"""What a report says, as frozen dataclasses: the JSON file is exactly this, and HTML and table are drawn from it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

from edgekit.card import Architecture, Measurement, Provenance, from_plain, to_plain
from edgekit.errors import InputError
from edgekit_quantize.report.gate import Gate
from edgekit_quantize.report.statistics import Bin, Estimate, PairedCounts

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class ModelFacts:
    """The model file and the float reference.

    Attributes:
        format: What the file holds, such as "int8" or "fp16"; it is called so throughout the report.
        file_sha256: Hash of the whole .tflite file.
        reference_sha256: Hash of the checkpoint file, as in the card; "" if it was only in memory.
        input_height: Pixels.
        input_width: Pixels.
    """

    name: str
    format: str
    architecture: Architecture
    input_height: int
    input_width: int
    file_sha256: str
    reference_sha256: str
    provenance: Provenance
    measurements: tuple[Measurement, ...]


@dataclass(frozen=True)
class DataFacts:
    """The images.

    Attributes:
        name: What the user calls them.
        images: How many were compared.
        classes: How many classes they are of.
        pixels_sha256: Hash over the cropped pixels and the class of each image, in order.
        skipped: One line for each image that could not be read.
    """

    name: str
    images: int
    classes: int
    pixels_sha256: str
    skipped: tuple[str, ...]


@dataclass(frozen=True)
class Stage:
    """One model's own results.

    Attributes:
        name: "float", or the format of the model file.
        runs_on: What executed it.
        size: Bytes: of the weights (float) or of the file (model).
        top1: Percent.
        top5: Percent; None with five classes or fewer, where it says nothing.
        nll: Mean negative log-likelihood, in nats.
        calibration_error: Expected calibration error, in points.
        reliability: The bins of the diagram.
    """

    name: str
    runs_on: str
    size: int
    top1: Estimate
    top5: Estimate | None
    nll: float
    calibration_error: float
    reliability: tuple[Bin, ...]


@dataclass(frozen=True)
class Drop:
    """The model file against float, paired.

    Attributes:
        points: Float top-1 minus the model's, in percentage points.
        counts: lost = right → wrong, gained = wrong → right.
        mcnemar_p: Exact two-sided p-value that lost and gained are equally likely.
        agreement: Same top-1 class, right or wrong, in percent.
        kl: Mean KL(float ‖ model), in nats.
        sqnr_db: Logits signal-to-quantization-noise ratio; None if the logits are the same.
    """

    points: Estimate
    counts: PairedCounts
    mcnemar_p: float
    agreement: Estimate
    kl: float
    sqnr_db: float | None


@dataclass(frozen=True)
class ClassRow:
    """One class.

    Attributes:
        float_top1: Percent.
        model_top1: Percent.
        drop: Percentage points, with Newcombe's interval.
        counts: Outcomes within the class.
        adjusted_p: McNemar's exact p-value, adjusted over all classes (Benjamini–Hochberg).
    """

    label: str
    images: int
    float_top1: float
    model_top1: float
    drop: Estimate
    counts: PairedCounts
    adjusted_p: float

    @property
    def has_changed(self) -> bool:
        """Whether the class got worse or better beyond chance, looking at all classes at once."""
        return self.adjusted_p < 0.05


@dataclass(frozen=True)
class Guess:
    """A class and its softmax, in percent."""

    label: str
    percent: float


@dataclass(frozen=True)
class Flip:
    """An image on which exactly one model is right.

    Attributes:
        image: Its name.
        truth: Its class.
        is_lost: True: float right, model wrong. False: the other way round.
        shift: Softmax of the true class, float minus model, in points.
        float_guesses: Best three.
        model_guesses: Best three.
    """

    image: str
    truth: str
    is_lost: bool
    shift: float
    float_guesses: tuple[Guess, ...]
    model_guesses: tuple[Guess, ...]


@dataclass(frozen=True)
class Document:
    """The whole report.

    Attributes:
        gate: None if no limit was set.
        classes: In the card's order; only those that have images.
        flips: The worst first, lost before gained.
        confusion_change: Confusion counts of model minus float, row = true class, column = answer; None with many
            classes.
        confusion_labels: Their names, in row order; empty with many classes.
        tools: Package name to version, of this comparison.
    """

    model: ModelFacts
    data: DataFacts
    stages: tuple[Stage, ...]
    drop: Drop
    gate: Gate | None
    classes: tuple[ClassRow, ...]
    flips: tuple[Flip, ...]
    confusion_change: tuple[tuple[int, ...], ...] | None
    confusion_labels: tuple[str, ...]
    tools: dict[str, str]
    schema_version: int = field(default=SCHEMA_VERSION)

    @property
    def has_top5(self) -> bool:
        """Whether top-5 means anything here."""
        return any(stage.top5 is not None for stage in self.stages)

    def to_json(self) -> str:
        """Canonical JSON with six significant digits, no date in it: the same input gives the same bytes."""
        plain = _round(to_plain(self))
        return json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Document:
        """Parse a report's JSON, strictly.

        Raises:
            InputError: Not JSON, another schema version, an unknown or missing key, a value of the wrong type.
        """
        try:
            plain = json.loads(text)
        except ValueError as error:
            raise InputError(f"The report must be JSON, got: {error}.") from error
        version = plain.get("schema_version") if isinstance(plain, dict) else None
        if version != SCHEMA_VERSION:
            raise InputError(
                f"The report's schema_version must be {SCHEMA_VERSION}, got {version!r}.", "Make the report again."
            )
        document: Document = from_plain(cls, plain, "report")
        return document


def finite_or_none(value: float) -> float | None:
    """JSON knows no infinity."""
    return value if math.isfinite(value) else None


def _round(value: Any) -> Any:
    """Six significant digits are beyond what any number of images can tell, and short enough to read."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, list):
        return [_round(item) for item in value]
    if isinstance(value, dict):
        return {key: _round(item) for key, item in value.items()}
    return value
