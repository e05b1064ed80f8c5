"""The summary on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgekit_quantize.report import wording
from edgekit_quantize.report.document import Document
from edgekit_quantize.report.gate import Outcome
from edgekit_quantize.report.statistics import Estimate

_STYLES = {Outcome.PASSED: "bold green", Outcome.FAILED: "bold red", Outcome.UNDECIDED: "bold yellow"}


def summary_table(document: Document) -> Table:
    """One row per model: top-1, top-5 where it means anything, size."""
    table = Table(title=f"{escape(document.data.name)}: {document.data.images:,} images")
    table.add_column("")
    table.add_column("top-1 %", justify="right")
    if document.has_top5:
        table.add_column("top-5 %", justify="right")
    table.add_column("size", justify="right")
    table.add_column("runs on")
    for stage in document.stages:
        top5 = [_cell(stage.top5)] if document.has_top5 else []
        table.add_row(stage.name, _cell(stage.top1), *top5, wording.size(stage.size), stage.runs_on)
    return table


def print_summary(document: Document, html_path: Path, json_path: Path) -> None:
    """Print table, verdict and where the files are, on stdout."""
    console = Console(highlight=False)
    console.print(summary_table(document))
    style = _STYLES[document.gate.outcome] if document.gate else "bold"
    console.print(wording.headline(document), style=style, soft_wrap=True)
    if document.gate:
        console.print(f"{wording.gate_badge(document)}. {wording.gate_sentence(document)}", soft_wrap=True)
    console.print(wording.significance(document), soft_wrap=True)
    agreement = document.drop.agreement
    console.print(f"Same answer on {wording.number(agreement.value)} % of the images.", soft_wrap=True)
    console.print(escape(wording.class_note(document)), soft_wrap=True)
    if document.data.skipped:
        console.print(f"Skipped: {len(document.data.skipped):,} unreadable images, listed in the report.")
    console.print(f"Report: {escape(str(html_path))}, {escape(str(json_path))}", soft_wrap=True)


def _cell(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"{wording.number(estimate.value)}\n{wording.interval(estimate)}"
