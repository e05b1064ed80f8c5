"""What `edgekit bench` shows on the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group
from rich.table import Table

from edgekit_deploy.bench import NO_PROFILE, Bench, BenchResult
from edgekit_deploy.cold_start import ColdStart
from edgekit_deploy.sustained import Sustained

# Rows of the sustained run's table; the JSON holds every point.
MOST_ROWS = 12
# A run that ends slower than this has lost its pace.
WORTH_TELLING = 1.05


def report(result: BenchResult) -> Group:
    """Everything, top to bottom."""
    parts: list[Table | str] = [_latencies(result)]
    if result.cold_start:
        parts.append(_cold_start(result.cold_start))
    if result.sustained:
        parts.append(_curve(result.sustained))
    return Group(*parts, "\n".join(_lines(result)))


def _latencies(result: BenchResult) -> Table:
    machine = result.machine
    table = Table(title=f"{result.model['name']} on {machine.board}")
    for name in ("threads", "load ms", "what", "p50 ms", "p90 ms", "p99 ms", "runs"):
        table.add_column(name, justify="left" if name == "what" else "right", no_wrap=True)
    for bench in result.benches:
        for row in _rows(bench, bench is result.best and len(result.benches) > 1):
            table.add_row(*row)
    return table


def _rows(bench: Bench, is_best: bool) -> Iterator[list[str]]:
    start = [f"{'★ ' if is_best else ''}{bench.threads}", f"{bench.load_ms:.1f}"]
    for what, line in (("network", bench.invoke), ("frame to top 5", bench.frame)):
        figures = [_ms(value) for value in (line.p50, line.p90, line.p99)]
        yield [*start, what, *figures, str(line.count)]
        start = ["", ""]


def _cold_start(cold: ColdStart) -> Table:
    table = Table(title=f"A fresh process (median of {cold.repeats})")
    table.add_column("what")
    for name in ("first answer ms", "peak MiB"):
        table.add_column(name, justify="right")
    table.add_row("edgekit camera", f"{cold.milliseconds:.0f}", _mib(cold.peak))
    table.add_row("bare script: numpy, OpenCV, runtime", f"{cold.bare_milliseconds:.0f}", _mib(cold.bare_peak))
    peak = "-" if cold.peak_ratio is None else f"{cold.peak_ratio:.2f}×"
    table.add_row("ratio", f"{cold.ratio:.2f}×", peak)
    return table


def _curve(run: Sustained) -> Table:
    table = Table(title=f"{run.seconds / 60:.1f} minutes without a pause, threads: {run.threads}")
    for name in ("minute", "frame to top 5, p50 ms", "°C", "MHz"):
        table.add_column(name, justify="right")
    table.add_column("slowed down by")
    every = -(-len(run.points) // MOST_ROWS)
    # Counted from the end: the last point is always among them.
    for point in run.points[::-1][::every][::-1]:
        heat = "-" if point.temperature is None else f"{point.temperature:.1f}"
        clock = "-" if point.frequency is None else f"{point.frequency:.0f}"
        flags = "-" if point.throttling is None else ", ".join(point.throttling.now) or "nothing"
        table.add_row(f"{point.at / 60:.2f}", f"{point.p50:.3f}", heat, clock, flags)
    return table


def _lines(result: BenchResult) -> Iterator[str]:
    machine, health = result.machine, result.health
    clock = "" if machine.max_frequency is None else f" at {machine.max_frequency:.0f} MHz"
    cores = f"{machine.cores} core{'s' if machine.cores > 1 else ''}"
    yield f"{machine.cpu}, {cores}{clock}; {machine.system}, {machine.architecture}, {machine.bits}-bit Python"
    kernels = " and ".join(dict.fromkeys(bench.kernels for bench in result.benches))
    yield f"{machine.runtime}, {kernels} kernels, Python {machine.python}, kernel {machine.kernel}"
    if health.temperature is not None:
        yield f"{health.temperature:.1f} °C after the run"
    if health.warning:
        yield f"Slowed down now: {health.warning}. These figures are lower than the board's best; see edgekit doctor."
    if len(result.benches) > 1:
        yield "★ The fastest network: what edgekit camera --threads auto would take here."
    if result.sustained:
        yield _verdict(result.sustained)
    yield f"Per operator: {NO_PROFILE}."


def _verdict(run: Sustained) -> str:
    change = f"p50 of the first {run.span:.0f} s {run.first.p50:.3f} ms, of the last {run.last.p50:.3f} ms"
    if run.slowdown <= WORTH_TELLING:
        return f"It keeps its pace: {change}."
    return f"It loses its pace, {run.slowdown:.2f}×: {change}."


def _ms(value: float) -> str:
    """Milliseconds in six characters, so that a row fits into a terminal of 80 columns."""
    return f"{value:.3f}" if value < 100.0 else f"{value:.1f}"


def _mib(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
