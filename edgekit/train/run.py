"""A training run: its network and all that changes with it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from edgekit.errors import InputError, MissingError
from edgekit.models import create
from edgekit.progress import console
from edgekit.train.augment import NONE, augment
from edgekit.train.checkpoint import Checkpoint
from edgekit.train.data import PixelSet, normalizer
from edgekit.train.evaluate import ClassScore
from edgekit.train.feed import Feed, seed_of
from edgekit.train.imagenet_v1 import most_images
from edgekit.train.objective import Teacher, load_teacher
from edgekit.train.optimizer import make_optimizer
from edgekit.train.options import NO_FILES, Options
from edgekit.train.resume import Epoch, Partial
from edgekit.train.weights import load_fitting, load_imagenet
from edgekit.train.world import World


@dataclass
class Run:
    """A training run under way.

    Attributes:
        options: What and how.
        world: The processes that share the work.
        network: What is trained, on the world's device, channels last.
        step_network: The same as a step calls it: compiled, and its gradients shared among processes.
        optimizer: Of it.
        scaler: Of fp16's gradients; without effect otherwise.
        train_set: Images.
        val_set: This process's share of the images to validate on, or None.
        teacher: Whose answers are learned, or None.
        average: The averaged weights, or None.
        normalize: (N, 3, H, W) float32 pixels in [0, 255] to the network's input.
        epochs: What each epoch gave.
        partial: Where the next epoch goes on, if it was begun.
        classes: Of the last validation.
        most_data: Bytes that an epoch's steps may come to, see `memory`.
        shares: What decides which images come in which step, see `resume.Progress`.
        saved: Where it stood when the file that `resume` needs was last written, in words.
    """

    options: Options
    world: World
    network: nn.Module
    step_network: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    train_set: Feed
    val_set: PixelSet | None
    teacher: Teacher | None
    average: AveragedModel | None
    normalize: Callable[[Tensor], Tensor]
    epochs: list[Epoch] = field(default_factory=list)
    partial: Partial | None = None
    classes: dict[str, ClassScore] = field(default_factory=dict)
    most_data: int | None = None
    shares: tuple[int, ...] = ()
    saved: str = ""

    @property
    def batch(self) -> int:
        """Images per step, over all processes: as asked for, or fewer if the set is small."""
        return self.train_set.batch(self.options.batch, self.world)

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return self.train_set.steps(self.batch, self.world)

    @property
    def judged(self) -> nn.Module:
        """The network that is validated and kept: the averaged one if there is one."""
        return self.network if self.average is None else self.average.module


def start(
    options: Options,
    train_set: Feed,
    val_set: PixelSet | None,
    *,
    world: World | None = None,
    restored: bool = False,
) -> Run:
    """A run before its first step.

    Args:
        options: What and how.
        train_set: Images.
        val_set: This process's share, or None.
        world: The processes; this one alone by default.
        restored: Its weights will come from an unfinished run.

    Raises:
        InputError: As `check`.
        MissingError: As `check`, or ImageNet's weights cannot be had.
    """
    world = world or World()
    _check_setting(options, len(train_set), world)
    torch.manual_seed(options.seed)
    network = _network(options, train_set.labels)
    if not restored:
        load_weights(network, options, train_set, world)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = options.dropout
    network = network.to(world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    teacher = load_teacher(options.teacher, train_set.labels, world.device) if options.teacher else None
    average = None
    if options.ema:
        average = AveragedModel(network, use_buffers=True)
        # The counter itself, which stays on the CPU: what is handed over is a copy that a GPU would be waited for.
        average.multi_avg_fn = partial(move_average, options.ema, average.n_averaged)
    scaler = torch.amp.GradScaler(world.device.type, enabled=options.amp == "fp16")
    optimizer = make_optimizer(network, options)
    normalize = normalizer(options.spec, world.device)
    return Run(options, world, network, network, optimizer, scaler, train_set, val_set, teacher, average, normalize)


def check(options: Options, labels: tuple[str, ...], images: int, world: World) -> None:
    """Find mistakes for which no image must be read.

    Args:
        options: Of the run to be.
        labels: Class names.
        images: How many there are to train on, if all can be read.
        world: The processes.

    Raises:
        InputError: Weights or a teacher that do not fit, blocks to freeze that are not there, or fewer than two images
            for each process.
        MissingError: There is no compiler for `options.compile`.
    """
    _check_setting(options, images, world)
    network = _network(options, labels)
    if options.weights not in NO_FILES:
        load_fitting(network, options.architecture, options.spec, labels, options.weights)
    if options.teacher:
        load_teacher(options.teacher, labels, torch.device("cpu"))


def _network(options: Options, labels: tuple[str, ...]) -> nn.Module:
    network = create(options.arch, classes=len(labels), width=options.width, stem_stride=options.stem_stride)
    blocks = len(network.features)  # type: ignore[arg-type]
    if options.freeze > blocks:
        raise InputError(f"--freeze must be at most {blocks}, all blocks of {options.arch}, got {options.freeze}.")
    return network


def _check_setting(options: Options, images: int, world: World) -> None:
    if options.compile and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        raise MissingError("--compile must find a C++ compiler, got none.", "Install g++, or leave it out.")
    batch = min(options.batch, images)
    if batch < 2 * world.size:
        words = f" for each of {world.size} processes" if world.size > 1 else ""
        raise InputError(
            f"A step must have two images{words}, got {batch}.",
            f"Use a larger --batch{',' if words else ' or'} more images{' or fewer processes' if words else ''}.",
        )


@torch.no_grad()
def move_average(decay: float, updates: Tensor, means: list[Tensor], values: list[Tensor], _copy: object) -> None:
    """Move averaged weights towards the new ones.

    Args:
        decay: How much of the mean stays. Less in the beginning, (1 + n) / (10 + n) after n updates (as TensorFlow's
            ExponentialMovingAverage has it): a short run must not be judged by the weights that it began with.
        updates: How many there were.
        means: Of one dtype; they are changed.
        values: The new ones.
    """
    count = float(updates)
    share = 1.0 - min(decay, (1.0 + count) / (10.0 + count))
    if means[0].is_floating_point():
        torch._foreach_lerp_(means, values, share)
    else:  # counters among the buffers
        torch._foreach_copy_(means, values)


def load_weights(network: nn.Module, options: Options, train_set: Feed, world: World) -> None:
    """What `options.weights` names; random ones stay as they are."""
    if options.weights == "imagenet":
        load_imagenet(network, options.arch, options.spec, partial(first_images, options, train_set, world))
    elif options.weights not in NO_FILES:
        taken = load_fitting(network, options.architecture, options.spec, train_set.labels, options.weights)
        console.print(f"Weights: {taken}", markup=False, soft_wrap=True)


def first_images(options: Options, train_set: Feed, world: World) -> Tensor:
    """Some of this process's images, not varied: (N, 3, H, W) float32 as the network is given them, on the CPU."""
    batch, most = train_set.batch(options.batch, world), most_images(options.size)
    parts: list[Tensor] = []
    for pixels, _ in train_set.epoch(seed_of(options.seed), batch, 0, world):
        parts.append(augment(pixels.cpu(), (options.size, options.size), NONE, torch.Generator()))
        if sum(map(len, parts)) >= most:
            break
    return normalizer(options.spec)(torch.cat(parts)[:most])


def as_checkpoint(run: Run) -> Checkpoint:
    """The judged network as it is now."""
    state = run.judged.state_dict()
    return Checkpoint(
        architecture=run.options.architecture,
        input=run.options.spec,
        labels=run.train_set.labels,
        # A copy: the network may be trained on.
        state={name: value.detach().clone().cpu() for name, value in state.items()},
        stem_stride=run.options.stem_stride,
    )
