"""The summary for a pull request: GitHub's Markdown, short enough to be read there."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit_quantize.report.changes import Direction
from edgekit_quantize.report.document import Document
from edgekit_quantize.report.facts import Stage
from edgekit_quantize.report.statistics import Estimate
from edgekit_quantize.report.verdict import change_line, line, sentences, title
from edgekit_quantize.report.wording import interval, number, operations, p_value, size

_MOST_CLASSES = 5
_SPECIAL = "\\`*_[]<>#|~$&!"


def to_markdown(document: Document) -> str:
    """The verdict, stages, the classes that lost most, costs, hashes."""
    parts = [f"**{escape(line(document))}**", "\n".join(f"- {escape(text)}" for text in sentences(document))]
    parts += [_stages(document), _classes(document), _costs(document)]
    if document.since is not None:
        parts.append("\n".join(["Since the baseline:", "", *(f"- {escape(change_line(c))}" for c in document.changes)]))
    parts.append(
        f"<sub>model `{document.model.file_sha256[:12]}`, images `{document.data.data_sha256[:12]}`, "
        f"edgekit {document.tools.get('edgekit', '')}</sub>"
    )
    return (
        f"### {escape(document.model.name)} on {escape(document.data.name)}\n\n"
        + "\n\n".join(filter(None, parts))
        + "\n"
    )


def escape(text: str) -> str:
    """So that names from outside are text and nothing else: no markup, and no mention of anyone."""
    plain = "".join(f"&#{ord(c)};" if c in _SPECIAL else c for c in text)
    # GitHub looks for @name after it has decoded everything; a word joiner stands between.
    return " ".join(plain.split()).replace("@", "@\u2060")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _stages(document: Document) -> str:
    head = ["", "top-1 %", *(["top-5 %"] if document.has_top5 else []), "drop, points", "same answer %", "ECE", "NLL"]
    return _table(head, [_stage(stage, has_top5=document.has_top5) for stage in document.stages])


def _stage(stage: Stage, *, has_top5: bool) -> list[str]:
    top5 = [_cell(stage.top5)] if has_top5 else []
    drop = [_cell(stage.drop.points), number(stage.drop.agreement.value)] if stage.drop else ["", ""]
    name = escape(stage.name)
    return [name, _cell(stage.top1), *top5, *drop, number(stage.calibration_error), number(stage.nll, 4)]


def _classes(document: Document) -> str:
    groups = [*document.classes, *(document.subgroups or ())]
    worst = sorted(groups, key=lambda g: (g.direction is not Direction.WORSE, -g.drop.value, g.label))[:_MOST_CLASSES]
    rows = [
        [
            escape(title(g)),
            number(g.float_top1, 1),
            number(g.model_top1, 1),
            _cell(g.drop, 1),
            f"**{p_value(g.adjusted_p)}**" if g.direction is Direction.WORSE else p_value(g.adjusted_p),
            f"{g.images:,}",
        ]
        for g in worst
        if g.drop.value > 0
    ]
    return _table(["lost most", "float %", "model %", "drop, points", "adjusted p", "images"], rows) if rows else ""


def _costs(document: Document) -> str:
    rows = [
        [
            escape(row.name),
            size(row.size),
            operations(row.macs) if row.macs is not None else "",
            " / ".join(number(v) for v in (row.p50_ms, row.p90_ms, row.p99_ms) if v is not None),
            str(row.threads or ""),
            number(row.peak_mib, 0) if row.peak_mib is not None else "",
        ]
        for row in document.costs.rows
    ]
    head = ["cost", "size", "MACs", "p50 / p90 / p99 ms", "threads", "peak MiB"]
    return f"{_table(head, rows)}\n\n<sub>{escape(document.costs.machine)}</sub>" if rows else ""


def _cell(estimate: Estimate | None, digits: int = 2) -> str:
    return "" if estimate is None else f"{number(estimate.value, digits)} ({interval(estimate, digits)})"
