"""`edgekit report`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.errors import InputError
from edgekit.shipped import model_argument

if TYPE_CHECKING:
    from edgekit.bundle import Bundle

_FILE = click.Path(path_type=Path)
_WORDS = "edgekit.words"


class _Noted(click.Command):
    """Remembers what was typed: it stands in the report."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_WORDS] = ["edgekit", "report", *args]
        return super().parse_args(ctx, args)


@click.command(
    cls=_Noted,
    epilog="""\b
Examples:
  edgekit report model.tflite --reference model.pt --data photos/test --out report.html
  edgekit report model.tflite --reference model.pt --data photos/test --out report.html --max-drop 0.5
  edgekit report model.tflite --reference model.onnx --data imagenet/val --classes wnids.csv --out report.html
  edgekit report model.tflite --reference model.pt --data cifar10 --also small.tflite --out report.html
  edgekit report model.tflite --reference model.pt --data photos/test --out new.html --baseline old.json
""",
)
@model_argument()
@click.option(
    "--reference", required=True, help="Float: CHECKPOINT.pt, mobilenet_v2:imagenet, FILE.onnx or FILE.tflite."
)
@click.option(
    "--data", required=True, help="DIR/<class>/*.jpg (test/, else val/ in it is taken), a CSV file,label, or cifar10."
)
@click.option("--out", required=True, type=_FILE, help="The HTML file to write.")
@click.option("--json", "json_path", type=_FILE, help="The JSON file. [default: beside --out]")
@click.option("--markdown", "markdown_path", type=_FILE, help="The summary for a pull request. [default: beside --out]")
@click.option("--also", multiple=True, type=_FILE, help="Another .tflite of the same classes, to compare; repeatable.")
@click.option(
    "--max-drop", type=float, help="Fail unless the upper end of the drop's interval is within so many points."
)
@click.option(
    "--min-agreement", type=float, help="Fail unless the lower end of the agreement's interval reaches so many %."
)
@click.option("--baseline", type=_FILE, help="The JSON of an older report on these images: fail if anything got worse.")
@click.option("--tags", type=_FILE, help="CSV file,COLUMN,…: subgroups to judge apart, at most 50 values a column.")
@click.option("--classes", type=_FILE, help="CSV wnid,label: which label a folder such as n02123045 stands for.")
@click.option("--resume", is_flag=True, help="Go on where a run into the same --out stopped.")
@click.option("--allow-unreadable", is_flag=True, help="Go on though more than 1 % of the images cannot be read.")
@click.option("--quick", is_flag=True, help="Accuracy only: no stages between, builtin kernels, layers or costs.")
@click.option("--processes", type=click.IntRange(1), help="Processors to use.  [default: all that 1.5 GB allow]")
@click.pass_context
def command(
    ctx: click.Context,
    model: Path,
    reference: str,
    data: str,
    out: Path,
    json_path: Path | None,
    markdown_path: Path | None,
    also: tuple[Path, ...],
    max_drop: float | None,
    min_agreement: float | None,
    baseline: Path | None,
    tags: Path | None,
    classes: Path | None,
    resume: bool,
    allow_unreadable: bool,
    quick: bool,
    processes: int | None,
) -> None:
    """Accuracy of MODEL, of whatever format, against the float network that it was made from.

    All stages between see the same images. Writes one self-contained HTML page, a JSON file and a summary in Markdown,
    and prints the verdict.

    With --max-drop, --min-agreement or --baseline the exit code is 1 unless all of them pass. The gates are on the 95 %
    interval, so too few images do not pass either. They judge MODEL; files of --also are shown beside it.

    Against a baseline, top-1 and agreement count as worse when the whole 95 % interval of the paired difference lies
    below zero; a class by McNemar's exact test, adjusted over all classes; the file when it is more than 2 % larger;
    latency when the median is above the baseline's 99th percentile and more than 25 % above its median, on the same
    machine with as many threads.
    """
    from edgekit import bundle
    from edgekit.files import check_writable
    from edgekit_quantize.report import baseline as older
    from edgekit_quantize.report.analysis import check_tags
    from edgekit_quantize.report.compare import compare, positions
    from edgekit_quantize.report.data import open_images, read_tags
    from edgekit_quantize.report.examples import pictures_of
    from edgekit_quantize.report.gate import check_agreement, check_limit
    from edgekit_quantize.report.make import Limits, build_report, labels_sha256, write_report
    from edgekit_quantize.report.outputs import places
    from edgekit_quantize.report.reference import open_reference
    from edgekit_quantize.report.store import forget, has_answers, take_over
    from edgekit_quantize.report.table import print_summary

    if max_drop is not None:
        check_limit(max_drop)
    if min_agreement is not None:
        check_agreement(min_agreement)
    inputs = [model, Path(reference), Path(data), *also, *(path for path in (baseline, tags, classes) if path)]
    outputs = places(out, json_path, markdown_path, inputs)
    # What can fail at once fails before the long work.
    judged = bundle.read(model)
    others = _others(also)
    known = older.read(baseline) if baseline else None
    if known:
        older.check_same_labels(known, labels_sha256(judged.card.labels))
    float_model = open_reference(reference)
    images = open_images(data, judged.card.labels, classes)
    if known:
        older.check_enough_images(known, len(images.names))
    groups = read_tags(tags, images.names) if tags else None
    check_tags(groups or ())
    for target in outputs:
        check_writable(target)
    answers = out.with_name(f"{out.name}.answers")
    take_over(answers, resume=resume)
    try:
        comparison = compare(
            judged,
            float_model,
            images,
            file=model.name,
            also=others,
            tags=groups,
            stages=not quick,
            builtin=not quick,
            measure_cost=not quick,
            layers=not quick,
            processes=processes,
            cache=answers,
            allow_unreadable=allow_unreadable,
        )
        report = build_report(
            comparison,
            judged,
            pictures_of(images, positions(comparison, images), judged.card.input),
            limits=Limits(max_drop, min_agreement, known),
            data_name=data,
            command=shlex.join(ctx.meta[_WORDS]),
        )
    except InputError as error:
        if not has_answers(answers):
            forget(answers)
            raise
        raise InputError(error.message, f"{error.remedy} With --resume no image is answered twice.".strip()) from error
    write_report(report, *outputs)
    forget(answers)
    print_summary(report.document, outputs)
    report.check_gate()


def _others(paths: tuple[Path, ...]) -> list[tuple[str, Bundle]]:
    """The files of --also under their names.

    Raises:
        InputError: Two would be shown under the same name.
    """
    from edgekit import bundle
    from edgekit_quantize.report.stages import shown_name

    names = [shown_name(path.name) for path in paths]
    if double := [name for name in names if names.count(name) > 1]:
        raise InputError(f"Files of --also must have different names, got {double[0]} twice.", "Rename one.")
    return [(path.name, bundle.read(path)) for path in paths]
