"""The parts of a report, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.card import Architecture, Measurement, Provenance
from edgekit_quantize.report.changes import Direction
from edgekit_quantize.report.statistics import Bin, Estimate, PairedCounts

# Adjusted over all classes (or subgroups) at once, this many of the alarms are false.
SIGNIFICANT = 0.05
# A class that loses so many points, beyond chance, is said to have collapsed.
COLLAPSED = 20.0


@dataclass(frozen=True)
class ModelFacts:
    """The judged model file.

    Attributes:
        name: As in its card.
        format: What the file holds, such as "int8" or "fp16".
        architecture: As in its card.
        input_height: In pixels.
        input_width: In pixels.
        file_sha256: Hash of the whole .tflite file.
        reference_sha256: Hash of the reference's file; "" if it was only in memory.
        provenance: As in its card: recipe, seed, calibration, tools of the conversion.
        measurements: As in its card.
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
        data_sha256: Hash over the cropped pixels and the class of each image, in order.
        labels_sha256: Hash over the class names, in order.
        skipped: One line for each image that could not be read.
        empty_classes: The model's classes of which there is no image.
    """

    name: str
    images: int
    classes: int
    data_sha256: str
    labels_sha256: str
    skipped: tuple[str, ...]
    empty_classes: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """Two networks on the same images: the second against the first.

    Attributes:
        points: Top-1 of the first minus that of the second, in percentage points; paired (Newcombe).
        counts: lost = right → wrong, gained = wrong → right.
        mcnemar_p: Exact two-sided p-value that lost and gained are equally likely.
        agreement: Same top-1 class, right or wrong, in percent (Wilson).
    """

    points: Estimate
    counts: PairedCounts
    mcnemar_p: float
    agreement: Estimate


@dataclass(frozen=True)
class Stage:
    """One stage or file.

    Attributes:
        role: "reference", "onnx", "float-tflite", "model", "builtin" (the model under builtin kernels) or "also".
        name: As shown.
        format: What it holds.
        runs_on: What executed it.
        file: Name of the file; "" where there is none.
        sha256: Of the file; "" where there is none.
        top1: In percent (Wilson).
        top5: In percent (Wilson); null with five classes or fewer, where it says nothing.
        nll: Mean negative log-likelihood of the true class, in nats.
        calibration_error: Expected calibration error, in points.
        reliability: The bins of the diagram.
        drop: Against the reference; null for the reference.
        kl: Mean KL(reference ‖ this), in nats; null for the reference.
        sqnr_db: Signal-to-noise ratio of the logits in dB; null for the reference, or if the logits are the same.
        step_from: The stage before, or the model for "builtin"; "" where there is none.
        step: Against that stage; null where there is none.
    """

    role: str
    name: str
    format: str
    runs_on: str
    file: str
    sha256: str
    top1: Estimate
    top5: Estimate | None
    nll: float
    calibration_error: float
    reliability: tuple[Bin, ...]
    drop: Pair | None
    kl: float | None
    sqnr_db: float | None
    step_from: str
    step: Pair | None


@dataclass(frozen=True)
class Group:
    """The images of one class, or of one value of a tag.

    Attributes:
        label: Class name, or the tag's value.
        column: The tag's column; "" for a class.
        images: Their number.
        float_top1: In percent.
        model_top1: In percent.
        drop: In percentage points, with Newcombe's interval (of this group alone).
        counts: Outcomes within the group.
        adjusted_p: McNemar's exact p-value, adjusted over all classes, or over all groups of all columns
            (Benjamini–Hochberg).
    """

    label: str
    column: str
    images: int
    float_top1: float
    model_top1: float
    drop: Estimate
    counts: PairedCounts
    adjusted_p: float

    @property
    def direction(self) -> Direction:
        """Whether it got worse or better beyond chance, looking at all groups at once."""
        if self.adjusted_p >= SIGNIFICANT:
            return Direction.SAME
        return Direction.WORSE if self.drop.value > 0 else Direction.BETTER

    @property
    def is_suspect(self) -> bool:
        """Whether it lost very much, on too few images to tell that from chance."""
        return self.direction is Direction.SAME and self.drop.value >= COLLAPSED and self.counts.lost > 1

    @property
    def has_collapsed(self) -> bool:
        """Whether it lost very much, beyond chance."""
        return self.direction is Direction.WORSE and self.drop.value >= COLLAPSED


@dataclass(frozen=True)
class Confusion:
    """A mistake that became more or less frequent.

    Attributes:
        truth: The true class.
        answer: The wrong one that was given.
        before: How often by the reference.
        after: How often by the model.
    """

    truth: str
    answer: str
    before: int
    after: int


@dataclass(frozen=True)
class Guess:
    """A class and its softmax, in percent."""

    label: str
    percent: float


@dataclass(frozen=True)
class Flip:
    """An image on which exactly one network is right.

    Attributes:
        image: Its name.
        truth: Its class.
        is_lost: True: reference right, model wrong. False: the other way round.
        shift: Softmax of the true class, reference minus model, in points.
        float_guesses: Best three of the reference.
        model_guesses: Best three of the model.
    """

    image: str
    truth: str
    is_lost: bool
    shift: float
    float_guesses: tuple[Guess, ...]
    model_guesses: tuple[Guess, ...]


@dataclass(frozen=True)
class LayerRow:
    """Noise of one layer, in the order of execution.

    Attributes:
        name: Its output tensor.
        operator: Such as "CONV_2D".
        sqnr_db: Of its output against the float network's, in dB; null if they are the same.
        macs: Multiply-accumulates; null where unknown.
    """

    name: str
    operator: str
    sqnr_db: float | None
    macs: int | None


@dataclass(frozen=True)
class Outcomes:
    """Answers image by image, for paired comparison with a later report: one bit each, base64, first image first.

    Attributes:
        reference_right: The reference gives the true class.
        model_right: The model gives the true class.
        model_agrees: The model gives the reference's class.
    """

    reference_right: str
    model_right: str
    model_agrees: str
