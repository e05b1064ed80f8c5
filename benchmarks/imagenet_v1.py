"""MobileNetV1 1.0 with ImageNet weights, as a checkpoint to begin narrowing from; statistics are of CIFAR-10's images.

    python -m benchmarks.imagenet_v1 imagenet_v1.pt

`edgekit train --arch mobilenet_v1` begins with these weights by itself, and takes the statistics of its own images.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import torch

from edgekit.card import Architecture, InputSpec
from edgekit.models import create
from edgekit.train import checkpoint, cifar10, imagenet_v1
from edgekit.train.augment import NONE, augment
from edgekit.train.checkpoint import Checkpoint
from edgekit.train.data import normalizer
from edgekit.train.weights import imagenet_labels

# Of the images that the statistics are taken from, and of the network.
IMAGES, SIZE, SIDE = 512, 96, 224


def write(path: Path) -> None:
    """Fetch the weights and write the checkpoint."""
    pixels = torch.from_numpy(np.array(cifar10.load()[0].pixels[:IMAGES]))
    spec = InputSpec(SIDE, SIDE, crop_fraction=0.875)
    network = create("mobilenet_v1", classes=1000)
    imagenet_v1.fill(network, normalizer(spec)(augment(pixels, (SIZE, SIZE), NONE, torch.Generator())))
    architecture = Architecture("mobilenet_v1", 1.0)
    checkpoint.save(path, Checkpoint(architecture, spec, imagenet_labels(), network.state_dict()))


@click.command()
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
def main(path: Path) -> None:
    """Write the checkpoint to PATH."""
    write(path)


if __name__ == "__main__":
    main()
