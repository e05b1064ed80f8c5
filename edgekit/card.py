"""The model card: everything a runtime needs to know about a .tflite, as `edgekit.json` inside that file.

The card is strict. A key that this version does not know is refused, so that a file is never half-understood;
any change of keys raises SCHEMA_VERSION. Class names are not in its JSON: they stand in labels.txt beside it, where
TFLite Metadata looks for them, and once is enough.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from edgekit.errors import InputError

SCHEMA_VERSION = 3
_LABELS = "labels"
_hints = functools.cache(typing.get_type_hints)


class Resize(StrEnum):
    """How a crop becomes the model's input.

    AREA_LINEAR: first the mean over k×k pixels, k = the largest integer for which the crop stays at least as large
    as the input; then bilinear interpolation in fixed point (OpenCV INTER_LINEAR_EXACT). The mean
    sums integers and rounds once, the second step is integer arithmetic: the same bits on every processor. Large photos
    do not alias.
    """

    AREA_LINEAR = "area_linear"


@dataclass(frozen=True)
class Quantization:
    """real = scale * (q - zero_point), q in [-128, 127]."""

    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        if not 0.0 < self.scale < math.inf:
            raise InputError(f"A quantization's scale must be positive and finite, got {self.scale}.")
        if not -128 <= self.zero_point <= 127:
            raise InputError(f"A quantization's zero point must be in [-128, 127], got {self.zero_point}.")


@dataclass(frozen=True)
class InputSpec:
    """The image input. Pixels are RGB uint8 in NHWC order; normalized = (pixel / 255 - mean) / std.

    Attributes:
        height: Pixels.
        width: Pixels.
        mean: One value per channel (R, G, B), in units of the full pixel range.
        std: Likewise.
        crop_fraction: The centred box of the input's aspect ratio, times this, is cut out before resizing; in (0, 1].
        resize: The resize rule.
        quantization: None for a float model.
    """

    height: int
    width: int
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    crop_fraction: float = 1.0
    resize: Resize = Resize.AREA_LINEAR
    quantization: Quantization | None = None

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise InputError(f"The input must be at least 1×1, got {self.width}×{self.height}.")
        if not 0.0 < self.crop_fraction <= 1.0:
            raise InputError(f"The crop must be in (0, 1], got {self.crop_fraction}.")
        if not all(map(math.isfinite, self.mean)):
            raise InputError(f"The mean must be finite, got {self.mean}.")
        if not all(0.0 < value < math.inf for value in self.std):
            raise InputError(f"The std must be positive and finite, got {self.std}.")


@dataclass(frozen=True)
class OutputSpec:
    """One vector of logits (before softmax), a value per class.

    Attributes:
        classes: Length of the vector.
        quantization: None for a float model.
    """

    classes: int
    quantization: Quantization | None = None

    def __post_init__(self) -> None:
        if self.classes < 1:
            raise InputError(f"The output must have at least one class, got {self.classes}.")


@dataclass(frozen=True)
class Architecture:
    """What the network is: `name` as in edgekit.models, or "onnx" for a foreign graph (then width is 0)."""

    name: str
    width: float = 1.0


@dataclass(frozen=True)
class Provenance:
    """Where the file comes from. It holds no date, so that the same inputs give the same bytes.

    Attributes:
        tools: Package name to version.
        recipe: Name of the quantization recipe, or of the user's own recipe file.
        recipe_sha256: Hash of the recipe file.
        is_tuned: Whether weights and ranges were tuned. A recipe's tuning is left out where it did not help.
        seed: Seed of everything random.
        reference_sha256: Hash of the float checkpoint or ONNX file.
        calibration_sha256: Hash over the sorted SHA-256 of each calibration image's pixels.
        calibration_images: Their number.
    """

    tools: dict[str, str]
    recipe: str
    recipe_sha256: str
    is_tuned: bool
    seed: int
    reference_sha256: str
    calibration_sha256: str
    calibration_images: int


@dataclass(frozen=True)
class Measurement:
    """A figure that was measured when the file was made.

    Attributes:
        name: What was compared, such as "logits SQNR, int8 against float TFLite".
        value: The figure.
        unit: "dB", "%", "max abs error", ...
        images: On how many images.
    """

    name: str
    value: float
    unit: str
    images: int


@dataclass(frozen=True)
class GoldenSample:
    """An image in the file and the exact output codes it must give after `edgekit.preprocess`.

    Codes are int8, a byte per class; base64 in the JSON.

    Attributes:
        image: Name of the PNG in the zip tail.
        xnnpack: Output under LiteRT with XNNPACK: exact on x86 and on every 64-bit Pi.
        builtin: Output under TFLite's builtin kernels: exact under `Card.builtin_runtime` on x86, elsewhere within
            `Card.builtin_bound` codes.
    """

    image: str
    xnnpack: bytes
    builtin: bytes


@dataclass(frozen=True)
class Card:
    """The whole card. See the attributes' own classes.

    Attributes:
        labels: Class names in output order, a line of text each.
        flatbuffer_sha256: Hash of the bytes before the zip tail.
        builtin_runtime: Package and version of the interpreter that gave `builtin`, such as "tflite-runtime 2.14.0".
        builtin_bound: How far (in output codes) builtin kernels of another version or processor may be from `builtin`.
    """

    name: str
    architecture: Architecture
    input: InputSpec
    output: OutputSpec
    labels: tuple[str, ...]
    provenance: Provenance
    flatbuffer_sha256: str = ""
    measurements: tuple[Measurement, ...] = ()
    golden: tuple[GoldenSample, ...] = ()
    builtin_runtime: str = ""
    builtin_bound: int = 0
    schema_version: int = field(default=SCHEMA_VERSION)

    def __post_init__(self) -> None:
        if len(self.labels) != self.output.classes:
            raise InputError(
                f"The card must have one label per class, got {len(self.labels)} labels for {self.output.classes}."
            )
        if broken := [label for label in self.labels if "\n" in label or "\r" in label]:
            raise InputError(f"A label must be one line of text, got {broken[0]!r}.")

    def to_json(self) -> str:
        """All but the labels, as canonical JSON: sorted keys, no spaces, UTF-8, one trailing newline."""
        plain = to_plain(self)
        del plain[_LABELS]
        return json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, labels: Sequence[str]) -> Card:
        """Parse a card.

        Args:
            text: What `to_json` gives.
            labels: Class names in output order.

        Raises:
            InputError: Not JSON, another schema version, an unknown or missing key, a value of the wrong type, labels
                that do not fit.
        """
        try:
            plain = json.loads(text)
        except ValueError as error:
            raise InputError(f"The model card must be JSON, got: {error}.") from error
        version = plain.get("schema_version") if isinstance(plain, dict) else None
        if version != SCHEMA_VERSION:
            raise InputError(
                f"The card's schema_version must be {SCHEMA_VERSION}, got {version!r}.",
                "Update edgekit, or convert the model again.",
            )
        if _LABELS in plain:
            raise InputError(
                f"card must hold only known keys, got {_LABELS}.", "Labels stand beside it, in labels.txt."
            )
        card: Card = from_plain(cls, plain | {_LABELS: list(labels)}, "card")
        return card


def to_plain(value: Any) -> Any:
    """Dataclasses to dicts, tuples to lists and bytes to base64, recursively: what json.dumps takes."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    # A str enum would be pickled as code by checkpoints.
    return value.value if isinstance(value, StrEnum) else value


