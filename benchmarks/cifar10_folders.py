"""CIFAR-10 as folders of images: written here, trained on, and both recipes measured.

Commands:
    python benchmarks/cifar10_folders.py cifar10/
    edgekit train cifar10/ --out v1.pt --arch mobilenet_v1 --width 0.5 --size 32 --stem-stride 1 --weights none
    python benchmarks/quantization.py --source v1.pt --calibration cifar10/train --evaluation cifar10/val --seeds 0,1,2
"""

from __future__ import annotations

from pathlib import Path

import click
import cv2

from edgekit.images import ImageSet
from edgekit.progress import tracked
from edgekit.train import cifar10


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def main(folder: Path) -> None:
    """Write the training set to FOLDER/train/CLASS/*.png and the test set to FOLDER/val/CLASS/*.png."""
    train, test = cifar10.load()
    write_folders(train, folder / "train")
    write_folders(test, folder / "val")


def write_folders(images: ImageSet, folder: Path) -> None:
    """Write every image, without loss, into a sub-folder called as its class."""
    for label in images.labels:
        (folder / label).mkdir(parents=True, exist_ok=True)
    numbers = range(len(images.targets))
    for index in tracked(f"write {folder.name}", numbers, len(numbers)):
        path = folder / images.labels[images.targets[index]] / f"{index:05}.png"
        cv2.imwrite(str(path), cv2.cvtColor(images.image(index), cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
