"""Numbers and verdicts in words, the same in HTML and on the terminal."""

from __future__ import annotations

from edgekit_quantize.report.document import Document
from edgekit_quantize.report.gate import Outcome
from edgekit_quantize.report.statistics import Estimate


def number(value: float, digits: int = 2) -> str:
    """Fixed digits, thousands set apart, a real minus sign, no minus on a rounded zero."""
    text = f"{value:,.{digits}f}"
    if text.startswith("-") and not text.strip("-0.,"):
        text = text[1:]
    return text.replace("-", "−")


def interval(estimate: Estimate, digits: int = 2) -> str:
    """Such as "−0.05 … 0.29"."""
    return f"{number(estimate.low, digits)} … {number(estimate.high, digits)}"


def p_value(p: float) -> str:
    """Such as "p = 0.31" or "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def size(count: int) -> str:
    """Bytes as kB or MB (powers of ten)."""
    return f"{number(count / 1e6, 2)} MB" if count >= 1e6 else f"{number(count / 1e3, 1)} kB"


def headline(document: Document) -> str:
    """The verdict: what the format costs, how sure that is, on how many images."""
    name, drop, images = document.model.format, document.drop.points, f"n = {document.data.images:,}"
    if number(drop.value).startswith("−"):
        gained = number(-drop.value)
        return f"{name} gains {gained} points (95 % interval of the loss {interval(drop)}, {images})"
    return f"{name} loses {number(drop.value)} points (95 % interval {interval(drop)}, {images})"


def gate_badge(document: Document) -> str:
    """Two or three words on the gate."""
    if document.gate is None:
        return "no gate set"
    limit = f"gate {document.gate.max_drop:g} points"
    words = {Outcome.PASSED: "passed", Outcome.FAILED: "failed", Outcome.UNDECIDED: "too few images to decide"}
    return f"{limit}: {words[document.gate.outcome]}"


def gate_sentence(document: Document) -> str:
    """What the gate's outcome means."""
    gate = document.gate
    if gate is None:
        return "Give --max-drop to turn this report into a gate."
    limit = f"{gate.max_drop:g} points"
    if gate.outcome is Outcome.PASSED:
        return f"Even the upper end of the interval is within the allowed {limit}."
    if gate.outcome is Outcome.FAILED:
        return f"Even the lower end of the interval is beyond the allowed {limit}."
    needed = f"About {gate.images_needed:,}" if gate.images_needed else "More"
    return f"The interval reaches to both sides of the allowed {limit}. {needed} images would decide."


def significance(document: Document) -> str:
    """Whether the difference could be chance."""
    drop = document.drop
    p = p_value(drop.mcnemar_p)
    lost, gained = f"{drop.counts.lost:,}", f"{drop.counts.gained:,}"
    flips = f"{lost} images went from right to wrong and {gained} from wrong to right"
    if drop.mcnemar_p < 0.05:
        return f"{flips}: more than chance explains (McNemar's exact test, {p})."
    return f"{flips}: chance alone could explain that (McNemar's exact test, {p})."


def class_note(document: Document) -> str:
    """Which classes changed beyond chance."""
    worse = [row.label for row in document.classes if row.has_changed and row.drop.value > 0]
    better = [row.label for row in document.classes if row.has_changed and row.drop.value < 0]
    if not worse and not better:
        return f"None of {len(document.classes):,} classes got better or worse beyond chance."
    parts = [f"{word}: {', '.join(names)}" for word, names in (("worse", worse), ("better", better)) if names]
    return f"Beyond chance {'; '.join(parts)}."
