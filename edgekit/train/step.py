"""What a step does to a run, and what it is in which epoch."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from edgekit.train.augment import augment
from edgekit.train.evaluate import full_float32
from edgekit.train.feed import seed_of
from edgekit.train.memory import limited_memory, most_data
from edgekit.train.mixing import mix, soft_targets
from edgekit.train.objective import loss_of
from edgekit.train.options import Options
from edgekit.train.quantization_aware import keep_statistics, make_aware
from edgekit.train.run import Run

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


def frozen_blocks(options: Options, epoch: int) -> int:
    """How many of the first blocks rest in an epoch, counted from 0."""
    if not options.unfreeze:
        return options.freeze
    return -(-options.freeze * max(0, options.unfreeze - epoch) // options.unfreeze)


def begin_epoch(run: Run, epoch: int) -> None:
    """Frozen blocks keep weights and statistics; int8's rounding comes on for the last epochs."""
    options = run.options
    frozen = frozen_blocks(options, epoch)
    features: nn.Sequential = run.network.features  # type: ignore[assignment]
    for index, block in enumerate(features):
        block.requires_grad_(index >= frozen)
    if options.is_aware(epoch):
        make_aware(run.network)
    training_mode(run, epoch)
    run.most_data = most_data(run.world)
    # Anew, because it must know which weights have gradients.
    network = run.network
    if run.world.size > 1:
        network = DistributedDataParallel(network)
        # It is slower by a copy for 1×1 kernels in channels-last order, whose strides mean the same.
        warnings.filterwarnings("ignore", "Grad strides do not match", UserWarning)
    run.step_network = torch.compile(network) if options.compile else network  # type: ignore[assignment]


def training_mode(run: Run, epoch: int) -> None:
    """Statistics move but where blocks are frozen; in int8's epochs nowhere. All round there, frozen or not."""
    run.network.train()
    features: nn.Sequential = run.network.features  # type: ignore[assignment]
    frozen = features[: frozen_blocks(run.options, epoch)]
    keep_statistics(run.network if run.options.is_aware(epoch) else frozen)


def one_step(run: Run, pixels: Tensor, targets: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor]:
    """Vary a batch, and make the network a little better on it.

    Args:
        run: The run, after `begin_epoch`.
        pixels: (N, H, W, 3) uint8 RGB, this process's part of the batch.
        targets: (N,) int64.
        epoch: Its number, from 0; all chance comes from these two.
        step: Likewise, within the epoch.

    Returns:
        Mean loss before the step, and how many images were right; scalars on the device.

    Raises:
        RuntimeError: It does not fit into memory, see `memory.enough_memory`.
    """
    # Int8's rounding is finer than a GPU's float32 by default.
    exact = full_float32() if run.options.is_aware(epoch) else contextlib.nullcontext()
    with limited_memory(run.most_data), exact:
        return _step(run, pixels, targets, epoch, step)


def _step(run: Run, pixels: Tensor, targets: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor]:
    options = run.options
    seed = seed_of(options.seed, epoch, step, run.world.rank)
    # Dropout and kornia draw from the global generators. torch.manual_seed would look for devices of every kind.
    torch.default_generator.manual_seed(seed)
    if run.world.device.type == "cuda":
        torch.cuda.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    views = augment(pixels, (options.size, options.size), options.augmentation, generator)
    views, wanted = mix(views, soft_targets(targets, len(run.train_set.labels)), options.augmentation, generator)
    is_first = options.weights == "none" and epoch == step == 0
    with (
        precision(options, run.world.device, epoch),
        first_statistics(run.network) if is_first else contextlib.nullcontext(),
    ):
        answers = run.teacher.answers(views) if run.teacher else None
        images = run.normalize(views).contiguous(memory_format=torch.channels_last)
        logits = run.step_network(images).float()
    loss = loss_of(logits, wanted, None if answers is None else answers.float(), run.network, options)
    run.optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(run.scaler.scale(loss))
    run.scaler.step(run.optimizer)
    run.scaler.update()
    if run.average is not None:
        run.average.update_parameters(run.network)
    return loss.detach(), (logits.argmax(1) == wanted.argmax(1)).sum()


@contextlib.contextmanager
def first_statistics(network: nn.Module) -> Iterator[None]:
    """One batch's statistics replace those that normalizations are made with, mean 0 and variance 1.

    Last layers have variances far below 1, and would be judged by what is left of it: 0.9^25 = 7 % after 25 steps.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 1.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum


def precision(options: Options, device: torch.device, epoch: int) -> contextlib.AbstractContextManager[object]:
    """Autocast as `options.amp` says; "auto": bf16 on a GPU that has it.

    Int8's epochs are float32's: bf16's own rounding is coarser than int8's steps.
    """
    name = precision_name(options, device)
    if options.is_aware(epoch) or name not in PRECISIONS:
        return contextlib.nullcontext()
    return torch.autocast(device.type, PRECISIONS[name])


def precision_name(options: Options, device: torch.device) -> str:
    """What `options.amp` comes to on a device: a name of PRECISIONS, "float32", or "tf32" (of GPUs' convolutions)."""
    is_gpu = device.type == "cuda"
    if options.amp in PRECISIONS:
        return options.amp
    if options.amp == "auto" and is_gpu and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16"
    return "tf32" if is_gpu and torch.backends.cudnn.allow_tf32 else "float32"
