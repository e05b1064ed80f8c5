"""From `edgekit train`'s words to options and images, announced before any work begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.errors import InputError
from edgekit.files import sha256
from edgekit.images import ImageSet
from edgekit.listing import other_suffixes
from edgekit.progress import console
from edgekit.train import checkpoint, cifar10
from edgekit.train.data import open_folder
from edgekit.train.feed import even_batch
from edgekit.train.options import NO_FILES, Options
from edgekit.train.recipes import RECIPES, for_folder, recipe_for
from edgekit.train.run import check
from edgekit.train.shards import ShardSet, has_shards, open_shards
from edgekit.train.step import precision_name
from edgekit.train.weights import WIDE_FIRST, check_available, is_available
from edgekit.train.world import World

Images = ImageSet | ShardSet
CIFAR10 = "cifar10"
NAMED, OTHERS = 10, 5
# Options that say nothing without a teacher.
TAUGHT = ("distill", "temperature")
START = {"none": "random weights", "imagenet": "ImageNet's weights"}
# Said of a run in its first line, or by others.
SAID = frozenset({"arch", "width", "size", "weights", "epochs", "seed", "teacher_sha256", "weights_sha256"})


def prepare(
    data_dir: Path, recipe: str | None, val_fraction: float, given: dict[str, Any], world: World
) -> tuple[Options, Images, Images]:
    """What to train, on what and judged by what.

    Args:
        data_dir: As the user gave it.
        recipe: Likewise.
        val_fraction: Likewise.
        given: All other options that the user has set.
        world: The processes.

    Raises:
        InputError: Options, folders or files that cannot be used.
        MissingError: What they need is not installed.
    """
    given, is_narrow = dict(given), False
    if "weights" not in given and recipe in (None, "transfer", "distill"):
        given["weights"] = "imagenet" if is_available(given["arch"], given["width"]) else "none"
        is_narrow = given["width"] < 1
    for name in ("teacher", "weights"):
        value = given.get(name)
        _check_is_file(name, value)
        if value is not None and value not in NO_FILES:
            given[f"{name}_sha256"] = sha256(value)
    if "magnitude" in given and not given.get("randaugment"):
        raise InputError("--magnitude must have --randaugment, got none.", "Give --randaugment 2, or leave it out.")
    words = ["--recipe distill"] * (recipe == "distill") + [f"--{name}" for name in TAUGHT if name in given]
    if words and "teacher" not in given:
        raise InputError(f"{words[0]} must have a teacher to learn from, got none.", "Give --teacher big.pt.")
    # Once before the folder is read, for its errors; once more with the number of images.
    first = for_folder(1, recipe, **given)
    if is_narrow:
        begin = f"Add --weights {first.teacher}" if first.teacher else WIDE_FIRST
        console.print(
            f"Random weights: ImageNet's are for width 1.0. A narrow network learns more from a wide one. {begin}.",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )
    if first.weights == "imagenet":
        check_available(first.architecture)
    elif first.weights not in NO_FILES and not _fills(first):
        if first.freeze and "freeze" not in given:
            console.print("No block is frozen: the weights do not fill this network.")
            given["freeze"] = 0
        if first.qat_epochs and first.qat_epochs >= given.get("epochs", first.qat_epochs + 1):
            raise InputError(
                f"--qat-epochs must be fewer than all {first.epochs} epochs where --weights do not fill the network, "
                f"got {first.qat_epochs}.",
                "Its statistics must be learned first.",
            )
    if recipe == "transfer" and first.weights == "none":
        console.print("Transfer from random weights: the rates of --recipe scratch suit these better.", style="yellow")
    train_set: Images
    val_set: Images
    with world.one_after_another():
        if is_cifar10(data_dir):
            train_set, val_set = cifar10.load()
        elif has_shards(data_dir):
            train_set, val_set = open_shards(data_dir, first.spec, first.augmentation)
        else:
            train_set, val_set = open_folder(data_dir, val_fraction)
            if world.is_first:
                _tell_others(data_dir)
    options = for_folder(len(train_set.names), recipe, **given)
    if given.get("unfreeze") and not options.freeze:
        raise InputError("--unfreeze must have blocks that are frozen, got none.", "Give --freeze, or leave it out.")
    check(options, train_set.labels, len(train_set.names), world)
    _announce(options, recipe or recipe_for(**given), train_set, val_set, world)
    return options, train_set, val_set


def _tell_others(folder: Path) -> None:
    others = other_suffixes(folder)
    if others:
        named = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(OTHERS))
        console.print(f"No images by their suffix, and not looked at: {named}", markup=False, soft_wrap=True)


def is_cifar10(data_dir: Path) -> bool:
    """The set by its name, and no folder of the user's that is called so."""
    return str(data_dir) == CIFAR10 and not data_dir.is_dir()


def _announce(options: Options, recipe: str, train_set: Images, val_set: Images, world: World) -> None:
    begun = START.get(options.weights, options.weights)
    console.print(
        f"{len(train_set.names)} images to train, {len(val_set.names)} to validate, {len(train_set.labels)} classes; "
        f"{options.arch} {options.width} at {options.size}×{options.size} from {begun}, "
        f"{options.epochs} epoch{'s'[: options.epochs - 1]} on {world.size} × {world.device.type}",
        markup=False,
        soft_wrap=True,
    )
    console.print(f"Recipe: {', '.join([recipe, *changes(options, RECIPES[recipe])])}", markup=False, soft_wrap=True)
    is_folder = not isinstance(train_set, ShardSet)
    batch = even_batch(len(train_set.names), options.batch, world.size) if is_folder else options.batch
    frozen = f"{options.freeze} block{'s' * (options.freeze != 1)} frozen"
    console.print(
        f"Steps of {batch} images by {options.optimizer}, rates {options.lr:.3g} and {options.head_lr:.3g} "
        f"(classifier), {frozen}, {precision_name(options, world.device)}",
        markup=False,
        soft_wrap=True,
    )
    console.print(f"Classes: {first_of(train_set.labels, NAMED)}", markup=False, highlight=False, soft_wrap=True)


def changes(options: Options, base: Options) -> list[str]:
    """Such as "ema 0.999": all that differs from a recipe, but what is SAID anyway."""
    ours, theirs = options.flat(), base.flat()
    names = [name for name in ours if name not in SAID and ours[name] != theirs[name]]
    return [f"{name.replace('_', '-')} {ours[name]}" for name in names]


def first_of(names: tuple[str, ...], count: int) -> str:
    """Some of them, and how many more there are."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _fills(options: Options) -> bool:
    """Whether the weights are of the same architecture and width: what is narrowed, or random, must learn."""
    return checkpoint.load(options.weights).architecture == options.architecture


def _check_is_file(name: str, value: str | None) -> None:
    if value is not None and not (name == "weights" and value in NO_FILES) and not Path(value).is_file():
        words = "imagenet, none or a checkpoint" if name == "weights" else "a checkpoint"
        raise InputError(f"--{name} must be {words}, got {value!r}, and there is no such file.")
