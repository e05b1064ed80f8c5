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
    """One row per stage or file: top-1, drop, latency where it was measured."""
    table = Table(title=f"{escape(document.data.name)}: {document.data.images:,} images")
    for name in (
        "",
        "top-1 %",
        *(["top-5 %"] if document.has_top5 else []),
        "drop, points",
        "size",
        "p50 ms",
        "runs on",
    ):
        table.add_column(name, justify="left" if name in ("", "runs on") else "right", overflow="fold")
    costs = {row.name: row for row in document.costs.rows}
    for stage in document.stages:
        cost = costs.get(stage.name)
        top5 = [wording.number(stage.top5.value) if stage.top5 else ""] if document.has_top5 else []
        latency = wording.number(cost.p50_ms) if cost and cost.p50_ms is not None else ""
        drop = _cell(stage.drop.points if stage.drop else None)
        size = wording.size(cost.size) if cost else ""
        table.add_row(escape(stage.name), _cell(stage.top1), *top5, drop, size, latency, escape(stage.runs_on))
    return table


def print_summary(document: Document, files: Sequence[Path]) -> None:
    """Print table, verdict and where the files are, on stdout."""
    console = Console(highlight=False)
    console.print(summary_table(document))
    console.print(escape(verdict.line(document)), style=_STYLES[document.outcome], soft_wrap=True)
    for sentence in verdict.sentences(document):
        console.print(escape(sentence), soft_wrap=True)
    agreement = document.drop.agreement
    console.print(f"Same answer on {wording.number(agreement.value)} % of the images.", soft_wrap=True)
    console.print(f"Report: {escape(', '.join(str(path) for path in files))}", soft_wrap=True)


def _cell(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"{wording.number(estimate.value)}\n{wording.interval(estimate)}"
