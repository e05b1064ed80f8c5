"""What each recipe costs in accuracy, bytes, time and memory, beside TensorFlow's own converter; and an ablation.

    python benchmarks/quantization.py --calibration photos/ --evaluation labelled/ --ablation

Every file is made by a command of its own, as a user would make it, and run by LiteRT on the same pixels. The reference
is the float network under ONNX Runtime. All are given the same folder of calibration images; where it holds more than
a recipe takes, edgekit and the baseline draw their own. Edgekit keeps some for its own checks. The baseline starts from
the ONNX file; edgekit's time includes making it. With `--work` a run that was interrupted goes on where it stood, and a
recipe can be added later.
"""

from __future__ import annotations

import json
import math
import re
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.ablation import write_variants
from benchmarks.evaluation import Logits, evaluate, read_evaluation, targets_of
from benchmarks.support import EDGEKIT, RESULTS, Usage, machine, markdown, measure, write_results
from edgekit import bundle
from edgekit.errors import EdgekitError
from edgekit.files import write_whole
from edgekit.images import list_images
from edgekit.progress import console
from edgekit.runtime import Kernels, Network, available_cores
from edgekit_quantize.recipe import load_recipe
from edgekit_quantize.report.statistics import Estimate, logits_sqnr, paired_counts, paired_drop, wilson
from edgekit_quantize.report.wording import interval, number

BASELINE = "TFLiteConverter, min/max"
ABLATED = "int8"


@dataclass(frozen=True)
class Row:
    """What one file scores.

    Attributes:
        top1: In percent.
        drop: Of top-1 against float, in points, paired.
        same: Images with the same top-1 as float, in percent.
        sqnr_db: Of the logits against float's; None if they are the same.
        calibration_images: How many the conversion was given, at most those of the recipe.
        file_mb: Size in MB (1e6 bytes).
        usage: Of the conversion.
        kernels: What executed it.
        other_kernels: Of int8 files in the first table: images with another top-1 when the builtin kernels of
            tflite-runtime run the same file, in percent. None for all others.
    """

    top1: Estimate
    drop: Estimate
    same: Estimate
    sqnr_db: float | None
    calibration_images: int
    file_mb: float
    usage: Usage
    kernels: str
    other_kernels: Estimate | None


@dataclass(frozen=True)
class Workshop:
    """Where the files are made.

    What stands in the folder already, made by the same command, is not made again.

    Attributes:
        folder: It holds them, and `onnx`.
        command: `edgekit convert` with source and options, all but recipe and output.
        calibration: Folder of images.
    """

    folder: Path
    command: tuple[str | Path, ...]
    calibration: Path

    @property
    def onnx(self) -> Path:
        """The float network, once a first file is made."""
        return self.folder / "net.onnx"

    def file(self, name: str) -> Path:
        """The .tflite of that name."""
        return self.folder / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}.tflite"

    def convert(self, name: str, recipe: str) -> Usage:
        """Make the file `name`."""
        return self._measure(name, [*self.command, "--recipe", recipe, "--onnx", self.onnx, "--out", self.file(name)])

    def convert_baseline(self, card: Path) -> Usage:
        """Make the file BASELINE from `onnx`, with the images that the recipe ABLATED draws, prepared after `card`."""
        images = str(self.calibration_images(BASELINE))
        worker: list[str | Path] = [
            sys.executable,
            "-m",
            "benchmarks.tflite_converter",
            self.onnx,
            card,
            self.calibration,
            images,
        ]
        return self._measure(BASELINE, [*worker, self.file(BASELINE)])

    def calibration_images(self, name: str) -> int:
        """How many images the file `name` was or will be made with."""
        if name == BASELINE:
            return min(load_recipe(ABLATED).calibration_images, len(list_images(self.calibration)))
        return bundle.read(self.file(name)).card.provenance.calibration_images

    def on_builtin_kernels(self, name: str) -> Network | None:
        """An int8 file under the kernels of tflite-runtime; None for other files, which would be the same or too slow.

        One thread: with more these kernels are slower.
        """
        network = Network(self.file(name).read_bytes(), 1, Kernels.BUILTIN)
        return network if network.input_dtype == np.int8 else None

    def _measure(self, name: str, command: list[str | Path]) -> Usage:
        record, words = self.file(name).with_suffix(".json"), [str(word) for word in command]
        # A recipe file may have been changed since.
        words += [path.read_text(encoding="utf-8") for path in map(Path, words) if path.suffix == ".toml"]
        known = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
        if known.get("command") == words and self.file(name).exists():
            return Usage(**known["usage"])
        with console.status(f"converting: {name} …"):
            usage = measure(command, self.folder)
        write_whole(record, json.dumps({"command": words, "usage": asdict(usage)}) + "\n")
        console.print(f"converted: {name}: {usage.seconds:.1f} s, {usage.peak_mb:.0f} MB", markup=False)
        return usage


