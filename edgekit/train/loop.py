"""The training loop: one-cycle rates, one checkpoint per epoch and where it is stopped, the best one kept.

Everything random is drawn anew for each step, so that a run that was stopped and goes on ends with the same bits as an
unbroken one (same thread and process count).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn

from edgekit.allocator import keep_memory
from edgekit.errors import InputError
from edgekit.files import check_writable
from edgekit.images import ImageSet
from edgekit.progress import console
from edgekit.train import checkpoint as checkpoints
from edgekit.train import resume as resuming
from edgekit.train.data import PixelSet, for_evaluation, for_training
from edgekit.train.feed import (
    MOST_LEFT_OUT,
    Feed,
    PixelFeed,
    check_same_everywhere,
    check_same_options,
    seed_of,
)
from edgekit.train.log import Log
from edgekit.train.memory import OutOfMemory, enough_memory
from edgekit.train.optimizer import set_rates
from edgekit.train.options import Options
from edgekit.train.result import Result, best_of
from edgekit.train.resume import Epoch, Partial, best_path, last_path
from edgekit.train.run import Run, as_checkpoint, start
from edgekit.train.shards import ShardSet, living_workers
from edgekit.train.step import begin_epoch, one_step
from edgekit.train.stop import Stop
from edgekit.train.tally import NotFinite, Tally
from edgekit.train.validation import is_finite, validate
from edgekit.train.weights import check_available
from edgekit.train.world import World

# Steps between two looks at what a GPU has computed: each look makes it wait.
LOOK_EVERY = 16


def train(
    options: Options,
    train_set: ImageSet | ShardSet,
    val_set: ImageSet | ShardSet | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    world: World | None = None,
    log: Log | None = None,
    kept: Callable[[Result], object] | None = None,
) -> Result:
    """Train a network from start to finish.

    Args:
        options: What and how.
        train_set: Labelled images, or shards.
        val_set: Scored after every epoch, if given.
        out: Where the finished checkpoint goes. While training, `<out stem>.last.pt` beside it holds the last
            finished epoch or step; an interrupted run leaves it behind. `<out stem>.best.pt` holds the epoch with the
            best validation, and stays if that is not the last one. None: nothing is written.
        resume: Go on from that file.
        world: The processes that share the work; this one alone by default. Every one of them must call this.
        log: Where each epoch is told to, as well.
        kept: Called by the first process when the finished checkpoint is written, and before that is removed which
            `resume` needs: if it fails, the same command with `resume` comes here again.

    Raises:
        InputError: `out` cannot be written, no ImageNet weights for this architecture, nothing to resume, another
            run than this one or an unfinished one in the way, unusable images, others than another process has, too
            little memory, or a loss that is no longer finite.
        MissingError: The ImageNet weights cannot be had.
    """
    world = world or World()
    before = _before(options, out, resume)
    if options.weights == "imagenet":
        check_available(options.architecture)
    # Options follow from the number of images, where they are not given.
    check_same_everywhere(world, ["none" if held is None else _held(held) for held in (train_set, val_set)])
    check_same_options(world, options)
    with world.one_after_another():
        pixels = as_feed(train_set, options)
        judges = None if val_set is None else as_judges(val_set, options)
        val_pixels = None if judges is None else judges.share(world)
    # It waits for those that still read, as long as that takes.
    check_same_everywhere(world, [pixels.outline(), "none" if judges is None else judges.outline()])
    if val_pixels is not None and not world.any(len(val_pixels) > 0):
        raise InputError("Validation must have images that can be read, got none.", "See the lines above.")
    # All pixels are read for these: by one process.
    training = world.by_first(pixels.fingerprint) if out else ""
    validation = world.by_first(judges.fingerprint) if out and judges is not None else ""
    data = resuming.Data(pixels.labels, training, validation)
    # Not before: what decoders take must be given back.
    keep_memory()
    with torch.random.fork_rng(devices=[]):
        with world.one_after_another(), enough_memory(options.batch, world.size):
            run = start(options, pixels, val_pixels, world=world, restored=resume)
        run.shares = (run.batch, *world.each(pixels.workers(world)))
        # Statistics may be of each process's own images, see `imagenet_v1`.
        for network in (run.network, run.judged):
            world.share(network.state_dict().values())
        if before is not None:
            before.check_same(data, run.shares)
            _go_on(run, before)
        _tell_left_out(run)
        with living_workers():
            _all_epochs(run, Path(out) if out else None, data, log or Log())
        if not run.classes:  # all epochs were done before
            validate(run)
    checkpoint = as_checkpoint(run)
    skipped = world.gather(pixels.skipped + (val_pixels.skipped if val_pixels else ()))
    seconds = sum(epoch.seconds for epoch in run.epochs)
    result = Result(
        checkpoint,
        run.epochs,
        seconds,
        skipped,
        data.training,
        data.validation,
        run.classes,
        run.batch,
    )
    if out is not None and world.is_first:
        checkpoints.save(Path(out), checkpoint)
        if kept is not None:
            kept(result)
        _tidy(Path(out), run.epochs)
    return result


def _held(images: ImageSet | ShardSet) -> str:
    return f"{len(images.names):,} images of {len(images.labels)} classes"


def as_feed(images: ImageSet | ShardSet, options: Options) -> Feed:
    """Where a set's batches come from."""
    if isinstance(images, ShardSet):
        return images
    return PixelFeed(for_training(images, options.spec, options.augmentation), options.balanced)


