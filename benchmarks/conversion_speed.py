"""`edgekit convert` beside `onnx2tf -oiqt`: time and memory from one network to its int8 file.

    python benchmarks/conversion_speed.py --calibration photos/

Both make the same ONNX graph int8 with the same images, each as a command of its own, in turn. Edgekit's time includes
PyTorch → ONNX, decoding the images, checking every stage and sealing, and it holds back a fifth of the images for its
checks; onnx2tf's includes none of that, calibrates on all of them, and writes the float, float16, dynamic-range and
int16 files that it always writes.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.support import (
    EDGEKIT,
    RESULTS,
    Usage,
    machine,
    markdown,
    measure,
    write_results,
)
from edgekit import bundle
from edgekit.card import InputSpec
from edgekit.errors import EdgekitError, InputError
from edgekit.images import Prepared, unlabelled_folder
from edgekit.listing import list_images
from edgekit.preprocess import normalize
from edgekit.progress import console
from edgekit.runtime import Network, available_cores
from edgekit_quantize.export import onnx_logits
from edgekit_quantize.inference import PixelNetwork
from edgekit_quantize.tflite import write_sample_images

OURS, THEIRS = "edgekit convert --recipe int8-minmax", "onnx2tf -oiqt"


@dataclass(frozen=True)
class Rivals:
    """The two commands and their results.

    Attributes:
        folder: Working directory of both.
        spec: The network's input.
        pixels: (N, height, width, 3) RGB uint8, the calibration images as the network sees them.
        commands: Name to command.
        files: Name to the int8 file that it writes.
    """

    folder: Path
    spec: InputSpec
    pixels: NDArray[np.uint8]
    commands: dict[str, list[str | Path]]
    files: dict[str, Path]


@click.command()
@click.option("--source", default="mobilenet_v2:imagenet", show_default=True, help="Known network, or a .pt file.")
@click.option("--calibration", required=True, metavar="DIR", help="Folder of typical images, labels not needed.")
@click.option("--images", default=100, show_default=True, help="So many of them are used, evenly spread.")
@click.option("--repetitions", default=5, show_default=True, type=click.IntRange(1))
@click.option("--out", default=RESULTS / "conversion_speed.json", type=click.Path(path_type=Path), show_default=True)
def main(source: str, calibration: str, images: int, repetitions: int, out: Path) -> None:
    """Compare the time and the peak memory of `edgekit convert` with those of `onnx2tf -oiqt`."""
    facts = machine()
    with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as scratch:
        rivals = prepare(source, calibration, images, Path(scratch))
        runs: dict[str, list[Usage]] = {name: [] for name in rivals.commands}
        for turn in range(1, repetitions + 1):
            for name, command in rivals.commands.items():
                with console.status(f"{turn}/{repetitions}: {name} …"):
                    usage = measure(command, rivals.folder)
                runs[name].append(usage)
                console.print(f"{turn}/{repetitions}: {name}: {usage.seconds:.1f} s, {usage.peak_mb:.0f} MB")
        agreement = {name: same_answers(rivals, path) for name, path in rivals.files.items()}
        sizes = {name: path.stat().st_size / 1e6 for name, path in rivals.files.items()}
    ratios = ratio_of_medians(runs)
    content = {
        "source": source,
        "calibration_images": images,
        "repetitions": repetitions,
        "machine": facts,
        "runs": {name: [asdict(usage) for usage in usages] for name, usages in runs.items()},
        "edgekit_divided_by_onnx2tf": asdict(ratios),
        "same_top1_as_float_percent": agreement,
        "file_mb": sizes,
    }
    write_results(out, content, table(runs, agreement, sizes, images))


def prepare(source: str, calibration: str, count: int, folder: Path) -> Rivals:
    """Lay out the inputs of both commands. A first conversion, not measured, gives the ONNX file.

    Raises:
        InputError: Too few images, or unreadable ones.
        EdgekitError: The network cannot be converted.
    """
    photos, model, onnx = folder / "photos", folder / "edgekit.tflite", folder / "net.onnx"
    link_images(calibration, count, photos)
    # The commands run in a folder of their own.
    network = Path(source).resolve() if Path(source).exists() else source
    ours: list[str | Path] = [
        *EDGEKIT,
        "convert",
        network,
        "--recipe",
        "int8-minmax",
        "--calibration",
        photos,
        "--out",
        model,
    ]
    with console.status("the ONNX file …"):
        measure([*ours, "--onnx", onnx])
    spec = bundle.read(model).card.input
    pixels = np.stack([crop for _, crop in Prepared(unlabelled_folder(photos), spec)])
    if len(pixels) != count:
        raise InputError(f"All {count} calibration images must be readable, got {len(pixels)}.")
    np.save(folder / "pixels.npy", pixels.astype(np.float32) / 255.0)
    write_sample_images(pixels, folder)
    # Data between 0 and 1, with mean and std of the network: so that onnx2tf calibrates on what the network sees.
    data = ["-cind", "image", "pixels.npy", f"[[[{list(spec.mean)}]]]", f"[[[{list(spec.std)}]]]"]
    theirs: list[str | Path] = [Path(sys.executable).with_name("onnx2tf"), "-i", onnx, "-oiqt", *data, "-o", "onnx2tf"]
    files = {OURS: model, THEIRS: folder / "onnx2tf" / "net_full_integer_quant.tflite"}
    return Rivals(folder, spec, pixels, {OURS: ours, THEIRS: theirs}, files)


def link_images(source: str, count: int, folder: Path) -> None:
    """Make `folder` with links to `count` images below `source`, evenly spread over their sorted names.

    Raises:
        InputError: There are fewer.
    """
    paths = list_images(source)
    if len(paths) < count:
        raise InputError(f"{source} must hold {count} images, got {len(paths)}.", "Give --images a smaller number.")
    folder.mkdir()
    for index in np.linspace(0, len(paths) - 1, count).round().astype(int):
        path = paths[index].resolve()
        (folder / f"{index}-{path.name}").symlink_to(path)


def same_answers(rivals: Rivals, model: Path) -> float:
    """How many percent of the calibration images get the float network's top-1: did the conversion go right?"""
    network = Network(model.read_bytes(), available_cores())
    if network.input_dtype != np.int8 or network.output_dtype != np.int8:
        raise EdgekitError(f"{model.name} must have int8 input and output, got {network.input_dtype}.")
    reference = onnx_logits(rivals.folder / "net.onnx", normalize(rivals.pixels, rivals.spec))
    reader = PixelNetwork(network, rivals.spec)
    answers = np.asarray([reader.logits(image).argmax() for image in rivals.pixels])
    return 100.0 * float(np.mean(answers == reference.argmax(1)))


