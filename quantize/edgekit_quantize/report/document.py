"""What a report says: the JSON file is exactly this, and HTML, Markdown and the table are drawn from it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

from edgekit.card import from_plain, to_plain
from edgekit.errors import InputError
from edgekit.train.chance import is_like_chance
from edgekit_quantize.report.changes import Change, Costs, Direction, Since
from edgekit_quantize.report.facts import Confusion, DataFacts, Flip, Group, LayerRow, ModelFacts, Outcomes, Pair, Stage
from edgekit_quantize.report.gate import Gate, Outcome

SCHEMA_VERSION = 3


@dataclass(frozen=True)
class Document:
    """The whole report.

    Attributes:
        model: The judged file.
        data: The images.
        stages: Reference first, then the stages to the model, builtin kernels, other files.
        gates: Those that were set.
        classes: In the card's order; only those that have images.
        subgroups: By column and value; null without tags.
        confusions: Mistakes whose number changed, the largest change first.
        confusion_change: Confusion counts of model minus reference, row = true class, column = answer; null with many
            classes.
        confusion_labels: Their names, in row order; empty with many classes.
        flips: The worst first, lost before gained.
        layers: Noise layer by layer; null if it was not measured.
        since: Against the baseline report; null without one.
        outcomes: Right or wrong, image by image.
        tools: Package name to version, of this comparison.
        command: As it was typed; "" from a program.
        costs: Times, memory, sizes: all that differs between two runs.
        schema_version: Of this file.
    """

    model: ModelFacts
    data: DataFacts
    stages: tuple[Stage, ...]
    gates: tuple[Gate, ...]
    classes: tuple[Group, ...]
    subgroups: tuple[Group, ...] | None
    confusions: tuple[Confusion, ...]
    confusion_change: tuple[tuple[int, ...], ...] | None
    confusion_labels: tuple[str, ...]
    flips: tuple[Flip, ...]
    layers: tuple[LayerRow, ...] | None
    since: Since | None
    outcomes: Outcomes
    tools: dict[str, str]
    command: str
    costs: Costs
    schema_version: int = field(default=SCHEMA_VERSION)

    @property
    def reference(self) -> Stage:
        """The float network."""
        return self.stages[0]

    @property
    def judged(self) -> Stage:
        """The model file's own stage."""
        return next(stage for stage in self.stages if stage.role == "model")

    @property
    def drop(self) -> Pair:
        """The model file against the reference."""
        drop = self.judged.drop
        if drop is None:
            raise InputError("The report's model must be held against the reference, got none.", "Make it again.")
        return drop

    @property
    def chain(self) -> tuple[Stage, ...]:
        """From the reference to the model, in order."""
        return tuple(stage for stage in self.stages if stage.role in ("reference", "onnx", "float-tflite", "model"))

    @property
    def builtin(self) -> Stage | None:
        """The model file under builtin kernels, if that was run."""
        return next((stage for stage in self.stages if stage.role == "builtin"), None)

    @property
    def files(self) -> tuple[Stage, ...]:
        """The model file and those beside it."""
        return tuple(stage for stage in self.stages if stage.role in ("model", "also"))

    @property
    def has_top5(self) -> bool:
        """Whether top-5 means anything here."""
        return any(stage.top5 is not None for stage in self.stages)

    @property
    def changes(self) -> tuple[Change, ...]:
        """Everything that was held against the baseline."""
        return (self.since.changes if self.since else ()) + self.costs.changes

    @property
    def regressions(self) -> tuple[Change, ...]:
        """What got worse since the baseline."""
        return tuple(change for change in self.changes if change.direction is Direction.WORSE)

    @property
    def is_like_chance(self) -> bool:
        """Whether the reference may as well not look at the images."""
        images = [group.images for group in self.classes]
        return is_like_chance([round(group.float_top1 * group.images / 100.0) for group in self.classes], images)

    @property
    def outcome(self) -> Outcome | None:
        """Of all gates and the baseline together; None if there is neither."""
        if not self.gates and self.since is None:
            return None
        outcomes = {gate.outcome for gate in self.gates}
        if Outcome.FAILED in outcomes or self.regressions or (self.gates and self.is_like_chance):
            return Outcome.FAILED
        return Outcome.UNDECIDED if Outcome.UNDECIDED in outcomes else Outcome.PASSED

    def to_json(self) -> str:
        """Canonical JSON with six significant digits, no date in it: the same input gives the same bytes but costs."""
        plain = _round(to_plain(self))
        return json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Document:
        """Parse a report's JSON, strictly.

        Raises:
            InputError: Not JSON, another schema version, an unknown or missing key, a value of the wrong type, no
                stage of the model.
        """
        try:
            plain = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise InputError(f"The report must be JSON, got: {error}.") from error
        version = plain.get("schema_version") if isinstance(plain, dict) else None
        if version != SCHEMA_VERSION:
            raise InputError(
                f"The report's schema_version must be {SCHEMA_VERSION}, got {version!r}.", "Make the report again."
            )
        document: Document = from_plain(cls, plain, "report")
        if [stage.role for stage in document.stages].count("model") != 1:
            raise InputError("The report must have one stage of the model, got none or several.")
        return document


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant}, which JSON does not know")


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
