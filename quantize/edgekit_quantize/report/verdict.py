"""What the numbers mean, in sentences: the same in HTML, in Markdown and on the terminal."""

from __future__ import annotations

from edgekit_quantize.report.changes import Change, Direction
from edgekit_quantize.report.document import Document
from edgekit_quantize.report.facts import Group
from edgekit_quantize.report.gate import Gate, Measure, Outcome, least_images
from edgekit_quantize.report.statistics import Estimate, paired_drop, scaled
from edgekit_quantize.report.wording import interval, listed, number, p_value, plural, signed, size, too_few

# An interval that reaches further than so many points to either side tells nothing that anyone could use.
MEANINGLESS = 2.5
# What one wants to know a drop to.
USEFUL = 0.5
_MOST_NAMED = 5
_WORDS = {Outcome.PASSED: "passed", Outcome.FAILED: "failed", Outcome.UNDECIDED: "too few images to decide"}


def headline(document: Document) -> str:
    """The verdict: what the format costs, how sure that is, on how many images."""
    name, drop, images = document.judged.name, document.drop.points, f"n = {document.data.images:,}"
    if number(drop.value).startswith("−"):
        return f"{name} gains {number(-drop.value)} points (95 % interval of the loss {interval(drop)}, {images})"
    return f"{name} loses {number(drop.value)} points (95 % interval {interval(drop)}, {images})"


def badges(document: Document) -> list[tuple[str, str]]:
    """(outcome, a few words) of each gate, of what makes gates worthless, and of the baseline."""
    shown = [(gate.outcome.value, f"{_limit(gate)}: {_WORDS[gate.outcome]}") for gate in document.gates]
    if shown and like_chance(document):
        shown.append(("failed", "float is like chance"))
    if document.since is not None:
        worse = plural(len(document.regressions), "regression")
        shown.append(
            ("failed", f"baseline: {worse}") if document.regressions else ("passed", "baseline: no regression")
        )
    return shown or [("", "no gate set")]


def line(document: Document) -> str:
    """Headline, gates and what collapsed in one line."""
    words = [headline(document), *(words for outcome, words in badges(document) if outcome)]
    names = [title(group) for group in _collapsed(document)]
    return "; ".join([*words, f"collapsed: {listed(names)}"] if names else words)


def sentences(document: Document) -> list[str]:
    """Everything that belongs beside the verdict, the most important first."""
    chance = like_chance(document)
    found = [
        chance,
        _collapse(document),
        _suspected(document),
        "" if chance else _few_images(document),
        *_gates(document),
        _baseline(document),
        _flips(document),
    ]
    found += [_groups(document.classes, "class", "classes"), _groups(document.subgroups or (), "subgroup", "subgroups")]
    found += [_skipped(document), _empty(document)]
    return [sentence for sentence in found if sentence]


def gate_sentence(document: Document, gate: Gate) -> str:
    """What a gate's outcome means."""
    is_drop = gate.measure is Measure.DROP
    figure = "drop's" if is_drop else "agreement's"
    wanted = f"the allowed {gate.limit:g} points" if is_drop else f"the wanted {gate.limit:g} %"
    if gate.outcome is Outcome.PASSED:
        return f"Even the {'upper' if is_drop else 'lower'} end of the {figure} interval keeps to {wanted}."
    if gate.outcome is Outcome.FAILED:
        return f"Even the {'lower' if is_drop else 'upper'} end of the {figure} interval misses {wanted}."
    needed = f"About {gate.images_needed:,}" if gate.images_needed else "More"
    return (
        f"{too_few(document.data.images)}: the {figure} interval reaches to both sides of "
        f"{wanted}. {needed} images like these would decide."
    )


def change_line(change: Change) -> str:
    """Such as "class cat: 81.0 → 72.5 %, −8.50 points (−11.20 … −5.80)"."""
    return f"{change.what}: {change_figures(change)}"


def change_figures(change: Change) -> str:
    """The same without "class cat"."""
    before, after = (size(v) if change.unit == "bytes" else number(v) for v in (change.before, change.after))
    unit = "" if change.unit == "bytes" else f" {change.unit}"
    gain = change.difference
    tail = f", {signed(gain.value)} points ({interval(gain)})" if gain else ""
    return f"{before} → {after}{unit}{tail}"


def _limit(gate: Gate) -> str:
    return f"gate {gate.limit:g} points" if gate.measure is Measure.DROP else f"gate {gate.limit:g} % agreement"


def _gates(document: Document) -> list[str]:
    if not document.gates:
        return ["Give --max-drop or --min-agreement to turn this report into a gate."] if not document.since else []
    return [gate_sentence(document, gate) for gate in document.gates]


