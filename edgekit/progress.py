"""Progress bars and messages on stderr, so that stdout stays for results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress

_T = TypeVar("_T")
console = Console(stderr=True, highlight=False)


def progress_bar(*fields: str, unit: str = "") -> Progress:
    """A bar: spinner, description, bar, "done/total unit", then each of `fields`, elapsed and remaining time.

    Args:
        fields: Names of task fields to show as they are, set with `progress.update(task, name=...)`.
        unit: What is counted.
    """
    # Here, because the camera imports this module, shows no bar and should start soon.
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = [
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        *(TextColumn(f"{{task.fields[{name}]}}") for name in fields),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    ]
    return Progress(*columns, console=console)


def tracked(name: str, items: Iterable[_T], total: int, unit: str = "images") -> Iterator[_T]:
    """The items, with a bar that counts them."""
    with progress_bar(unit=unit) as bar:
        yield from bar.track(items, total, description=name)
