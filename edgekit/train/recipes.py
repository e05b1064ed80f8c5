"""Options that work, found by measuring; each says what it gave and on what."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from edgekit.images import ArraySet
from edgekit.train import cifar10
from edgekit.train.augment import Augmentation
from edgekit.train.options import Options

# Fine-tuning from ImageNet weights. A low rate keeps the features. The first blocks see edges and colours that every
# photo has: left as they are, they save half of the backward pass and cost no accuracy. Averaging the weights,
# dropout and lower resolutions in the first epochs were tried and gave nothing.
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


def for_folder(images: int, **chosen: Any) -> Options:
    """Options for a user's own images.

    Args:
        images: Size of the training set.
        chosen: Fields of `Options` that the user has set; the rest follows from `weights` and `images`.

    Raises:
        InputError: A value is out of range.
    """
    base = TRANSFER if chosen.get("weights") == "imagenet" else SCRATCH
    options = replace(base, **chosen)
    if "epochs" in chosen:
        return options
    steps = max(1, images // options.batch)
    wanted = max(base.epochs, -(-LEAST_STEPS // steps))
    return replace(options, epochs=min(wanted, MOST_EPOCHS))


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