def as_judges(images: ImageSet | ShardSet, options: Options) -> PixelSet | ShardSet:
    """A set as the network will be given it; each process takes its share."""
    return images if isinstance(images, ShardSet) else for_evaluation(images, options.spec)


def _before(options: Options, out: str | Path | None, resume: bool) -> resuming.Progress | None:
    """The unfinished run to go on with, if that is wanted; every reason not to begin is found here."""
    if out is None:
        if resume:
            raise InputError("Resuming must know the output file, got none.", "Give out=...")
        return None
    check_writable(out)
    return resuming.look(Path(out), options, resume)


def _tell_left_out(run: Run) -> None:
    """Of a folder only what does not fill a batch is left out, see `feed.even_batch`."""
    count = len(run.train_set)
    left = count - run.steps * run.batch
    if isinstance(run.train_set, ShardSet) and left > MOST_LEFT_OUT * count:
        console.print(
            f"Each epoch leaves out {left:,} of {count:,} images: {run.world.size} processes have unequal shares of "
            f"{len(run.train_set.shards)} shards. More and smaller shards would leave out fewer.",
            style="yellow",
            soft_wrap=True,
        )


def _go_on(run: Run, before: resuming.Progress) -> None:
    run.network.load_state_dict(before.network)
    run.optimizer.load_state_dict(before.optimizer)
    run.scaler.load_state_dict(before.scaler)
    if run.average is not None and before.average is not None:
        run.average.load_state_dict(before.average)
    run.epochs.extend(before.epochs)
    run.partial = before.partial
    run.saved = _place(run)
    console.print(f"Going on after {run.saved}")


def _place(run: Run) -> str:
    """Which epoch and step is over."""
    steps = f" and {run.partial.steps} of {run.steps} steps" if run.partial else ""
    return f"epoch {len(run.epochs)} of {run.options.epochs}{steps}"


def _tidy(out: Path, epochs: list[Epoch]) -> None:
    last_path(out).unlink(missing_ok=True)
    if best_of(epochs) in (None, len(epochs) - 1):
        best_path(out).unlink(missing_ok=True)


