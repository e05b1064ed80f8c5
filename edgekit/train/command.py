"""`edgekit train`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import click

from edgekit.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from edgekit.images import ImageSet
    from edgekit.train.loop import Result
    from edgekit.train.options import Options
    from edgekit.train.shards import ShardSet
    from edgekit.train.world import World

Images: TypeAlias = "ImageSet | ShardSet"
_F = TypeVar("_F", bound=Callable[..., Any])
CIFAR10 = "cifar10"
LISTED = 5
NAMED = 10
WORST = 20


def _number(name: str, text: str, kind: type = float) -> Callable[[_F], _F]:
    """An option whose default is the recipe's."""
    return click.option(name, type=kind, help=text, show_default=False)


@click.command()
@click.argument("data_dir", metavar="DATA", type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="The checkpoint to write, such as model.pt."
)
@click.option("--recipe", help="transfer, scratch, native, distill or imagenet.  [default: the one that fits]")
@click.option("--arch", default="mobilenet_v2", show_default=True, help="mobilenet_v1 or mobilenet_v2.")
@click.option("--width", default=1.0, show_default=True, help="Channel multiplier.")
@click.option("--size", type=int, help="Side of the input in pixels, a multiple of 32.  [default: 96]")
@click.option("--stem-stride", type=int, help="Stride of the first convolution; 1 for tiny images.  [default: 2]")
@click.option(
    "--weights",
    help="Where to start: imagenet, none, or a checkpoint, of which is taken what fits (a wider network's strongest "
    "channels).  [default: imagenet for mobilenet_v2 at width 1.0, otherwise none]",
)
@_number("--epochs", "Passes over the images.  [default: by the recipe and the number of images]", int)
@_number("--batch", "Images per step, over all processes.  [default: 32]", int)
@click.option("--optimizer", help="adamw or sgd.  [default: the recipe's, as for all below]")
@_number("--lr", "Peak learning rate of the backbone.")
@_number("--head-lr", "Peak learning rate of the classifier.")
@_number("--weight-decay", "Of convolutions and the classifier; normalizations and biases have none.")
@_number("--smoothing", "Label smoothing.")
@_number("--dropout", "Before the classifier.")
@_number("--mixup", "Alpha of mixup, 0 for none.")
@_number("--cutmix", "Alpha of cutmix, 0 for none.")
@_number("--randaugment", "Random operations per batch (kornia), 0 for none.", int)
@_number("--ema", "Decay of averaged weights, which are kept then; 0 for none, 0.999 is usual.")
@_number("--freeze", "First blocks that keep their weights.", int)
@_number("--unfreeze", "Epochs over which these are let go one by one; 0: never.", int)
@click.option("--balanced", is_flag=True, default=None, help="Show every class equally often.")
@click.option("--teacher", help="A checkpoint of the same classes whose answers are learned.")
@_number("--distill", "The teacher's share of the loss.  [default: 0.9]")
@_number("--temperature", "That softens both answers.  [default: 2]")
@_number("--range-penalty", "Against weights that stick out, which int8 suffers from; 0.0001 is a start.  [default: 0]")
@_number("--qat-epochs", "Last epochs with int8's rounding.  [default: 0]", int)
@click.option("--val-fraction", default=0.2, show_default=True, help="Kept for validation if there is no val/ folder.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of everything random.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto.")
@click.option("--amp", help="off, bf16, fp16, or auto: bf16 on a GPU that has it.  [default: auto]")
@click.option("--compile", is_flag=True, default=None, help="Let torch.compile make kernels; needs a C++ compiler.")
@click.option("--threads", type=click.IntRange(1, 256), help="[default: all cores]")
@click.option("--tensorboard", type=click.Path(path_type=Path), help="Folder for TensorBoard's event files.")
@click.option("--find-lr", is_flag=True, help="Try rates on 100 steps and propose one; train nothing.")
@click.option("--dry-run", is_flag=True, help="Check the images and estimate the time; train nothing.")
@click.option("--allow-leakage", is_flag=True, help="Train although validation has images of training.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run: the same command plus this.")
def command(
    data_dir: Path,
    out: Path,
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
    WebDataset's tar shards and a labels.txt; or it is the word cifar10. Each epoch is saved beside --out, so that an
    interrupted run can go on with --resume. `model.run.json` tells what `model.pt` was trained with and on, and what
    each epoch gave; `model.best.pt` is there if an earlier epoch was better on validation. Several GPUs or machines:
    start it with torchrun.

    \b
    Examples:
      edgekit train photos/ --out model.pt
      edgekit train photos/ --out model.pt --dry-run
      edgekit train photos/ --out model.pt --size 128 --epochs 20
      edgekit train photos/ --out small.pt --width 0.35 --weights model.pt --teacher model.pt
      edgekit train photos/ --out v1.pt --arch mobilenet_v1
      edgekit train cifar10 --out v2.pt --recipe native
      edgekit train photos/ --out model.pt --resume
      torchrun --nproc-per-node 4 --no-python edgekit train photos/ --out model.pt
    """
    import torch

    from edgekit.files import check_writable
    from edgekit.train.shards import ShardSet
    from edgekit.train.survey import check_leaked
    from edgekit.train.world import join

    if out.suffix.lower() != ".pt":
        raise InputError(f"--out must end in .pt, got {out}.", f"Use {out.with_suffix('.pt')}.")
    check_writable(out)
    if threads:
        torch.set_num_threads(threads)
    given = {name: value for name, value in chosen.items() if value is not None}
    with join(device) as world:
        options, train_set, val_set = _prepare(data_dir, recipe, val_fraction, given, world)
        if not isinstance(train_set, ShardSet) and not isinstance(val_set, ShardSet):
            must_differ = not allow_leakage and str(data_dir) != CIFAR10
            if dry_run:
                from edgekit.train.dry_run import dry_run as look

                must_differ = look(options, train_set, val_set) > 0 and must_differ
            if must_differ:
                check_leaked(train_set, val_set)
            if dry_run:
                return
        elif dry_run or options.balanced:
            word = "--dry-run" if dry_run else "--balanced"
            raise InputError(f"{word} must have folders of images, got shards.", "Leave it out.")
        if find_lr:
            from edgekit.train.find_rate import find_rate

            find_rate(options, train_set, out, world)
            return
        _train(options, train_set, val_set, out, resume, world, tensorboard)


def _prepare(
    data_dir: Path, recipe: str | None, val_fraction: float, given: dict[str, Any], world: World
) -> tuple[Options, Images, Images]:
    """What to train and on what, announced."""
    from edgekit.files import sha256
    from edgekit.progress import console
    from edgekit.train.data import open_folder
    from edgekit.train.recipes import for_folder
    from edgekit.train.shards import has_shards, open_shards

    if "weights" not in given and recipe in (None, "transfer", "distill"):
        has_weights = (given["arch"], given["width"]) == ("mobilenet_v2", 1.0)
        given["weights"] = "imagenet" if has_weights else "none"
    for name in ("teacher", "weights"):
        _check_is_file(name, given.get(name))
    if "teacher" in given:
        given["teacher_sha256"] = sha256(given["teacher"])
    # Once before the folder is read, for its errors; once more with the number of images.
    for_folder(1, recipe, **given)
    train_set: Images
    val_set: Images
    with world.one_after_another():
        if str(data_dir) == CIFAR10:
            from edgekit.train import cifar10

            train_set, val_set = cifar10.load()
        elif has_shards(data_dir):
            train_set, val_set = open_shards(data_dir, for_folder(1, recipe, **given).spec)
        else:
            train_set, val_set = open_folder(data_dir, val_fraction, given["seed"])
    options = for_folder(len(train_set.names), recipe, **given)
    console.print(
        f"{len(train_set.names)} images to train, {len(val_set.names)} to validate, {len(train_set.labels)} classes; "
        f"{options.arch} {options.width:g} at {options.size}×{options.size} from {options.weights}, "
        f"{options.epochs} epochs on {world.size} × {world.device.type}",
        soft_wrap=True,
    )
    console.print(f"Classes: {_first_of(train_set.labels, NAMED)}", markup=False, highlight=False, soft_wrap=True)
    return options, train_set, val_set


def _check_is_file(name: str, value: str | None) -> None:
    if value is not None and not (name == "weights" and value in ("imagenet", "none")) and not Path(value).is_file():
        words = "imagenet, none or a checkpoint" if name == "weights" else "a checkpoint"
        raise InputError(f"--{name} must be {words}, got {value!r}, and there is no such file.")


def _train(
    options: Options,
    train_set: Images,
    val_set: Images,
    out: Path,
    resume: bool,
    world: World,
    tensorboard: Path | None,
) -> None:
    from edgekit.train.log import Log
    from edgekit.train.loop import train
    from edgekit.train.record import write_record

    with Log(tensorboard if world.is_first else None) as log:
        result = train(options, train_set, val_set, out=out, resume=resume, world=world, log=log)
    if world.is_first:
        write_record(out, options, result, world)
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
    from edgekit.train.resume import best_path

    if result.skipped:
        console.print(f"{len(result.skipped)} images could not be read and were left out:", soft_wrap=True)
        for line in result.skipped[:LISTED]:
            console.print(f"  {line}", markup=False, soft_wrap=True)
        if len(result.skipped) > LISTED:
            console.print(f"  and {len(result.skipped) - LISTED} more")
    console.print(_class_table(result))
    last = result.epochs[-1]
    validation = "" if last.validation is None else f", validation top-1 {100 * last.validation:.2f} %"
    if result.best is not None and result.best + 1 < len(result.epochs):
        best = result.epochs[result.best].validation or 0.0
        console.print(
            f"Epoch {result.best + 1} was better ({100 * best:.2f} %): it is in {best_path(out)}.", soft_wrap=True
        )
    click.echo(f"{out}: {len(result.checkpoint.labels)} classes, {result.seconds:.0f} s of training{validation}")
