"""MobileNetV1 1.0 with ImageNet weights, as a checkpoint to begin training from.

    python -m benchmarks.imagenet_v1 imagenet_v1.pt
    edgekit train photos/ --arch mobilenet_v1 --weights imagenet_v1.pt --out model.pt

The weights are TensorFlow's (`foreign_networks`), whose batch normalization is folded into its convolutions. Training
needs it back: each is given the mean and the variance that its input has on CIFAR-10's images, and the scale and the
offset that undo them. Its padding of one pixel less at the top and left becomes ours, which training makes up for.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.foreign_networks import SIDE, mobilenet_v1
from edgekit.card import Architecture, InputSpec
from edgekit.models import create
from edgekit.train import checkpoint, cifar10
from edgekit.train.augment import NONE, augment
from edgekit.train.checkpoint import Checkpoint
from edgekit.train.data import normalizer
from edgekit.train.weights import imagenet_labels

# Of the images that the statistics are taken from.
IMAGES, SIZE = 512, 96


def unfolded(folded: nn.Module, images: Tensor) -> nn.Module:
    """Our MobileNetV1 with these weights.

    Args:
        folded: `weight0`, `bias0` and so on in the order of the layers: convolutions, then the classifier as one.
        images: (N, 3, H, W) float32 in [-1, 1]: what batch normalization takes its statistics from.

    Returns:
        The network in evaluation mode; like `folded` but for where it pads.
    """
    network = create("mobilenet_v1", classes=1000).eval()
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    (classifier,) = (module for module in network.modules() if isinstance(module, nn.Linear))
    hooks = []
    with torch.no_grad():
        for number, (convolution, norm) in enumerate(zip(convolutions, norms, strict=True)):
            convolution.weight.copy_(folded.get_buffer(f"weight{number}"))
            norm.bias.copy_(folded.get_buffer(f"bias{number}"))
            hooks.append(norm.register_forward_pre_hook(_take_statistics))
        classifier.weight.copy_(folded.get_buffer(f"weight{len(norms)}").flatten(1))
        classifier.bias.copy_(folded.get_buffer(f"bias{len(norms)}"))
        network(images)
    for hook in hooks:
        hook.remove()
    return network


def _take_statistics(norm: nn.Module, inputs: tuple[Tensor]) -> None:
    """Before the first use: with these, the output is the input plus the bias that is there."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3))
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_((variance + norm.eps).sqrt())
    norm.bias.add_(mean)


def write(path: Path) -> None:
    """Fetch the weights and write the checkpoint."""
    pixels = torch.from_numpy(np.array(cifar10.load()[0].pixels[:IMAGES]))
    spec = InputSpec(SIDE, SIDE, crop_fraction=0.875)
    images = normalizer(spec)(augment(pixels, (SIZE, SIZE), NONE, torch.Generator()))
    with tempfile.TemporaryDirectory() as scratch:
        network = unfolded(mobilenet_v1(Path(scratch)), images)
    architecture = Architecture("mobilenet_v1", 1.0)
    checkpoint.save(path, Checkpoint(architecture, spec, imagenet_labels(), network.state_dict()))


@click.command()
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
def main(path: Path) -> None:
    """Write the checkpoint to PATH."""
    write(path)


if __name__ == "__main__":
    main()
