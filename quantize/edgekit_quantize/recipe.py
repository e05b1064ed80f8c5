"""Recipes: commented TOML files that say how a float network becomes int8."""

from __future__ import annotations

import hashlib
import math
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from edgekit.card import from_plain
from edgekit.errors import InputError


class Format(StrEnum):
    """What the file holds.

    INT8: int8 weights (per channel), int8 activations (per tensor), int8 input and output. The product.
    INT16X8: int8 weights, int16 activations, float32 input and output. For comparison, as are the rest.
    DYNAMIC: int8 weights; activations are float32 and quantized while running.
    FP16: float16 weights, float32 arithmetic.
    FP32: the float network as it is.
    """

    INT8 = "int8"
    INT16X8 = "int16x8"
    DYNAMIC = "dynamic"
    FP16 = "fp16"
    FP32 = "fp32"


class RangeRule(StrEnum):
    """How the range of an activation follows from what calibration saw.

    MINMAX: from the smallest to the largest value.
    MSE: the range with the least mean squared quantization error.
    """

    MINMAX = "minmax"
    MSE = "mse"


@dataclass(frozen=True)
class Tuning:
    """Adjusting the int8 network, as a whole, until its logits are those of the float network. No labels are needed.

    Attributes:
        steps: Optimizer steps, at least 1.
        batch: Images per step, at least 1.
        weight_rate: Largest change of a weight per step, in int8 codes.
        bias_rate: Largest change of a bias per step, as a fraction of its layer's mean absolute bias.
        range_rate: Largest change of an activation range per step, as a fraction of it.
        label_weight: Of the cross-entropy with the images' labels, where they have any, beside the logits' relative
            error. At least 0.
        flip: Mirror half of the images.
        zoom: Look at a random box whose side is between 1 - zoom and 1 of the image's; in [0, 1).
    """

    steps: int
    batch: int = 8
    weight_rate: float = 0.0015
    bias_rate: float = 0.001
    range_rate: float = 0.03
    label_weight: float = 0.0
    flip: bool = True
    zoom: float = 0.3

    def __post_init__(self) -> None:
        if not 0.0 <= self.label_weight < math.inf:
            raise InputError(f"tuning.label_weight must be at least 0, got {self.label_weight}.")
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"tuning.{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("weight_rate", "bias_rate", "range_rate", "zoom"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"tuning.{name} must be in [0, 1), got {getattr(self, name)}.")


@dataclass(frozen=True)
class RecipeFile:
    """What a recipe's file holds.

    Attributes:
        description: One line for `--help` and error messages.
        format: What the file holds. The keys below but for `calibration_images` matter to INT8 only.
        calibration_images: At most so many are used, drawn with the seed.
        activation_range: For every activation but the logits; also for INT16X8.
        equalization: 0: none; 1: every channel of an activation is scaled to use its whole range. In [0, 1].
        tuning: None: none.
    """

    description: str
    format: Format
    calibration_images: int
    activation_range: RangeRule = RangeRule.MINMAX
    equalization: float = 0.0
    tuning: Tuning | None = None

    def __post_init__(self) -> None:
        if self.calibration_images < 1:
            raise InputError(f"calibration_images must be at least 1, got {self.calibration_images}.")
        if not 0.0 <= self.equalization <= 1.0:
            raise InputError(f"equalization must be in [0, 1], got {self.equalization}.")
        if self.format is not Format.INT8 and (self.equalization or self.tuning):
            raise InputError(f"equalization and tuning must go with format int8, got {self.format}.")


@dataclass(frozen=True, kw_only=True)
class Recipe(RecipeFile):
    """A recipe, with what the model card says of it.

    Attributes:
        name: Of a shipped recipe, as the user gives it; of a user's own, the name of its file, such as "mine.toml".
        sha256: Of the file.
    """

    name: str
    sha256: str


def recipe_folder() -> Path:
    """Where the recipes lie: inside the package when installed, beside it in the repository."""
    package = Path(__file__).parent
    installed = package / "recipes"
    return installed if installed.is_dir() else package.parent / "recipes"


def recipe_names() -> list[str]:
    """Names of the recipes that edgekit brings."""
    return sorted(path.stem for path in recipe_folder().glob("*.toml"))


def load_recipe(name_or_file: str) -> Recipe:
    """A recipe by name, or from a user's own TOML file.

    Raises:
        InputError: No such recipe, not TOML, an unknown or missing key, a wrong value.
    """
    is_file_name = name_or_file.endswith(".toml")
    path = Path(name_or_file) if is_file_name else recipe_folder() / f"{name_or_file}.toml"
    if not path.is_file() or (not is_file_name and name_or_file not in recipe_names()):
        if is_file_name:
            raise InputError(f"The recipe {path} must be a file, got nothing there.")
        names = ", ".join(recipe_names())
        raise InputError(f"The recipe must be one of {names} or a .toml file, got {name_or_file!r}.")
    try:
        data = path.read_bytes()
        content = tomllib.loads(data.decode("utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"The recipe {path} must be TOML, got: {error}.") from error
    held: RecipeFile = from_plain(RecipeFile, content, f"recipe {path.name}")
    return Recipe(
        **vars(held), name=path.name if is_file_name else name_or_file, sha256=hashlib.sha256(data).hexdigest()
    )
