"""`edgekit doctor`: check this machine, and a model's golden samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.shipped import model_argument

if TYPE_CHECKING:
    from rich.table import Table

    from edgekit_deploy.checks import Check

COLOURS = {"ok": "green", "note": "yellow", "broken": "bold red"}


@click.command("doctor")
@model_argument(required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON instead of a table.")
def command(model: Path | None, as_json: bool) -> None:
    """Check this machine and, if given, MODEL: does it give the same bits here as where it was made?

    \b
    Examples:
      edgekit doctor
      edgekit doctor cifar10
      edgekit doctor model.tflite --json

    Exit code 1 if something is broken; notes do not count.
    """
    import dataclasses
    import json

    from rich.console import Console

    from edgekit.errors import GateError
    from edgekit_deploy.checks import Verdict
    from edgekit_deploy.doctor import check_machine

    checks = list(check_machine())
    if model is not None:
        checks += _model_checks(model, checks)
    broken = [check.name for check in checks if check.verdict is Verdict.BROKEN]
    if as_json:
        plain = {"ok": not broken, "checks": [dataclasses.asdict(check) for check in checks]}
        click.echo(json.dumps(plain, indent=1))
    else:
        Console(highlight=False).print(_table(checks))
    if broken:
        raise GateError(f"Every check must pass, got {len(broken)} broken: {', '.join(broken)}.")


def _model_checks(model: Path, machine: list[Check]) -> list[Check]:
    """The model's checks, unless the machine lacks what they need."""
    from edgekit_deploy.checks import Check, Verdict

    needed = {"numpy", "OpenCV", "runtime"}
    if any(check.name in needed and check.verdict is Verdict.BROKEN for check in machine):
        return [Check("model", Verdict.NOTE, "not looked at", "Mend the above first.")]
    from edgekit_deploy.self_test import check_model

    return list(check_model(model))


def _table(checks: list[Check]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="edgekit doctor")
    for name in ("check", "", "found", "what to do"):
        table.add_column(name)
    for check in checks:
        verdict = Text(check.verdict.value, style=COLOURS[check.verdict.value])
        table.add_row(check.name, verdict, Text(check.found), Text(check.remedy))
    return table
