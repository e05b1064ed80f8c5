"""`edgekit train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from edgekit.train.loop import Result

LISTED = 5
NAMED = 10
WORST = 20


@click.command()
@click.argument("data_dir", type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="The checkpoint to write, such as model.pt."
)
@click.option("--arch", default="mobilenet_v2", show_default=True, help="mobilenet_v1 or mobilenet_v2.")
@click.option("--width", default=1.0, show_default=True, help="Channel multiplier.")
@click.option("--size", default=96, show_default=True, help="Side of the input in pixels, a multiple of 32.")
@click.option("--stem-stride", default=2, show_default=True, help="Stride of the first convolution; 1 for tiny images.")
@click.option(
    "--weights",
    type=click.Choice(["imagenet", "none"]),
    help="Where to start.  [default: imagenet for mobilenet_v2 at width 1.0, otherwise none]",
)
@click.option("--epochs", type=int, help="Passes over the images.  [default: by the number of images]")
@click.option("--batch", type=int, help="Images per step.  [default: 32]")
@click.option("--lr", type=float, help="Peak learning rate.  [default: 0.00025 from imagenet, 0.003 from none]")
@click.option("--head-lr", type=float, help="The classifier's.  [default: 0.001 from imagenet, 0.003 from none]")
@click.option(
    "--freeze", type=int, help="First blocks that keep their weights.  [default: 7 from imagenet, 0 from none]"
)
@click.option("--val-fraction", default=0.2, show_default=True, help="Kept for validation if there is no val/ folder.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of everything random.")
@click.option("--threads", type=click.IntRange(1, 256), help="[default: all cores]")
@click.option("--dry-run", is_flag=True, help="Check the images and estimate the time; train nothing.")
@click.option("--allow-leakage", is_flag=True, help="Train although validation has images of training.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run: the same command plus this.")
def command(
    data_dir: Path,
    out: Path,
    val_fraction: float,
    threads: int | None,
    resume: bool,
    dry_run: bool,
    allow_leakage: bool,
    **chosen: Any,
) -> None:
    """Train MobileNetV1 or V2 on a folder of images.

    DATA_DIR holds one sub-folder per class (DATA_DIR/cat/1.jpg), or train/ and val/ that do. Everything runs on the
    CPU. Each epoch is saved beside --out, so that an interrupted run can go on with --resume. `model.run.json` tells
    what `model.pt` was trained with and on, and what each epoch gave.

    \b
    Examples:
      edgekit train photos/ --out model.pt
      edgekit train photos/ --out model.pt --dry-run
      edgekit train photos/ --out model.pt --size 128 --epochs 20
      edgekit train photos/ --out small.pt --width 0.35 --weights none
      edgekit train photos/ --out v1.pt --arch mobilenet_v1 --weights none
      edgekit train photos/ --out model.pt --resume
    """
    import torch

    from edgekit.files import check_writable
    from edgekit.progress import console
    from edgekit.train.data import open_folder
    from edgekit.train.loop import train
    from edgekit.train.recipes import for_folder
    from edgekit.train.record import write_record
    from edgekit.train.survey import check_leaked

    if out.suffix.lower() != ".pt":
        raise InputError(f"--out must end in .pt, got {out}.", f"Use {out.with_suffix('.pt')}.")
    check_writable(out)
    if threads:
        torch.set_num_threads(threads)
    if chosen["weights"] is None:
        chosen["weights"] = "imagenet" if (chosen["arch"], chosen["width"]) == ("mobilenet_v2", 1.0) else "none"
    given = {name: value for name, value in chosen.items() if value is not None}
    # Once before the folder is read, for its errors; once more with the number of images.
    for_folder(1, **given)
    train_set, val_set = open_folder(data_dir, val_fraction, chosen["seed"])
    options = for_folder(len(train_set.paths), **given)
    console.print(
        f"{len(train_set.paths)} images to train, {len(val_set.paths)} to validate, {len(train_set.labels)} classes; "
        f"{options.arch} {options.width:g} at {options.size}×{options.size} from {options.weights}, "
        f"{options.epochs} epochs",
        soft_wrap=True,
    )
    console.print(f"Classes: {_first_of(train_set.labels, NAMED)}", markup=False, highlight=False, soft_wrap=True)
    if dry_run:
        from edgekit.train.dry_run import dry_run as look

        if look(options, train_set, val_set) and not allow_leakage:
            check_leaked(train_set, val_set)
        return
    if not allow_leakage:
        check_leaked(train_set, val_set)
    result = train(options, train_set, val_set, out=out, resume=resume)
    write_record(out, options, result)
    _summary(result, out)


def _first_of(names: tuple[str, ...], count: int) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _class_table(result: Result) -> Table:
    """The classes that validation knows least, worst first."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("class", "validation top-1", "images", "mostly taken for")
    worst = sorted(result.classes.items(), key=lambda item: item[1].correct / max(1, item[1].images))
    for name, found in worst[:WORST]:
        share = f"{100 * found.correct / found.images:.1f} %" if found.images else "–"
        table.add_row(escape(name), share, f"{found.images:,}", escape(found.mistaken_for))
    if len(worst) > WORST:
        table.caption = f"the {WORST} worst of {len(worst)} classes; all are in the .run.json"
    return table


def _summary(result: Result, out: Path) -> None:
    from edgekit.progress import console

    if result.skipped:
        console.print(f"{len(result.skipped)} images could not be read and were left out:", soft_wrap=True)
        for line in result.skipped[:LISTED]:
            console.print(f"  {line}", markup=False, soft_wrap=True)
        if len(result.skipped) > LISTED:
            console.print(f"  and {len(result.skipped) - LISTED} more")
    console.print(_class_table(result))
    last = result.epochs[-1]
    validation = "" if last.validation is None else f", validation top-1 {100 * last.validation:.2f} %"
    click.echo(f"{out}: {len(result.checkpoint.labels)} classes, {result.seconds:.0f} s of training{validation}")
