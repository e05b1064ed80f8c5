"""`edgekit train`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgekit.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from edgekit.train.options import Options
    from edgekit.train.prepare import Images
    from edgekit.train.result import Result
    from edgekit.train.world import World

_F = TypeVar("_F", bound=Callable[..., Any])
LISTED = 5
WORST = 20
# Of classes whose sizes differ: from here on the mean over classes says something else than top-1.
UNEVEN = 0.005


def _number(name: str, text: str, kind: type = float) -> Callable[[_F], _F]:
    """An option whose default is the recipe's."""
    return click.option(name, type=kind, help=text, show_default=False)


@click.command()
@click.argument("data_dir", metavar="DATA", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The checkpoint to write, such as model.pt.")
@click.option("--recipe", help="transfer, scratch, native, distill or imagenet.  [default: the one that fits]")
@click.option("--arch", default="mobilenet_v2", show_default=True, help="mobilenet_v1 or mobilenet_v2.")
@click.option("--width", default=1.0, show_default=True, help="Channel multiplier.")
@_number("--size", "Side of the input in pixels, a multiple of 32.  [default: the recipe's, 96 for most]", int)
@_number("--stem-stride", "Stride of the first convolution; 1 for tiny images.  [default: the recipe's]", int)
@click.option(
    "--weights",
    help="Where to start: imagenet, none, or a checkpoint, of which is taken what fits (a wider network's strongest "
    "channels).  [default: imagenet at width 1.0 with the recipes transfer and distill, else none]",
)
@_number("--epochs", "Passes over the images.  [default: by the recipe and the number of images]", int)
@_number(
    "--batch", "Images per step, over all processes; fewer where many are left over.  [default: the recipe's]", int
)
@click.option("--optimizer", help="adamw or sgd.  [default: the recipe's, as for all below]")
@_number("--lr", "Peak learning rate of the backbone.")
@_number("--head-lr", "Peak learning rate of the classifier.")
@_number("--warmup", "Share of all steps in which the rates rise; they fall to zero along a cosine then.")
@_number("--weight-decay", "Of convolutions and the classifier; normalizations and biases have none.")
@_number("--smoothing", "Label smoothing.")
@_number("--dropout", "Before the classifier.")
@click.option(
    "--flip/--no-flip", default=None, help="Mirror half of the images left to right; not for letters or arrows."
)
@_number("--zoom", "How much smaller a part of the image may be looked at, as a share of its side.")
@_number("--stretch", "How far its aspect ratio may change, where it fits: 0.2 is up to 1.2, or down to 1 / 1.2.")
@_number("--shift", "How far that part may reach beyond the border, as a share of the side.")
@_number("--cutout", "Side of a grey square over half of the images, as a share of theirs.")
@_number("--mixup", "Alpha of mixup, 0 for none.")
@_number("--cutmix", "Alpha of cutmix, 0 for none.")
@_number("--randaugment", "Random operations, drawn anew for every four images (kornia), 0 for none.", int)
@_number("--magnitude", "Their strength, 1 to 29.  [default: 10]", int)
@_number("--ema", "Decay of averaged weights, which are kept then, such as 0.999; 0 for none.")
@_number(
    "--freeze", "First blocks that keep their weights.  [default: the recipe's; 0 if --weights do not fill them]", int
)
@_number("--unfreeze", "Epochs over which these are let go, the last ones first; 0: never.", int)
@click.option("--balanced", is_flag=True, default=None, help="Show every class equally often.")
@click.option("--teacher", help="A checkpoint of the same classes whose answers are learned.")
@_number("--distill", "The teacher's share of the loss.  [default: 0.9]")
@_number("--temperature", "That softens both answers.  [default: 1, for teachers trained with label smoothing]")
@_number("--range-penalty", "Against weights that stick out, which int8 suffers from; 0.0001 is a start.  [default: 0]")
@_number("--qat-epochs", "Last epochs with int8's rounding.  [default: 0]", int)
@click.option("--val-fraction", default=0.2, show_default=True, help="Kept for validation if there is no val/ folder.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of everything random.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto.")
@click.option("--amp", help="off, bf16, fp16, or auto: bf16 on a GPU that has it.  [default: auto]")
@click.option("--compile", is_flag=True, default=None, help="Let torch.compile make kernels; needs a C++ compiler.")
@click.option("--threads", type=click.IntRange(1, 256), help="Per process.  [default: the cores, shared by processes]")
@click.option(
    "--tensorboard", type=click.Path(path_type=Path, file_okay=False), help="Folder for TensorBoard's event files."
)
@click.option("--find-lr", is_flag=True, help="Try rates on up to 100 steps and propose one; train nothing.")
@click.option("--dry-run", is_flag=True, help="Check the images and estimate the time; train nothing.")
@click.option("--allow-leakage", is_flag=True, help="Train although validation has images of training.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run: the same command plus this.")
def command(
    data_dir: Path,
    out: Path | None,
    recipe: str | None,
    val_fraction: float,
    device: str,
    threads: int | None,
    tensorboard: Path | None,
    find_lr: bool,
    dry_run: bool,
    allow_leakage: bool,
    resume: bool,
    **chosen: Any,
) -> None:
    """Train MobileNetV1 or V2 on a folder of images.

    DATA holds one sub-folder per class (DATA/cat/1.jpg), or train/ and val/ that do, or train/ and val/ with
    WebDataset's tar shards and a labels.txt; or it is the word cifar10 (where no folder has that name). Each epoch
    is saved beside --out, so that an interrupted run can go on with --resume. `model.run.json` tells what
    `model.pt` was trained with and on, and what each epoch gave; `model.best.pt` is there if an earlier epoch was
    better on validation. Several GPUs or machines: start it with torchrun.

    \b
    Examples:
      edgekit train photos/ --out model.pt
      edgekit train photos/ --dry-run
      edgekit train photos/ --out model.pt --size 128 --epochs 20
      edgekit train photos/ --out small.pt --width 0.35 --weights model.pt --teacher model.pt
      edgekit train photos/ --out v1.pt --arch mobilenet_v1
      edgekit train cifar10 --out v2.pt --recipe native
      edgekit train photos/ --out model.pt --resume
      torchrun --nproc-per-node 4 --no-python edgekit train photos/ --out model.pt
    """
    import torch

    from edgekit.runtime import available_cores
    from edgekit.train.data import has_validation
    from edgekit.train.prepare import is_cifar10, prepare
    from edgekit.train.shards import ShardSet
    from edgekit.train.survey import leaked_in, refuse_leaked
    from edgekit.train.world import join

    if out is not None:
        _check_target(out)
    elif not (dry_run or find_lr):
        raise click.UsageError("Missing option '--out'.")
    given = {name: value for name, value in chosen.items() if value is not None}
    with join(device) as world:
        # For several processes torchrun sets one thread each where nothing was set.
        if threads is None and world.size > 1 and os.environ.get("OMP_NUM_THREADS", "1") == "1":
            threads = max(1, available_cores() // world.local_size)
        if threads:
            torch.set_num_threads(threads)
        options, train_set, val_set = prepare(data_dir, recipe, val_fraction, given, world)
        if not isinstance(train_set, ShardSet) and not isinstance(val_set, ShardSet):
            # A split keeps copies on one side.
            may_leak = not is_cifar10(data_dir) and has_validation(data_dir)
            pairs = leaked_in(train_set, val_set, world) if may_leak and (dry_run or not allow_leakage) else []
            if dry_run:
                from edgekit.train.dry_run import dry_run as look

                look(options, train_set, val_set, pairs, world)
            if not allow_leakage:
                refuse_leaked(pairs)
        elif dry_run or options.balanced:
            word = "--dry-run" if dry_run else "--balanced"
            raise InputError(f"{word} must have folders of images, got shards.", "Leave it out.")
        if find_lr and not dry_run:
            from edgekit.train.find_rate import find_rate

            find_rate(options, train_set, out, world)
        if dry_run or find_lr or out is None:
            return
        is_split = not (is_cifar10(data_dir) or has_validation(data_dir))
        _train(options, train_set, val_set, out, resume, world, tensorboard, is_split)


def _check_target(out: Path) -> None:
    """Every reason against it, before the images are read."""
    from edgekit.files import check_writable

    if out.suffix.lower() != ".pt":
        raise InputError(f"--out must end in .pt, got {out}.", f"Use {out.with_suffix('.pt')}.")
    check_writable(out)


def _train(
    options: Options,
    train_set: Images,
    val_set: Images,
    out: Path,
    resume: bool,
    world: World,
    tensorboard: Path | None,
    is_split: bool,
) -> None:
    from edgekit.images import FileSet
    from edgekit.progress import console
    from edgekit.train.log import Log
    from edgekit.train.loop import train
    from edgekit.train.record import validation_list_path, write_record, write_validation_list

    def keep(found: Result) -> None:
        write_record(out, options, found, world)
        if is_split and isinstance(val_set, FileSet):
            listed = write_validation_list(out, val_set)
            said = f"Kept for validation: listed in {listed}, for edgekit report --data."
            console.print(said, markup=False, soft_wrap=True)
        else:
            # Of another run to this name.
            validation_list_path(out).unlink(missing_ok=True)

    with Log(tensorboard if world.is_first else None) as log:
        result = train(
            options,
            train_set,
            val_set,
            out=out,
            resume=resume,
            world=world,
            log=log,
            kept=keep,
        )
    if world.is_first:
        _summary(result, out)


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
    from edgekit.train.chance import is_like_chance
    from edgekit.train.resume import best_path

    if result.skipped:
        images = f"image{'s'[: len(result.skipped) - 1]}"
        console.print(f"{len(result.skipped)} {images} left out that could not be read:", soft_wrap=True)
        for line in result.skipped[:LISTED]:
            console.print(f"  {line}", markup=False, soft_wrap=True)
        if len(result.skipped) > LISTED:
            console.print(f"  and {len(result.skipped) - LISTED} more")
    console.print(_class_table(result))
    last = result.epochs[-1]
    validation = "" if last.validation is None else f", validation top-1 {100 * last.validation:.2f} %"
    if result.mean_recall is not None and abs(result.mean_recall - (last.validation or 0.0)) > UNEVEN:
        validation += f" (mean over classes {100 * result.mean_recall:.2f} %)"
    if result.best is not None and result.best + 1 < len(result.epochs):
        best = result.epochs[result.best].validation or 0.0
        console.print(
            f"Epoch {result.best + 1} was better ({100 * best:.2f} %): it is in {best_path(out)}, which convert takes "
            "as well.",
            soft_wrap=True,
        )
    scores = result.classes.values()
    if is_like_chance([score.correct for score in scores], [score.images for score in scores]):
        console.print(
            "The validation images cannot tell this network from chance: it has not learned the classes, or there are "
            "too few images. Train longer, look for a rate with --find-lr, or check the images.",
            style="yellow",
            soft_wrap=True,
        )
    click.echo(f"{out}: {len(result.checkpoint.labels)} classes, {result.seconds:.0f} s of training{validation}")
