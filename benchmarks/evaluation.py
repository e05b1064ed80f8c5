"""Labelled images, and what the float network and any number of .tflite files answer to them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.card import InputSpec
from edgekit.errors import InputError
from edgekit.images import FileSet, Prepared
from edgekit.preprocess import Image, normalize
from edgekit.progress import console, progress_bar
from edgekit.runtime import Network
from edgekit_quantize.export import onnx_logits
from edgekit_quantize.inference import PixelNetwork
from edgekit_quantize.report.labels import held_out_folder, targets_by_name

_CHUNK = 32

Logits = NDArray[np.float32]


def read_evaluation(folder: Path) -> FileSet:
    """Labelled images: listed in `folder/labels.csv` (targets are output indices, no class has a name), or in folders.

    Raises:
        InputError: Neither form; or a labels.csv without the columns file and imagenet_index, with a file that is not
            there, with an index that is no number, or without any line.
    """
    listing = folder / "labels.csv"
    if not listing.is_file():
        return held_out_folder(folder)
    with listing.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, restval="")
        columns = set(reader.fieldnames or ())
        if not {"file", "imagenet_index"} <= columns:
            raise InputError(f"{listing} must have the columns file and imagenet_index, got {sorted(columns)}.")
        lines = [(folder / line["file"], line["imagenet_index"]) for line in reader]
    if not lines:
        raise InputError(f"{listing} must list images, got none.")
    for path, index in lines:
        if not (path.is_file() and index.isdecimal()):
            raise InputError(f"{listing} must list files with an output index each, got {path.name} with {index!r}.")
    paths, indices = zip(*lines, strict=True)
    return FileSet(paths, np.asarray([int(index) for index in indices], np.int64), ())


def targets_of(images: FileSet, labels: tuple[str, ...]) -> NDArray[np.int64]:
    """(N,) int64 output index of each image, for a network with these labels.

    Raises:
        InputError: A class that the network does not have.
    """
    if images.labels:
        return targets_by_name(images, labels)
    if images.targets.max() >= len(labels):
        raise InputError(f"An output index must be below {len(labels)}, got {images.targets.max()}.")
    return images.targets


def evaluate(
    networks: dict[str, Network], images: FileSet, spec: InputSpec, onnx: Path
) -> tuple[NDArray[np.int64], Logits, dict[str, Logits]]:
    """Run the float network (under ONNX Runtime) and every file on the same pixels, with a progress bar.

    Args:
        networks: The files by name.
        images: N of them are readable.
        spec: Size, crop, mean and standard deviation of the network.
        onnx: The float network.

    Returns:
        (N,) indices of the readable images, the float network's logits (N, classes), and those of each file by name.
    """
    prepared = Prepared(images, spec)
    readers = {name: PixelNetwork(network, spec) for name, network in networks.items()}
    indices: list[int] = []
    reference: list[Logits] = []
    found: dict[str, list[Logits]] = {name: [] for name in networks}
    with progress_bar(unit="images") as bar:
        task = bar.add_task("evaluate", total=len(images.names))
        for chunk in _chunks(prepared):
            pixels = np.stack([crop for _, crop in chunk])
            indices += [index for index, _ in chunk]
            reference.append(onnx_logits(onnx, normalize(pixels, spec)))
            for name, reader in readers.items():
                found[name].append(np.stack([reader.logits(image) for image in pixels]))
            bar.update(task, completed=indices[-1] + 1)
    for line in prepared.skipped:
        console.print(f"Skipped: {line}", markup=False)
    logits = {name: np.concatenate(parts) for name, parts in found.items()}
    return np.asarray(indices, np.int64), np.concatenate(reference), logits


def _chunks(prepared: Prepared) -> Iterator[list[tuple[int, Image]]]:
    images = iter(prepared)
    while chunk := list(islice(images, _CHUNK)):
        yield chunk