def from_plain(kind: Any, value: Any, where: str) -> Any:
    """Build `kind` (a type annotation of the card's vocabulary) from parsed JSON; `where` names the place in errors.

    Raises:
        InputError: The value does not fit.
    """
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        inner = [option for option in typing.get_args(kind) if option is not type(None)]
        return None if value is None else from_plain(inner[0], value, where)
    if dataclasses.is_dataclass(kind):
        return _dataclass_from(kind, value, where)
    if origin is tuple:
        return _tuple_from(typing.get_args(kind), value, where)
    if origin is dict:
        if not isinstance(value, dict):
            raise InputError(f"{where} must be an object, got {value!r}.")
        return {key: from_plain(typing.get_args(kind)[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is bytes:
        return _bytes_from(value, where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        try:
            return kind(value)
        except ValueError as error:
            raise InputError(f"{where} must be one of {[item.value for item in kind]}, got {value!r}.") from error
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InputError(f"{where} must be {kind.__name__}, got {value!r}.")
    return value


def _bytes_from(value: Any, where: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} must be base64, got {value!r}.") from error


def _dataclass_from(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise InputError(f"{where} must be an object, got {value!r}.")
    hints = _hints(kind)
    names = {f.name: f for f in dataclasses.fields(kind)}
    if unknown := sorted(value.keys() - names.keys()):
        known = ", ".join(names)
        raise InputError(
            f"{where} must hold only known keys, got {', '.join(unknown)}.",
            f"Known are {known}; a newer edgekit may know more.",
        )
    missing = sorted(
        name
        for name, f in names.items()
        if name not in value and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    )
    if missing:
        raise InputError(f"{where} must hold {', '.join(missing)}, got {', '.join(sorted(value)) or 'nothing'}.")
    return kind(**{name: from_plain(hints[name], item, f"{where}.{name}") for name, item in value.items()})


def _tuple_from(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if not isinstance(value, list):
        raise InputError(f"{where} must be a list, got {value!r}.")
    endless = len(arguments) == 2 and arguments[1] is Ellipsis
    if not endless and len(value) != len(arguments):
        raise InputError(f"{where} must have {len(arguments)} values, got {len(value)}.")
    # There may be thousands of labels; one by one they would be the slowest part of opening a model.
    if endless and set(map(type, value)) == {arguments[0]}:
        return tuple(value)
    kinds = [arguments[0]] * len(value) if endless else list(arguments)
    return tuple(
        from_plain(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True))
    )
