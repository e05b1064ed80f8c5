"""The photos that networks for ImageNet are calibrated with and judged by, out of a clone of their repository.

The public repository ajschumacher/imagen on GitHub has them, and photos.csv says which; ours were scaled to a short
side of 256 pixels at most before.

    python -m benchmarks.side_by_side.photos imagen/ photos/
    make bench CALIBRATION=photos/calibration EVALUATION=photos/evaluation
"""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path

import click

from edgekit.errors import EdgekitError, InputError

LISTING = Path(__file__).parent / "photos.csv"


@click.command()
@click.argument("clone", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("target", type=click.Path(path_type=Path))
def main(clone: Path, target: Path) -> None:
    """Copy them from CLONE (of ajschumacher/imagen on GitHub) to TARGET/calibration and TARGET/evaluation."""
    with LISTING.open(encoding="utf-8", newline="") as file:
        wanted = {line["file"]: line["imagenet_index"] for line in csv.DictReader(file)}
    copy(wanted, clone, target)
    click.echo(f"Written: {target}, {len(wanted)} photos")


def copy(wanted: dict[str, str], clone: Path, target: Path) -> None:
    """Photos by name, those with an index to be judged, with labels.csv as `benchmarks/evaluation.py` reads it.

    Raises:
        InputError: One is not in the clone.
    """
    found = {path.name: path for path in clone.rglob("*") if path.name in wanted}
    if lost := sorted(wanted.keys() - found.keys()):
        raise InputError(f"{clone} must hold the photos of {LISTING.name}, got no {lost[0]} and {len(lost) - 1} more.")
    for folder in ("calibration", "evaluation"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    for name, index in wanted.items():
        shutil.copyfile(found[name], target / ("evaluation" if index else "calibration") / name)
    with (target / "evaluation" / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "imagenet_index"))
        writer.writerows((name, index) for name, index in wanted.items() if index)


if __name__ == "__main__":
    try:
        main()
    except EdgekitError as error:
        sys.exit(f"{error}")
