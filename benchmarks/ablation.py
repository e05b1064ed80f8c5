"""Variants of a recipe, each with some of its keys changed, as recipe files that `edgekit convert` takes."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit_quantize.recipe import load_recipe, recipe_folder

# Value of a key, None to remove it, or a function of the recipe's own value.
Override = Any | None | Callable[[Any], Any]

VARIANTS: dict[str, dict[str, Override]] = {
    "nothing": {"activation_range": "minmax", "equalization": 0.0, "tuning": None},
    "mse ranges only": {"activation_range": "mse", "equalization": 0.0, "tuning": None},
    "no tuning": {"tuning": None},
    "no equalization": {"equalization": 0.0},
    "tuning from mse ranges": {"activation_range": "mse"},
    "ranges not tuned": {"tuning.range_rate": 0.0},
    "weights not tuned": {"tuning.weight_rate": 0.0},
    "biases not tuned": {"tuning.bias_rate": 0.0},
    "images not varied": {"tuning.flip": False, "tuning.zoom": 0.0},
    "half the tuning steps": {"tuning.steps": lambda steps: steps // 2},
}


def write_variants(recipe: str, folder: Path) -> dict[str, str]:
    """Write those of VARIANTS that differ from the recipe and from each other.

    Args:
        recipe: Name of a shipped recipe.
        folder: Where to write them.

    Returns:
        Name of the variant to its recipe file.

    Raises:
        InputError: A variant is not a valid recipe.
    """
    shipped = tomllib.loads((recipe_folder() / f"{recipe}.toml").read_text(encoding="utf-8"))
    seen = [load_recipe(recipe)]
    written = {}
    for variant, overrides in VARIANTS.items():
        content = override(shipped, overrides)
        if content is None:
            continue
        path = folder / f"{variant.replace('/', '-').replace(' ', '-')}.toml"
        path.write_text(to_toml(content), encoding="utf-8")
        parsed = replace(load_recipe(str(path)), name=recipe, sha256=seen[0].sha256)
        if parsed not in seen:
            seen.append(parsed)
            written[f"{recipe}, {variant}"] = str(path)
    return written


def override(recipe: Mapping[str, Any], overrides: Mapping[str, Override]) -> dict[str, Any] | None:
    """A copy of a recipe with some keys changed; "table.key" names a key of a table.

    Returns:
        None if a change concerns a table that the recipe does not have.
    """
    result = {key: dict(value) if isinstance(value, dict) else value for key, value in recipe.items()}
    for name, value in overrides.items():
        table, _, key = name.rpartition(".")
        if table and table not in result:
            return None
        place = result[table] if table else result
        if value is None:
            place.pop(key, None)
        else:
            place[key] = value(place[key]) if callable(value) else value
    return result


def to_toml(content: Mapping[str, Any]) -> str:
    """TOML of plain values and of tables of them. JSON writes texts, numbers and booleans just as TOML does."""
    plain = [f"{key} = {json.dumps(value)}" for key, value in content.items() if not isinstance(value, dict)]
    tables = [f"\n[{key}]\n{to_toml(value)}" for key, value in content.items() if isinstance(value, dict)]
    return "\n".join([*plain, *tables]) + "\n"
