"""The summary on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgekit_quantize.report import verdict, wording
from edgekit_quantize.report.document import Document
from edgekit_quantize.report.gate import Outcome
from edgekit_quantize.report.statistics import Estimate

_STYLES = {Outcome.PASSED: "bold green", Outcome.FAILED: "bold red", Outcome.UNDECIDED: "bold yellow", None: "bold"}


def summary_table(document: Document) -> Table:
    """One row per stage or file: accuracy against float, and latency where it was measured; fits 80 columns."""
    table = Table(title=f"{escape(document.data.name)}: {document.data.images:,} images")
    table.add_column("", overflow="fold")
    for name in ("top-1 %", "drop, points", "same %", "size", "p50 ms"):
        table.add_column(name, justify="right", no_wrap=True)
    costs = {row.name: row for row in document.costs.rows}
    for stage in document.stages:
        cost = costs.get(stage.name)
        latency = wording.number(cost.p50_ms) if cost and cost.p50_ms is not None else ""
        drop = _cell(stage.drop.points if stage.drop else None)
        agreement = wording.number(stage.drop.agreement.value) if stage.drop else ""
        size = wording.size(cost.size) if cost else ""
        table.add_row(escape(stage.name), _cell(stage.top1), drop, agreement, size, latency)
    return table


def print_summary(document: Document, files: Sequence[Path]) -> None:
    """Print table, verdict and where the files are, on stdout."""
    console = Console(highlight=False)
    console.print(summary_table(document))
    console.print(escape(verdict.line(document)), style=_STYLES[document.outcome], soft_wrap=True)
    for sentence in verdict.sentences(document):
        console.print(escape(sentence), soft_wrap=True)
    console.print(f"Report: {escape(', '.join(str(path) for path in files))}", soft_wrap=True)


def _cell(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"{wording.number(estimate.value)}\n{wording.interval(estimate)}"
