"""`edgekit report`."""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.errors import InputError


@click.command(
    epilog="""\b
Examples:
  edgekit report model.tflite --reference model.pt --data photos/val --out report.html
  edgekit report model.tflite --reference model.pt --data photos/val --out report.html --max-drop 0.5
"""
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--reference", required=True, help="The float checkpoint, or mobilenet_v2:imagenet.")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="DIR/<class>/*.jpg; val/ in it is taken.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The HTML file to write.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="The JSON file. [default: beside --out]")
@click.option("--max-drop", type=float, help="Fail unless the drop is certainly within so many percentage points.")
@click.option("--batch", type=click.IntRange(1), default=16, show_default=True, help="Images at a time in PyTorch.")
@click.option("--threads", type=click.IntRange(1), help="Processors to use. [default: all]")
def command(
    model: Path,
    reference: str,
    data: Path,
    out: Path,
    json_path: Path | None,
    max_drop: float | None,
    batch: int,
    threads: int | None,
) -> None:
    """Accuracy of MODEL, of whatever format, against the float checkpoint that it was made from.

    Both see the same images. Writes one self-contained HTML page and a JSON file, and prints the verdict. With
    --max-drop the exit code is 1 unless the upper end of the 95 % interval of the drop is within the limit.
    """
    from edgekit import bundle
    from edgekit.files import check_writable
    from edgekit_quantize.report.gate import check_limit
    from edgekit_quantize.report.labels import held_out_folder
    from edgekit_quantize.report.make import make_report, write_report
    from edgekit_quantize.report.table import print_summary
    from edgekit_quantize.source import load_float

    json_path = json_path or out.with_suffix(".json")
    if max_drop is not None:
        check_limit(max_drop)
    _check_outputs([out, json_path], [model, Path(reference)])
    # What can fail at once fails before the long work.
    converted = bundle.read(model)
    float32, reference_sha256 = load_float(reference)
    images = held_out_folder(data)
    for target in (out, json_path):
        check_writable(target)
    report = make_report(
        float32,
        converted,
        images,
        max_drop=max_drop,
        data_name=str(data),
        reference_sha256=reference_sha256,
        batch=batch,
        threads=threads,
    )
    write_report(report, out, json_path)
    print_summary(report.document, out, json_path)
    report.check_gate()


def _check_outputs(outputs: list[Path], inputs: list[Path]) -> None:
    places = [path.resolve() for path in outputs]
    if len(set(places)) < len(places):
        raise InputError(f"--out and --json must be two files, got {outputs[0]} for both.")
    for path in inputs:
        if path.resolve() in places:
            raise InputError(f"The output must not be an input, got {path} as both.", "Choose another --out or --json.")