def _all_epochs(run: Run, out: Path | None, data: resuming.Data, log: Log) -> None:
    total, world = run.options.epochs, run.world
    try:
        with enough_memory(run.batch, world.size), Stop() as stop, _training_bar() as bar:
            task = bar.add_task("", total=total * run.steps * run.batch, loss="", accuracy="", rate="")
            while len(run.epochs) < total:
                done = len(run.epochs) * run.steps * run.batch + (run.partial.seen if run.partial else 0)
                bar.update(task, description=f"Epoch {len(run.epochs) + 1}/{total}", completed=done)
                epoch = _one_epoch(run, bar, task, stop)
                if epoch is not None:
                    run.epochs.append(epoch)
                    log.epoch(len(run.epochs), epoch, run.optimizer.param_groups[0]["lr"])
                    bar.console.print(f"Epoch {len(run.epochs)}/{total}: {epoch}")
                if out and world.is_first:
                    _save(run, out, data)
                run.saved = _place(run)
                if world.any(stop.is_wanted()):
                    stop.obey()
    except (NotFinite, OutOfMemory) as error:
        last = last_path(out) if out else None
        if not (last and last.exists()):
            raise
        another = f"{last.name} holds what was there after {run.saved}: --weights {last} and another --out"
        raise InputError(error.message, f"{error.remedy} {another} begin from it.") from error
    except KeyboardInterrupt:
        last = last_path(out) if out else None
        if last and last.exists():
            console.print(
                f"Saved in {last} after {run.saved}. The same command with --resume goes on.",
                soft_wrap=True,
            )
        raise


def _save(run: Run, out: Path, data: resuming.Data) -> None:
    kept = as_checkpoint(run)
    average = None if run.average is None else run.average.state_dict()
    progress = resuming.Progress(
        run.options,
        data,
        run.network.state_dict(),
        average,
        run.optimizer.state_dict(),
        run.scaler.state_dict(),
        run.epochs,
        run.shares,
        run.partial,
    )
    # First: should the disk be full, the best one is never older than what a resumed run believes.
    if run.partial is None and best_of(run.epochs) == len(run.epochs) - 1:
        checkpoints.save(best_path(out), kept)
    resuming.store(last_path(out), kept, progress)


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
    index, world, options = len(run.epochs), run.world, run.options
    begin_epoch(run, index)
    before = run.partial or Partial(0, 0, 0, 0.0, 0.0)
    if not world.is_first:  # its sums are those of all processes
        before = replace(before, correct=0, loss_sum=0.0)
    tally = Tally(before, world.size)
    every = 1 if world.device.type == "cpu" else LOOK_EVERY
    is_trained = before.steps == run.steps
    rest = () if is_trained else run.train_set.epoch(seed_of(options.seed, index), run.batch, before.steps, world)
    for step, (pixels, targets) in enumerate(rest, before.steps):
        set_rates(run.optimizer, options.warmup, (index * run.steps + step) / (run.steps * options.epochs))
        tally.add(*one_step(run, pixels, targets, index, step), len(targets), run.optimizer.param_groups[0]["lr"])
        if (step + 1) % every and step + 1 < run.steps:
            continue
        strange = tally.look()
        bar.update(task, completed=index * run.steps * run.batch + tally.seen, **tally.texts())  # type: ignore[arg-type]
        must_end, is_stopped = world.which(strange is not None, stop.is_wanted())
        if must_end:
            got = "none in another process" if strange is None else str(strange)
            raise tally.not_finite("loss", got, options, index)
        if is_stopped:
            break
    if not is_finite(run):
        raise tally.not_finite("weights", "others", options, index)
    loss_sum, correct = world.total(tally.sums()).tolist()
    run.partial = Partial(tally.steps, tally.seen, int(correct), loss_sum, tally.seconds)
    judged = validate(run, stop.is_wanted) if tally.steps == run.steps else None
    # A stop in validation, which may take long: all steps are done then, and going on begins with validation.
    if world.any(stop.is_wanted()):
        return None
    run.partial = None
    validation, validation_loss = judged or (None, None)
    loss, accuracy = loss_sum / tally.seen, correct / tally.seen
    is_aware = options.is_aware(index)
    return Epoch(loss, accuracy, validation, tally.seen, tally.seconds, validation_loss, is_aware)
