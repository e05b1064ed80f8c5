"""`edgekit bench`: latency of a model on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from edgekit_deploy.bench import Bench, Machine


def _thread_list(_context: click.Context, _option: click.Parameter, value: str) -> list[int]:
    """Numbers of threads: "1,2,4" is [1, 2, 4]."""
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isdecimal() and 1 <= int(part) <= 64 for part in parts):
        raise click.BadParameter(f"must be numbers of threads such as 1,2,4, got {value!r}.")
    return [int(part) for part in parts]


@click.command("bench")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--threads",
    default=lambda: ",".join(map(str, _default_threads())),
    callback=_thread_list,
    show_default="1 and all cores",
    help="Numbers of threads to try, with commas.",
)
@click.option("--seconds", type=click.FloatRange(min=0.05), default=3.0, help="Time per number of threads.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(model: Path, threads: list[int], seconds: float, as_json: bool) -> None:
    """Measure MODEL: the network alone, and the whole way from a 640×480 camera frame to the top five.

    \b
    Examples:
      edgekit bench model.tflite
      edgekit bench model.tflite --threads 1,2,4 --seconds 10 --json
    """
    import dataclasses
    import json

    from rich.console import Console

    from edgekit_deploy.bench import run_bench, this_machine

    benches = [run_bench(model, count, seconds) for count in threads]
    machine = this_machine()
    if as_json:
        results = [dataclasses.asdict(bench) for bench in benches]
        click.echo(json.dumps({"machine": dataclasses.asdict(machine), "results": results}, indent=1))
    else:
        Console(highlight=False).print(_table(model, machine, benches))


def _default_threads() -> list[int]:
    from edgekit.runtime import available_cores

    return sorted({1, available_cores()})


def _table(model: Path, machine: Machine, benches: list[Bench]) -> Table:
    from rich.table import Table

    table = Table(title=f"{model.name} on {machine.board}", caption=f"{machine.runtime}, Python {machine.python}")
    for name in ("threads", "kernels", "load ms", "what", "p50 ms", "p90 ms", "p99 ms", "runs"):
        table.add_column(name, justify="left" if name in ("kernels", "what") else "right")
    for bench in benches:
        for what, line in (("network", bench.invoke), ("frame to top 5", bench.frame)):
            figures = [f"{value:.3f}" for value in (line.p50, line.p90, line.p99)]
            row = [str(bench.threads), bench.kernels, f"{bench.load_ms:.1f}"]
            table.add_row(*(row if what == "network" else ["", "", ""]), what, *figures, str(line.count))
    return table
