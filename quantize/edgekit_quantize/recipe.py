"""Recipes: named, commented TOML files that say how a float network becomes int8."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from edgekit.card import from_plain
from edgekit.errors import InputError


class RangeRule(StrEnum):
    """How the range of an activation follows from what calibration saw.

    MINMAX: from the smallest to the largest value.
    MSE: the range with the least mean squared quantization error.
    """

    MINMAX = "minmax"
    MSE = "mse"


@dataclass(frozen=True)
class Recipe:
    """A parsed recipe.

    Attributes:
        name: Stands in the model card.
        description: One line for `--help` and error messages.
        activation_range: For every activation but the logits.
        calibration_images: At most so many are used, drawn with the seed.
    """

    name: str
    description: str
    activation_range: RangeRule
    calibration_images: int

    def __post_init__(self) -> None:
        if self.calibration_images < 1:
            raise InputError(f"calibration_images must be at least 1, got {self.calibration_images}.")


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
    path = Path(name_or_file) if name_or_file.endswith(".toml") else recipe_folder() / f"{name_or_file}.toml"
    if not path.is_file():
        names = ", ".join(recipe_names())
        raise InputError(f"The recipe must be one of {names} or a .toml file, got {name_or_file!r}.")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"The recipe {path} must be TOML, got: {error}.") from error
    recipe: Recipe = from_plain(Recipe, content, f"recipe {path.name}")
    return recipe