def _few_images(document: Document) -> str:
    """Unless they show all the same that something is lost or gained, or a gate has its own sentence."""
    drop, images = document.drop.points, document.data.images
    if _half(drop) <= MEANINGLESS or document.gates or not drop.low <= 0.0 <= drop.high:
        return ""
    counts = document.drop.counts
    wanted = least_images(images, lambda times: _half(paired_drop(scaled(counts, times))) <= USEFUL)
    return (
        f"{plural(images, 'image')} {'tells' if images == 1 else 'tell'} next to nothing: the interval is "
        f"{number(2.0 * _half(drop), 1)} points wide."
        + (f" About {wanted:,} images would tell the drop to ±{USEFUL:g} points." if wanted else "")
    )


def _half(drop: Estimate) -> float:
    return (drop.high - drop.low) / 2.0


def _baseline(document: Document) -> str:
    if document.since is None:
        return ""
    better = [change.what for change in document.changes if change.direction is Direction.BETTER]
    worse = [change_line(change) for change in document.regressions]
    parts = [f"worse: {listed(worse)}"] if worse else []
    parts += [f"better: {listed(better)}"] if better else []
    return f"Since the baseline {'; '.join(parts) or 'nothing got better or worse beyond chance'}."


def _collapse(document: Document) -> str:
    names = [f"{title(g)} ({number(g.float_top1, 0)} → {number(g.model_top1, 0)} %)" for g in _collapsed(document)]
    return f"Collapsed: {listed(names)}." if names else ""


def like_chance(document: Document) -> str:
    """A sentence if the reference may as well not look at the images, else ""."""
    if not document.is_like_chance:
        return ""
    return (
        f"Float top-1 of {number(document.reference.top1.value)} % cannot be told from chance on "
        f"{plural(document.data.images, 'image')}: the drop says nothing. Take more images if these are few; "
        "else check the class names and their order, the preprocessing and the training."
    )


def _suspected(document: Document) -> str:
    groups = [g for g in (*document.classes, *(document.subgroups or ())) if g.is_suspect]
    worst = sorted(groups, key=lambda g: (-g.drop.value, g.label))[:_MOST_NAMED]
    names = [
        f"{title(g)} ({number(g.float_top1, 0)} → {number(g.model_top1, 0)} %, {plural(g.images, 'image')})"
        for g in worst
    ]
    more = f" and {len(groups) - len(worst)} more" if len(groups) > len(worst) else ""
    return f"Lost much, on too few images to be sure: {listed(names)}{more}." if names else ""


def _collapsed(document: Document) -> list[Group]:
    """Classes and subgroups that lost very much, the worst first."""
    groups = [g for g in (*document.classes, *(document.subgroups or ())) if g.has_collapsed]
    return sorted(groups, key=lambda g: (-g.drop.value, g.label))


def _flips(document: Document) -> str:
    drop = document.drop
    p = p_value(drop.mcnemar_p)
    lost, gained = plural(drop.counts.lost, "image"), f"{drop.counts.gained:,}"
    flips = f"{lost} went from right to wrong and {gained} from wrong to right"
    if not drop.counts.lost + drop.counts.gained:
        return "No image went from right to wrong or back."
    if drop.mcnemar_p < 0.05:
        return f"{flips}: one-sided beyond chance (McNemar's exact test, {p})."
    return f"{flips}: symmetric within chance (McNemar's exact test, {p})."


def _groups(groups: tuple[Group, ...], one: str, many: str) -> str:
    """Which of them changed beyond chance."""
    if not groups:
        return ""
    worse = [title(g) for g in sorted(groups, key=lambda g: -g.drop.value) if g.direction is Direction.WORSE]
    better = [title(g) for g in groups if g.direction is Direction.BETTER]
    parts = [f"{word}: {listed(names)}" for word, names in (("worse", worse), ("better", better)) if names]
    if parts:
        return f"Beyond chance, over {plural(len(groups), one, many)} (Benjamini–Hochberg), {'; '.join(parts)}."
    return f"None of {plural(len(groups), one, many)} got better or worse beyond chance."


def _skipped(document: Document) -> str:
    count = len(document.data.skipped)
    return f"{plural(count, 'image')} could not be read and {'is' if count == 1 else 'are'} left out." if count else ""


def _empty(document: Document) -> str:
    empty = list(document.data.empty_classes)
    return f"No image of {plural(len(empty), 'class', 'classes')}: {listed(empty)}." if empty else ""


def title(group: Group) -> str:
    """Such as "cat" or "light = night"."""
    return f"{group.column} = {group.label}" if group.column else group.label
