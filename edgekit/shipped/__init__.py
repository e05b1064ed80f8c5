"""Models that come with edgekit, trained by its own recipes (`benchmarks/shipped_models.py`): int8, below 2 MB each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

# By name, the file beside this one.
MODELS = {
    "cifar10": "cifar10_mobilenet_v2_050.tflite",
    "cifar10-small": "cifar10_mobilenet_v2_035.tflite",
    "cifar10-v1": "cifar10_mobilenet_v1_050.tflite",
}
_NAMES = ", ".join(MODELS)
_F = TypeVar("_F", bound=Callable[..., Any])
_OPTION = "edgekit.shipped.model"


def find(name: str | Path) -> Path:
    """The file of a shipped model by its name; anything else, and a file of that name, as it is."""
    path = Path(name)
    if str(name) in MODELS and not path.exists():
        return Path(__file__).with_name(MODELS[str(name)])
    return path


def model_argument(required: bool = True) -> Callable[[_F], _F]:
    """A command's MODEL, a file or a shipped model's name; `--model` is another way to say it."""

    def remember(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        context.meta[_OPTION] = value

    def choose(context: click.Context, _parameter: click.Parameter, value: str | None) -> Path | None:
        other = context.meta.get(_OPTION)
        if value is not None and other is not None:
            raise click.UsageError(f"MODEL must be given once, got {value} and --model {other}.")
        chosen = value if value is not None else other
        if chosen is None and required:
            raise click.UsageError(f"Missing argument MODEL: a .tflite file, or one of {_NAMES}.")
        if chosen is None:
            return None
        found = find(chosen)
        if not found.suffix and not found.exists():
            raise click.UsageError(f"MODEL must be a .tflite file or one of {_NAMES}, got {chosen}.")
        return found

    argument = click.argument("model", required=False, callback=choose)
    option = click.option(
        "--model",
        "model_option",
        metavar="NAME|FILE",
        is_eager=True,
        expose_value=False,
        callback=remember,
        help=f"As MODEL. Some come with edgekit: {_NAMES}",
    )
    return lambda function: argument(option(function))