def median(usages: list[Usage]) -> Usage:
    """Median time and median peak memory, each by itself."""
    return Usage(
        statistics.median(usage.seconds for usage in usages), statistics.median(usage.peak_mb for usage in usages)
    )


def ratio_of_medians(runs: dict[str, list[Usage]]) -> Usage:
    """Ours divided by theirs; no units."""
    ours, theirs = median(runs[OURS]), median(runs[THEIRS])
    return Usage(ours.seconds / theirs.seconds, ours.peak_mb / theirs.peak_mb)


def table(runs: dict[str, list[Usage]], agreement: dict[str, float], sizes: dict[str, float], images: int) -> str:
    """Medians with the smallest and the largest run, and the ratio."""
    header = ["command", "time, s", "peak memory, MB", f"same top-1 as float on the {images} images, %", "file, MB"]
    rows = [
        [
            f"`{name}`",
            _spread([usage.seconds for usage in usages], 1),
            _spread([usage.peak_mb for usage in usages], 0),
            f"{agreement[name]:.0f}",
            f"{sizes[name]:.2f}",
        ]
        for name, usages in runs.items()
    ]
    ratios = ratio_of_medians(runs)
    rows.append(["ratio of the medians", f"{ratios.seconds:.2f}", f"{ratios.peak_mb:.2f}", "", ""])
    note = f"Median (smallest … largest) of {len(runs[OURS])} runs of each, in turn; memory with all child processes."
    return f"{markdown(header, rows)}\n\n{note}"


def _spread(values: list[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} … {max(values):.{digits}f})"


if __name__ == "__main__":
    try:
        main()
    except EdgekitError as error:
        sys.exit(str(error))
