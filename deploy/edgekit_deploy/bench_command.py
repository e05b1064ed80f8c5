"""`edgekit bench`: latency of a model on this machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.shipped import model_argument

if TYPE_CHECKING:
    from edgekit_deploy.bench import Bench
    from edgekit_deploy.cold_start import ColdStart
    from edgekit_deploy.sustained import Point, Sustained


def _thread_list(_context: click.Context, _option: click.Parameter, value: str) -> list[int]:
    """Numbers of threads: "1,2,4" is [1, 2, 4], "auto" is what `thread_counts` gives for all cores."""
    if value == "auto":
        from edgekit.runtime import available_cores
        from edgekit_deploy.threads import thread_counts

        return thread_counts(available_cores())
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isdecimal() and 1 <= int(part) <= 64 for part in parts):
        raise click.BadParameter(f"must be auto or numbers of threads such as 1,2,4, got {value!r}.")
    return list(dict.fromkeys(map(int, parts)))


@click.command("bench")
@model_argument()
@click.option(
    "--threads",
    default="auto",
    metavar="auto|N|N,N,...",
    callback=_thread_list,
    help="Numbers of threads to try; auto tries one to all cores.",
)
@click.option("--seconds", type=click.FloatRange(min=0.05), default=2.0, help="Time per number of threads.")
@click.option(
    "--cold-start",
    "repeats",
    type=click.IntRange(0, 100),
    default=3,
    help="Start so many fresh processes, and as many bare ones to compare; 0 leaves it out.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0.0),
    default=0.0,
    help="Then work so long without a pause, and watch heat, clock and throttling.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables: a result to hand in.")
def command(model: Path, threads: list[int], seconds: float, repeats: int, minutes: float, as_json: bool) -> None:
    """Measure MODEL: the network alone, the whole way from a 640×480 camera frame to the top five, and a cold start.

    \b
    Examples:
      edgekit bench cifar10                                    a model that comes along
      edgekit bench model.tflite --threads 1,2,4 --seconds 10 --cold-start 0
      edgekit bench model.tflite --minutes 10 --json > result.json

    The JSON names the board, the system, the versions and the model's hash, but no path, host or user. The sustained
    run uses the best number of threads.
    """
    import json

    from rich.console import Console

    from edgekit_deploy.bench import BenchResult, describe_model
    from edgekit_deploy.bench_report import report
    from edgekit_deploy.classifier import Classifier
    from edgekit_deploy.health import read_health
    from edgekit_deploy.machine import this_machine

    described, machine = describe_model(model), this_machine()
    # What cannot run is refused before there is a progress bar.
    Classifier.open(model)
    result = BenchResult(machine, described, _sweep(model, threads, seconds), read_health())
    best = result.best.threads
    if repeats:
        result = dataclasses.replace(result, cold_start=_cold_start(model, best, repeats))
    if minutes:
        result = dataclasses.replace(result, sustained=_sustained(model, best, 60.0 * minutes))
    if as_json:
        click.echo(json.dumps(result.to_plain(), indent=1))
    else:
        Console(highlight=False).print(report(result))


def _sweep(model: Path, threads: list[int], seconds: float) -> tuple[Bench, ...]:
    from edgekit.progress import progress_bar
    from edgekit_deploy.bench import run_bench

    with progress_bar(unit="numbers of threads") as bar:
        return tuple(run_bench(model, count, seconds) for count in bar.track(threads, description="Latency"))


def _cold_start(model: Path, threads: int, repeats: int) -> ColdStart:
    from edgekit.progress import progress_bar
    from edgekit_deploy.cold_start import measure_cold_start

    with progress_bar(unit="pairs of processes") as bar:
        task = bar.add_task("Cold start", total=repeats)
        return measure_cold_start(model, threads, repeats, step=lambda: bar.advance(task))


def _sustained(model: Path, threads: int, seconds: float) -> Sustained:
    from edgekit.progress import progress_bar
    from edgekit_deploy.classifier import Classifier
    from edgekit_deploy.noise import noise_frame
    from edgekit_deploy.sustained import run_sustained

    classifier = Classifier.open(model, threads)
    classifier.classify(noise_frame())
    with progress_bar("state", unit="s") as bar:
        task = bar.add_task("Sustained", total=round(seconds), state="")

        def show(point: Point) -> None:
            heat = "" if point.temperature is None else f", {point.temperature:.0f} °C"
            bar.update(task, completed=round(point.at), state=f"{point.p50:.2f} ms{heat}")

        return run_sustained(classifier, seconds, step=show)