@click.command()
@click.option("--source", default="mobilenet_v2:imagenet", show_default=True, help="Known network, .pt or .onnx file.")
@click.option("--mean", metavar="R,G,B", help="Of an .onnx file, as for edgekit convert.")
@click.option("--std", metavar="R,G,B", help="Likewise.")
@click.option("--crop", metavar="FRACTION", help="Likewise.")
@click.option("--labels", metavar="FILE", help="Likewise.")
@click.option("--calibration", required=True, metavar="DIR", help="Folder of typical images, labels not needed.")
@click.option(
    "--evaluation",
    required=True,
    metavar="DIR",
    help="Labelled images: either with a labels.csv, whose columns `file` (relative to DIR) and `imagenet_index` (the "
    "network's output, from 0) say each image's class, or with a sub-folder per class, named as in the network.",
)
@click.option("--recipes", default="int8-minmax,int8", show_default=True, metavar="A,B", help="Names or .toml files.")
@click.option("--ablation", is_flag=True, help=f"A second table: variants of the recipe {ABLATED}.")
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    help="Folder that keeps the files; a second run with it makes only what is missing. For another state of the code "
    "take another folder.",
)
@click.option("--out", type=click.Path(path_type=Path), help="[default: benchmarks/results/quantization-SOURCE.json]")
def main(source: str, calibration: str, evaluation: str, recipes: str, ablation: bool, **options: Any) -> None:
    """Compare what recipes make of a network, float against quantized, on labelled images."""
    facts = machine()
    images = read_evaluation(Path(evaluation))
    out = options.pop("out") or RESULTS / f"quantization-{re.sub('[^A-Za-z0-9_.]+', '-', Path(source).stem)}.json"
    with ExitStack() as stack:
        folder = options.pop("work") or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgekit-bench-")))
        folder.mkdir(parents=True, exist_ok=True)
        workshop = open_workshop(source, options, calibration, folder.resolve())
        tables = {"recipes": {recipe: _absolute(recipe) for recipe in recipes.split(",")}}
        if ablation:
            tables["ablation"] = {ABLATED: ABLATED} | write_variants(ABLATED, workshop.folder)
        (first, recipe), *rest = {name: r for table in tables.values() for name, r in table.items()}.items()
        usages = {first: workshop.convert(first, recipe)}
        card = bundle.read(workshop.file(first)).card
        targets = targets_of(images, card.labels)
        usages |= {BASELINE: workshop.convert_baseline(workshop.file(first))}
        usages |= {name: workshop.convert(name, recipe) for name, recipe in rest}
        networks = {name: Network(workshop.file(name).read_bytes(), available_cores()) for name in usages}
        others = {name: workshop.on_builtin_kernels(name) for name in (BASELINE, *tables["recipes"])}
        builtin = {_builtin(name): network for name, network in others.items() if network is not None}
        indices, reference, logits = evaluate(networks | builtin, images, card.input, workshop.onnx)
        targets = targets[indices]
        rows = {
            name: Row(
                **score(reference, logits[name], targets),
                calibration_images=workshop.calibration_images(name),
                file_mb=workshop.file(name).stat().st_size / 1e6,
                usage=usages[name],
                kernels=network.kernels.value,
                other_kernels=different(logits[name], logits.get(_builtin(name))),
            )
            for name, network in networks.items()
        }
    chosen = {title: {name: rows[name] for name in names} for title, names in tables.items()}
    chosen["recipes"] = {BASELINE: rows[BASELINE]} | chosen["recipes"]
    float_top1 = wilson(int(np.sum(reference.argmax(1) == targets)), len(targets))
    content = {
        "source": source,
        "evaluation_images": len(targets),
        "float_top1": asdict(float_top1),
        "machine": facts,
    } | {title: {name: asdict(row) for name, row in table.items()} for title, table in chosen.items()}
    note = (
        f"{source}, float: {number(float_top1.value)} % top-1 ({interval(float_top1)}), n = {len(targets):,}; "
        "in brackets: 95 % intervals."
    )
    write_results(out, content, "\n\n".join([note, *map(table_of, chosen.values())]))


