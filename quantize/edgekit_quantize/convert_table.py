"""What a conversion shows on the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.table import Table

from edgekit.progress import console
from edgekit.runtime import Kernels
from edgekit_quantize.choose import Attempt
from edgekit_quantize.convert import Conversion
from edgekit_quantize.proof import Proof
from edgekit_quantize.verify import Check

_SKIPPED_SHOWN = 10


def show(result: Conversion, out: str) -> None:
    """Print the recipes if several were tried, the stages with their checks, and what the user should know."""
    attempts = result.choice.attempts
    if len(attempts) > 1 or attempts[0].drop is not None:
        console.print(_recipes(result))
    console.print(_stages(result, out))
    for line in result.warnings:
        console.print(line, style="yellow", markup=False)
    if result.skipped:
        console.print(f"[yellow]{len(result.skipped)} calibration images skipped:[/yellow]")
        for line in result.skipped[:_SKIPPED_SHOWN]:
            console.print(f"  {line}", markup=False)


def _stages(result: Conversion, out: str) -> Table:
    table = Table("stage", "seconds", "check", title=f"Converted to {out}")
    checks = {
        f"to {c.name.rpartition('→ ')[2]}": f"max abs error {c.error:.1e} (bound {c.bound:.1e}), n = {c.images}"
        for c in result.comparisons
    }
    recipe = result.choice.candidate.recipe
    checks["quantize"] = f"{recipe.name}: {_distance(result.check)}, n = {result.check.images}"
    if result.proof is not None:
        checks["prove"] = "\n".join(_proved(result.proof))
    for stage, seconds in result.seconds.items():
        table.add_row(stage, f"{seconds:.1f}", checks.get(stage, ""))
    table.add_row("total", f"{sum(result.seconds.values()):.1f}", f"{len(result.data) / 1e6:.2f} MB", style="bold")
    return table


def _recipes(result: Conversion) -> Table:
    table = Table("recipe", "seconds", "against float", "top-1 drop (95 %)", "", title="Recipes tried")
    for attempt in result.choice.attempts:
        candidate = attempt.candidate
        chosen = candidate is result.choice.candidate
        table.add_row(
            attempt.recipe.name,
            "" if candidate is None else f"{candidate.seconds:.1f}",
            "" if candidate is None else _distance(candidate.check),
            _drop(attempt),
            ", ".join(filter(None, ("chosen" if chosen else "", attempt.note))),
            style="bold" if chosen else "",
        )
    return table


def _proved(proof: Proof) -> Iterator[str]:
    takes = "all" if proof.kernels is Kernels.XNNPACK else "a part"
    yield f"{proof.contents.operators} operators, all int8, weights per channel; XNNPACK takes {takes}"
    for parity in proof.parity:
        yield (
            f"{parity.kernels} kernels: up to {parity.largest} LSB (mean {parity.mean:.2f}), "
            f"other top-1 {parity.other_answer:.1%}, n = {parity.images}"
        )


def _distance(check: Check) -> str:
    sqnr = f"SQNR {check.sqnr_db:.1f} dB" if math.isfinite(check.sqnr_db) else "same logits"
    return f"{sqnr}, same top-1 {check.agreement:.1%}"


def _drop(attempt: Attempt) -> str:
    drop = attempt.drop
    return "" if drop is None else f"{drop.value:.2f} ({drop.low:.2f} … {drop.high:.2f})"
