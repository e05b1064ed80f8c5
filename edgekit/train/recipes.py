"""Options that go together. What of them was measured, and what was not, is in `benchmarks/training.md`."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from edgekit.errors import InputError
from edgekit.images import ArraySet
from edgekit.train import cifar10
from edgekit.train.augment import Augmentation
from edgekit.train.feed import even_batch
from edgekit.train.options import Options

# Fine-tuning from ImageNet weights. A low rate keeps the features. The first blocks see edges and colours that every
# photo has: left as they are, they save half of the backward pass.
TRANSFER = Options(
    weights="imagenet",
    epochs=10,
    lr=2.5e-4,
    head_lr=1e-3,
    freeze=7,
    augmentation=Augmentation(zoom=0.2, stretch=0.2, cutout=0.3),
)

# From random weights: more epochs, higher rates, nothing frozen.
SCRATCH = Options(
    weights="none",
    epochs=60,
    lr=3e-3,
    head_lr=3e-3,
    weight_decay=0.05,
    augmentation=Augmentation(zoom=0.2, stretch=0.2, cutout=0.3),
)

# Tens of thousands of small images, trained at their own size, such as CIFAR-10: the usual SGD over many epochs.
NATIVE = Options(
    weights="none",
    size=32,
    stem_stride=1,
    epochs=200,
    batch=128,
    optimizer="sgd",
    lr=0.1,
    head_lr=0.1,
    weight_decay=5e-4,
    warmup=0.05,
    smoothing=0.0,
    augmentation=Augmentation(zoom=0.0, shift=0.125, cutout=0.5, cutmix=0.0),
)

# A small network that learns a larger one's answers. The labels say little then; the answers say it softly, so that
# nothing else has to: no smoothing, and no temperature, for teachers that were trained with smoothing. It mostly begins
# with weights that know something: a third of SCRATCH's rate.
DISTILL = replace(SCRATCH, epochs=40, batch=64, lr=1e-3, head_lr=1e-3, smoothing=0.0)

# ImageNet, over eight GPUs with 32 images each (torchrun). After torchvision's reference for MobileNetV2 1.0
# (references/classification), which gave 71.878 %; docs/training.md lists what differs. Nobody has run it here.
IMAGENET = Options(
    weights="none",
    size=224,
    epochs=300,
    batch=256,
    optimizer="sgd",
    lr=0.045,
    head_lr=0.045,
    weight_decay=4e-5,
    warmup=0.02,
    smoothing=0.0,
    dropout=0.2,
    augmentation=Augmentation(zoom=0.7, stretch=0.33),
)

RECIPES = {"transfer": TRANSFER, "scratch": SCRATCH, "native": NATIVE, "distill": DISTILL, "imagenet": IMAGENET}

# The demo's short run: large batches, since steps of so small a network cost the same whatever their size.
QUICK = replace(
    SCRATCH,
    width=0.35,
    size=32,
    stem_stride=1,
    epochs=64,
    batch=64,
    lr=5e-3,
    head_lr=5e-3,
    augmentation=Augmentation(zoom=0.1, stretch=0.1, cutout=0.0),
)

# Enough steps for a small set: 10 epochs over 200 photos would be 60 steps.
LEAST_STEPS = 400
MOST_EPOCHS = 100


@dataclass(frozen=True)
class Job:
    """What to train, and the images that judge it."""

    options: Options
    train_set: ArraySet
    test_set: ArraySet


def recipe_for(**chosen: Any) -> str:
    """The recipe that fits what was chosen: by `teacher`, then by `weights`."""
    if chosen.get("teacher"):
        return "distill"
    return "scratch" if chosen.get("weights") == "none" else "transfer"


def for_folder(images: int, recipe: str | None = None, **chosen: Any) -> Options:
    """Options for a user's own images.

    Args:
        images: Size of the training set.
        recipe: A name in RECIPES; by default the one that fits.
        chosen: Fields of `Options`, and of `Augmentation`, that the user has set; the rest follows from the recipe and
            the number of images.

    Raises:
        InputError: A value is out of range, or there is no such recipe.
    """
    recipe = recipe or recipe_for(**chosen)
    if recipe not in RECIPES:
        raise InputError(f"--recipe must be one of {', '.join(RECIPES)}, got {recipe!r}.")
    base = RECIPES[recipe]
    variations = {item.name for item in fields(Augmentation)}
    augmentation = replace(base.augmentation, **{name: chosen[name] for name in variations & chosen.keys()})
    others = {name: value for name, value in chosen.items() if name not in variations}
    if chosen.get("weights", base.weights) == "none":
        # Random blocks are nothing to keep.
        others.setdefault("freeze", 0)
    if "epochs" not in chosen:
        batch = max(1, even_batch(images, max(1, chosen.get("batch", base.batch))))
        wanted = -(-LEAST_STEPS // max(1, images // batch))
        others["epochs"] = max(base.epochs, min(wanted, MOST_EPOCHS))
    return replace(base, augmentation=augmentation, **others)


def cifar10_job(*, quick: bool = False, full: bool = False, images: int = 6000, seed: int = 0) -> Job:
    """The demo's training job; fetches CIFAR-10 on first use.

    Args:
        quick: Width 0.35 from scratch on 800 images at 32 px, and 1,000 test images: to see every step in a minute.
        full: All 50,000 images.
        images: Size of the class-balanced subset otherwise.
        seed: Chooses the subset and everything random in training.

    Raises:
        MissingError: CIFAR-10 cannot be had.
        InputError: `images` is out of range.
    """
    train_set, test_set = cifar10.load()
    if quick:
        return Job(
            replace(QUICK, seed=seed),
            cifar10.balanced_subset(train_set, 800, seed),
            cifar10.balanced_subset(test_set, 1000, 0),
        )
    if full:
        return Job(replace(TRANSFER, seed=seed), train_set, test_set)
    return Job(replace(TRANSFER, seed=seed), cifar10.balanced_subset(train_set, images, seed), test_set)