def open_workshop(source: str, options: Mapping[str, str | None], calibration: str, folder: Path) -> Workshop:
    """A workshop in `folder`, whose commands are to find everything from there.

    Args:
        source: What to convert.
        options: Of `edgekit convert` for an .onnx file; those that are None are left out.
        calibration: Folder of images.
        folder: An empty one.
    """
    given = [word for name, value in options.items() if value for word in (f"--{name}", _absolute(value))]
    images = Path(calibration).resolve()
    command: tuple[str | Path, ...] = (*EDGEKIT, "convert", _absolute(source), *given, "--calibration", images)
    return Workshop(folder, command, images)


def score(reference: Logits, logits: Logits, targets: NDArray[np.int64]) -> dict[str, Any]:
    """A `Row`'s scores: a file's logits (N, classes) beside the float network's and the true classes (N,)."""
    ours, theirs = reference.argmax(1), logits.argmax(1)
    sqnr = logits_sqnr(reference, logits)
    return {
        "top1": wilson(int(np.sum(theirs == targets)), len(targets)),
        "drop": paired_drop(paired_counts(ours == targets, theirs == targets)),
        "same": wilson(int(np.sum(ours == theirs)), len(targets)),
        "sqnr_db": sqnr if math.isfinite(sqnr) else None,
    }


def different(first: Logits, second: Logits | None) -> Estimate | None:
    """Images whose top-1 differs between logits (N, classes), in percent; None if there are no second ones."""
    if second is None:
        return None
    return wilson(int(np.sum(first.argmax(1) != second.argmax(1))), len(first))


def table_of(rows: Mapping[str, Row]) -> str:
    """Rows in the order given, as Markdown; the column on other kernels only if a row has it."""
    with_kernels = any(row.other_kernels for row in rows.values())
    header = (
        "recipe",
        "top-1, %",
        "drop, points",
        "same top-1 as float, %",
        "logits SQNR, dB",
        *(["other top-1 on builtin kernels, %"] if with_kernels else []),
        "calibration images",
        "file, MB",
        "conversion, s",
        "peak memory, MB",
    )
    return markdown(
        header,
        [
            (
                name,
                number(row.top1.value),
                f"{number(row.drop.value)} ({interval(row.drop)})",
                f"{number(row.same.value, 1)} ({interval(row.same, 1)})",
                "∞" if row.sqnr_db is None else number(row.sqnr_db, 1),
                *([_kernels(row.other_kernels)] if with_kernels else []),
                number(row.calibration_images, 0),
                number(row.file_mb),
                number(row.usage.seconds, 0),
                number(row.usage.peak_mb, 0),
            )
            for name, row in rows.items()
        ],
    )


def _kernels(other: Estimate | None) -> str:
    return "" if other is None else f"{number(other.value, 1)} ({interval(other, 1)})"


def _builtin(name: str) -> str:
    return f"{name}, builtin kernels"


def _absolute(text: str) -> str:
    """A path that exists, seen from anywhere; any other text as it is."""
    return str(Path(text).resolve()) if Path(text).exists() else text


if __name__ == "__main__":
    try:
        main()
    except EdgekitError as error:
        sys.exit(str(error))
