"""The training loop: AdamW, one-cycle rates, one checkpoint per epoch and where it is stopped.

Everything random is seeded per epoch, never by what came before it; the file of a run that was stopped within an epoch
holds the states of its generators. So it ends with the same bits as an unbroken one (same thread count).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit.errors import InputError
from edgekit.files import check_writable
from edgekit.images import ImageSet
from edgekit.models import create
from edgekit.progress import console
from edgekit.train import checkpoint as checkpoints
from edgekit.train.augment import augment
from edgekit.train.checkpoint import Checkpoint
from edgekit.train.data import PixelSet, for_evaluation, for_training, normalizer
from edgekit.train.evaluate import ClassScore, by_class, predict
from edgekit.train.optimizer import adamw, set_rates
from edgekit.train.options import Options
from edgekit.train.resume import Epoch, Partial, Progressed, Restored, check_same_images, last_path, look, store
from edgekit.train.stop import Stop
from edgekit.train.weights import check_available, load_imagenet


@dataclass(frozen=True)
class Result:
    """What training gave.

    Attributes:
        checkpoint: The network.
        epochs: What each epoch gave; after `--resume` those before it too.
        seconds: Wall-clock time of all epochs, reading the images not counted.
        skipped: One line per image that could not be read.
        fingerprint: Of the training images; "" if nothing was written.
        classes: Of the validation images at the end, by name; empty without any.
    """

    checkpoint: Checkpoint
    epochs: list[Epoch]
    seconds: float
    skipped: tuple[str, ...] = ()
    fingerprint: str = ""
    classes: dict[str, ClassScore] = field(default_factory=dict)

    @property
    def images_per_second(self) -> float:
        """Mean rate over the epochs, validation included."""
        return sum(epoch.images for epoch in self.epochs) / max(self.seconds, 1e-9)


@dataclass
class Run:
    """A training run under way; `partial` is where its next epoch goes on, `classes` the last validation."""

    options: Options
    network: nn.Module
    optimizer: torch.optim.Optimizer
    train_set: PixelSet
    val_set: PixelSet | None
    epochs: list[Epoch] = field(default_factory=list)
    partial: Partial | None = None
    classes: dict[str, ClassScore] = field(default_factory=dict)

    @property
    def batch(self) -> int:
        """Images per step: fewer than asked for if the set is that small."""
        return min(self.options.batch, len(self.train_set))

    @property
    def steps(self) -> int:
        """Steps per epoch; what is left over after whole batches waits for the next shuffle."""
        return len(self.train_set) // self.batch


def train(
    options: Options,
    train_set: ImageSet,
    val_set: ImageSet | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
) -> Result:
    """Train a network from start to finish.

    Args:
        options: What and how.
        train_set: Labelled images.
        val_set: Scored after every epoch, if given.
        out: Where the finished checkpoint goes. While training, `<out stem>.last.pt` beside it holds the last
            finished epoch or step; an interrupted run leaves it behind. None: nothing is written.
        resume: Go on from that file.

    Raises:
        InputError: `out` cannot be written, no ImageNet weights for this architecture, nothing to resume, another
            run than this one or an unfinished one in the way, unusable images, or a loss that is no longer finite.
        MissingError: The ImageNet weights cannot be had.
    """
    before = _before(options, out, resume)
    if options.weights == "imagenet":
        check_available(options.architecture)
    pixels = for_training(train_set, options.spec)
    val_pixels = None if val_set is None else for_evaluation(val_set, options.spec)
    with torch.random.fork_rng(devices=[]):
        run = start(options, pixels, val_pixels, restored=resume)
        last = None if out is None else last_path(out)
        if before is not None:
            _go_on(run, before)
        _all_epochs(run, last)
        if not run.classes:  # all epochs were done before
            _validate(run)
    checkpoint = as_checkpoint(run)
    if out is not None and last is not None:
        checkpoints.save(out, checkpoint)
        last.unlink(missing_ok=True)
    skipped = pixels.skipped + (val_pixels.skipped if val_pixels else ())
    seconds = sum(epoch.seconds for epoch in run.epochs)
    return Result(checkpoint, run.epochs, seconds, skipped, pixels.fingerprint() if out else "", run.classes)


def start(options: Options, train_set: PixelSet, val_set: PixelSet | None, restored: bool) -> Run:
    """A run before its first step; `restored`: its weights will come from elsewhere."""
    torch.manual_seed(options.seed)
    network = create(options.arch, classes=len(train_set.labels), width=options.width, stem_stride=options.stem_stride)
    if options.weights == "imagenet" and not restored:
        load_imagenet(network, options.architecture, options.spec)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = options.dropout
    # oneDNN's channels-last convolutions train MobileNets about twice as fast on a CPU.
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for block in network.features[: options.freeze]:
        block.requires_grad_(False)
    return Run(options, network, adamw(network, options), train_set, val_set)


def _before(options: Options, out: str | Path | None, resume: bool) -> Restored | None:
    """The unfinished run to go on with, if that is wanted; every reason not to begin is found here."""
    if out is None:
        if resume:
            raise InputError("Resuming must know the output file, got none.", "Give out=...")
        return None
    check_writable(out)
    return look(Path(out), options, resume)


def _go_on(run: Run, before: Restored) -> None:
    check_same_images(before, run.train_set)
    run.network.load_state_dict(before.state)
    run.optimizer.load_state_dict(before.optimizer)
    run.epochs.extend(before.epochs)
    run.partial = before.partial
    steps = f" and {before.partial.steps} of {run.steps} steps" if before.partial else ""
    console.print(f"Going on after epoch {len(run.epochs)} of {run.options.epochs}{steps}")


def _all_epochs(run: Run, last: Path | None) -> None:
    total = run.options.epochs
    fingerprint = run.train_set.fingerprint() if last else ""

    def save() -> None:
        if last:
            progressed = Progressed(run.options, run.optimizer, run.epochs, fingerprint, run.partial)
            store(last, as_checkpoint(run), progressed)

    try:
        with Stop() as stop, _training_bar() as bar:
            task = bar.add_task("", total=total * run.steps * run.batch, loss="", accuracy="", rate="")
            while len(run.epochs) < total:
                done = len(run.epochs) * run.steps * run.batch + (run.partial.seen if run.partial else 0)
                bar.update(task, description=f"Epoch {len(run.epochs) + 1}/{total}", completed=done)
                epoch = _one_epoch(run, bar, task, stop)
                if epoch is not None:
                    run.epochs.append(epoch)
                    bar.console.print(f"Epoch {len(run.epochs)}/{total}: {epoch}")
                save()
                if stop.is_wanted:
                    stop.obey()
    except KeyboardInterrupt:
        if last and last.exists():
            steps = f" and {run.partial.steps} of {run.steps} steps" if run.partial else ""
            console.print(
                f"Epoch {len(run.epochs)} of {total}{steps} is saved in {last}. Same command with --resume goes on.",
                soft_wrap=True,
            )
        raise


def _training_bar() -> Progress:
    """Everything worth watching within 80 columns."""
    fields = (TextColumn(f"{{task.fields[{name}]}}") for name in ("loss", "accuracy", "rate"))
    bar = BarColumn(bar_width=10)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        bar,
        *fields,
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


def _one_epoch(run: Run, bar: Progress, task: TaskID, stop: Stop) -> Epoch | None:
    """What it gave; None if it was stopped, and `run.partial` says where."""
    index, before = len(run.epochs), run.partial
    generator = torch.Generator().manual_seed(_epoch_seed(run.options.seed, index))
    torch.manual_seed(_epoch_seed(run.options.seed, index))  # dropout draws from the global generator
    normalize = normalizer(run.options.spec)
    _training_mode(run)
    order = torch.randperm(len(run.train_set), generator=generator)[: run.steps * run.batch]
    started, done, seen, correct, loss_sum = time.perf_counter(), 0, 0, 0, 0.0
    if before is not None:
        generator.set_state(before.generator)
        torch.set_rng_state(before.random)
        started -= before.seconds
        done, seen, correct, loss_sum = before.steps, before.seen, before.correct, before.loss_sum
    for step, chosen in enumerate(torch.split(order, run.batch)[done:], done):
        set_rates(run.optimizer, run.options.warmup, (index * run.steps + step) / (run.steps * run.options.epochs))
        images = varied_batch(run, chosen, normalize, generator)
        loss, hits = one_step(run, images, run.train_set.targets[chosen])
        if not math.isfinite(loss):
            raise InputError(
                f"The loss must stay finite, got {loss} in step {step + 1} of epoch {index + 1}.",
                "Use a lower --lr.",
            )
        seen, correct, loss_sum = seen + len(chosen), correct + hits, loss_sum + loss * len(chosen)
        seconds = time.perf_counter() - started
        bar.update(
            task,
            advance=len(chosen),
            loss=f"loss {loss_sum / seen:.3f}",
            accuracy=f"accuracy {100 * correct / seen:.1f} %",
            rate=f"{seen / seconds:.0f} images/s",
        )
        if stop.is_wanted:
            states = (generator.get_state(), torch.get_rng_state())
            run.partial = Partial(step + 1, seen, correct, loss_sum, seconds, *states)
            return None
    run.partial = None
    validation = _validate(run)
    return Epoch(loss_sum / seen, correct / seen, validation, seen, time.perf_counter() - started)


def varied_batch(run: Run, chosen: Tensor, normalize: Callable[[Tensor], Tensor], generator: torch.Generator) -> Tensor:
    """The chosen images as the network takes them, each varied."""
    size = (run.options.size, run.options.size)
    varied = augment(run.train_set.pixels[chosen], size, run.options.augmentation, generator)
    return normalize(varied).contiguous(memory_format=torch.channels_last)


def one_step(run: Run, images: Tensor, targets: Tensor) -> tuple[float, int]:
    """Loss before the step, and how many images it had right."""
    logits = run.network(images)
    loss = F.cross_entropy(logits, targets, label_smoothing=run.options.smoothing)
    run.optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    run.optimizer.step()
    return loss.item(), int((logits.argmax(1) == targets).sum())


def _training_mode(run: Run) -> None:
    """Frozen blocks keep their normalization statistics too."""
    run.network.train()
    features = run.network.features
    for block in features[: run.options.freeze]:  # type: ignore[index]
        block.eval()


def _validate(run: Run) -> float | None:
    if run.val_set is None:
        return None
    logits = predict(run.network, run.val_set.pixels, run.options.spec)
    run.classes = by_class(logits, run.val_set.targets, run.train_set.labels)
    return sum(found.correct for found in run.classes.values()) / len(run.val_set)


def _epoch_seed(seed: int, epoch: int) -> int:
    return seed * 100_003 + epoch


def as_checkpoint(run: Run) -> Checkpoint:
    """The network as it is now."""
    return Checkpoint(
        architecture=run.options.architecture,
        input=run.options.spec,
        labels=run.train_set.labels,
        # A copy: the network may be trained on.
        state={name: value.detach().clone() for name, value in run.network.state_dict().items()},
        stem_stride=run.options.stem_stride,
    )
