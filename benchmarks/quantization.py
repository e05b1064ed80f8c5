"""What each recipe costs in accuracy, bytes, time and memory, beside TensorFlow's own converter; and an ablation.

    python benchmarks/quantization.py --calibration photos/ --evaluation labelled/ --ablation

Every file is made by a command of its own, as a user would make it, and run by LiteRT on the same pixels. The reference
is the float network under ONNX Runtime. All are given the same folder of calibration images; where it holds more than
a recipe takes, edgekit and the baseline draw their own. Edgekit keeps some for its own checks. The baseline starts from
the ONNX file; edgekit's time includes making it. With `--work` a run that was interrupted goes on where it stood, and a
recipe can be added later. One recipe with several seeds (`--seeds 0,1,2`) tells how much a drop owes to the images that
calibration happened to draw.
"""

from __future__ import annotations

import math
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.ablation import write_variants
from benchmarks.evaluation import Logits, evaluate, read_evaluation, targets_of
from benchmarks.support import RESULTS, Usage, machine, markdown, write_results
from benchmarks.workshop import ABLATED, BASELINE, absolute, open_workshop
from edgekit import bundle
from edgekit.errors import EdgekitError, InputError
from edgekit.quant import sqnr_db
from edgekit.runtime import Network, available_cores
from edgekit_quantize.report.statistics import Estimate, paired_counts, paired_drop, wilson
from edgekit_quantize.report.wording import interval, number

# Options of `edgekit convert` for an .onnx file, handed on.
FOREIGN = ("mean", "std", "crop", "labels")


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
@click.option("--seeds", default="0", show_default=True, metavar="I,J", help="Of the conversions by recipe.")
@click.option("--ablation", is_flag=True, help=f"A second table: variants of the recipe {ABLATED}.")
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    help="Folder that keeps the files; a second run with it makes only what is missing. For another state of the code "
    "take another folder.",
)
@click.option("--out", type=click.Path(path_type=Path), help="[default: benchmarks/results/quantization-SOURCE.json]")
def main(source: str, calibration: str, evaluation: str, ablation: bool, **options: Any) -> None:
    """Compare what recipes make of a network, float against quantized, on labelled images."""
    facts = machine()
    images = read_evaluation(Path(evaluation))
    out = options["out"] or RESULTS / f"quantization-{re.sub('[^A-Za-z0-9_.]+', '-', Path(source).stem)}.json"
    with ExitStack() as stack:
        folder = options["work"] or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgekit-bench-")))
        folder.mkdir(parents=True, exist_ok=True)
        workshop = open_workshop(source, {name: options[name] for name in FOREIGN}, calibration, folder.resolve())
        tables = {"recipes": seeded(options["recipes"].split(","), options["seeds"])}
        if ablation:
            variants = {ABLATED: ABLATED} | write_variants(ABLATED, workshop.folder)
            tables["ablation"] = {name: (recipe, 0) for name, recipe in variants.items()}
        (first, job), *rest = {name: job for table in tables.values() for name, job in table.items()}.items()
        usages = {first: workshop.convert(first, *job)}
        card = bundle.read(workshop.file(first)).card
        targets = targets_of(images, card.labels)
        usages |= {BASELINE: workshop.convert_baseline(workshop.file(first))}
        usages |= {name: workshop.convert(name, *job) for name, job in rest}
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
        "source": Path(source).name,
        "seeds": options["seeds"],
        "evaluation_images": len(targets),
        "float_top1": asdict(float_top1),
        "machine": facts,
    } | {title: {name: asdict(row) for name, row in table.items()} for title, table in chosen.items()}
    note = (
        f"{Path(source).name}, float: {number(float_top1.value)} % top-1 ({interval(float_top1)}), "
        f"n = {len(targets):,}; in brackets: 95 % intervals.{mean_drops(chosen['recipes'], tables['recipes'])}"
    )
    write_results(out, content, "\n\n".join([note, *map(table_of, chosen.values())]))


def seeded(recipes: Sequence[str], seeds: str) -> dict[str, tuple[str, int]]:
    """Names of the files by recipe to recipe and seed; the name tells the seed where there are several.

    Raises:
        InputError: A seed is not a whole number.
    """
    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError as error:
        raise InputError(f"--seeds must be whole numbers, got {seeds}.") from error
    if len(numbers) == 1:
        return {recipe: (absolute(recipe), numbers[0]) for recipe in recipes}
    return {f"{recipe}, seed {seed}": (absolute(recipe), seed) for recipe in recipes for seed in numbers}


def mean_drops(rows: Mapping[str, Row], jobs: Mapping[str, tuple[str, int]]) -> str:
    """A sentence on each recipe's mean drop over its seeds; none if there is one seed only."""
    drops: dict[str, list[float]] = {}
    for name, (recipe, _) in jobs.items():
        drops.setdefault(Path(recipe).stem, []).append(rows[name].drop.value)
    means = [f"{recipe} {number(sum(all_) / len(all_))}" for recipe, all_ in drops.items() if len(all_) > 1]
    return f" Mean drop over the seeds, in points: {', '.join(means)}." if means else ""


def score(reference: Logits, logits: Logits, targets: NDArray[np.int64]) -> dict[str, Any]:
    """A `Row`'s scores: a file's logits (N, classes) beside the float network's and the true classes (N,)."""
    ours, theirs = reference.argmax(1), logits.argmax(1)
    sqnr = sqnr_db(reference, logits)
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


if __name__ == "__main__":
    try:
        main()
    except EdgekitError as error:
        sys.exit(str(error))
