"""`edgekit demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from edgekit.demo.run import Results


@click.command()
@click.option("--quick", is_flag=True, help="Width 0.35 on 800 images: every step in two to five minutes.")
@click.option("--full", is_flag=True, help="Train on all 50,000 images.")
@click.option("--images", default=6000, show_default=True, type=click.IntRange(100, 50_000), help="Training images.")
@click.option("--clip-images", default=40, show_default=True, type=click.IntRange(1, 1000), help="Images in the clip.")
@click.option("--out", default="runs/demo", show_default=True, type=click.Path(path_type=Path), help="Results folder.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option("--threads", default=None, type=click.IntRange(1, 256), help="[default: all cores]")
@click.option("--resume", is_flag=True, help="Go on with an interrupted training.")
def command(out: Path, quick: bool, full: bool, threads: int | None, **options: int) -> None:
    """Everything on real data: train, convert, report, camera loop.

    Fetches CIFAR-10 and ImageNet weights on first use (about 150 to 185 MB), fine-tunes MobileNetV2, converts it to
    int8, compares both on the 10,000 test images, and classifies a clip made from them with the camera loop.

    \b
    Examples:
      edgekit demo
      edgekit demo --quick
      edgekit demo --full --out runs/full
    """
    if quick and full:
        raise InputError("--quick and --full must not come together, got both.", "Choose one.")
    from rich.console import Console

    from edgekit.demo.run import Plan, run_demo
    from edgekit.runtime import available_cores

    plan = Plan(folder=out, quick=quick, full=full, threads=threads or available_cores(), **options)  # type: ignore[arg-type]
    results = run_demo(plan)
    console = Console(highlight=False)
    console.print(result_table(results, out))
    console.print(next_steps(out), markup=False, soft_wrap=True)


def result_table(results: Results, out: Path) -> Table:
    """The figures of a demo."""
    from rich.table import Table

    table = Table("", "", title=f"Results in {out}", show_header=False)
    document, camera, conversion = results.document, results.camera, results.conversion
    if document is not None:
        for stage in document.stages:
            top5 = f", top-5 {stage.top5.value:.2f} %" if stage.top5 else ""
            table.add_row(stage.name, f"top-1 {stage.top1.value:.2f} %{top5}")
        drop, agreement = document.drop.points, document.drop.agreement
        interval = f"95 % interval {drop.low:.2f} to {drop.high:.2f}, n = {document.data.images:,}"
        table.add_row("drop", f"{drop.value:.2f} points ({interval})")
        table.add_row("same answer as float", f"{agreement.value:.2f} %")
    if conversion is not None:
        for comparison in conversion.comparisons:
            table.add_row(comparison.name, f"max abs error {comparison.error:.1e}")
        table.add_row("int8 logits SQNR", f"{conversion.check.sqnr_db:.1f} dB")
        table.add_row("model file", f"{len(conversion.data) / 1e6:.2f} MB")
    if camera is not None:
        invoke, age = camera.stages["invoke"], camera.stages["age"]
        accuracy = f"{100 * camera.accuracy:.1f} %" if camera.accuracy is not None else "unknown"
        table.add_row("camera accuracy", f"{accuracy} of {camera.judged} frames")
        table.add_row("camera frames", f"{camera.captured} = {camera.inferred} classified + {camera.dropped} dropped")
        table.add_row("invoke on this machine", f"p50 {invoke.p50:.2f} ms, p99 {invoke.p99:.2f} ms")
        table.add_row("frame age at decision", f"p50 {age.p50:.2f} ms, p99 {age.p99:.2f} ms")
    for title, seconds in results.seconds.items():
        table.add_row(f"time: {title.lower()}", f"{seconds:.0f} s")
    table.add_row("time: all", f"{sum(results.seconds.values()):.0f} s")
    return table


def next_steps(out: Path) -> str:
    """What to look at and what to type next."""
    return f"""
Look at   {out}/report.html  and  {out}/camera.mp4
Next      edgekit doctor {out}/model.tflite
          edgekit bench {out}/model.tflite
          edgekit camera {out}/model.tflite --source 0
Your own  edgekit train photos/ --out model.pt
          edgekit convert model.pt --calibration photos/train --out model.tflite
          edgekit report model.tflite --reference model.pt --data photos/test --out report.html"""
