"""What `edgekit deploy push` does when something fails: each fault is planted in a real push, and watched.

    PYTHONPATH=tests python -m benchmarks.deploy_faults      (or: make bench-deploy; root, after make test-deploy)

Every row is a push to a real OpenSSH server on the loopback, with the device's part as it runs on a Raspberry Pi, and a
small wheel. A fault is survived if afterwards exactly one complete release is active (its signature and every hash are
right, its environment works), and the next push succeeds and leaves nothing behind. Exit code 1 if one is not.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from support.fleet import Sshd
from support.fleet_faults import FAULTS, Bed, full_disk
from support.fleet_kills import KILLS, kill_all
from support.small_disk import NoSmallDisk

from benchmarks.support import RESULTS, machine, markdown, write_results
from edgekit.errors import EdgekitError, GateError
from edgekit.progress import console

SURVIVED = "survived"


@dataclass(frozen=True)
class Row:
    """One fault.

    Attributes:
        fault: What went wrong.
        told: What the one who pushes was told.
        active: Which release was active afterwards: "old" or "new".
        outcome: SURVIVED, or why not.
    """

    fault: str
    told: str
    active: str
    outcome: str = SURVIVED


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "deploy_faults.json", show_default=True)
def main(out: Path) -> None:
    """Plant every fault and write what became of it."""
    with tempfile.TemporaryDirectory(prefix="edgekit-faults-") as name:
        folder = Path(name)
        server = Sshd(folder / "sshd")
        try:
            bed = Bed(folder / "bed", server.config)
            rows = [_plant(fault.name, lambda fault=fault: fault.happen(bed)) for fault in FAULTS]
            rows.append(_plant("the disk fills up during a push", lambda: full_disk(folder / "disk", server.config)))
        finally:
            server.stop()
        with console.status(f"killing {KILLS} times …"):
            rows.append(_plant(f"all processes killed at {KILLS} random file operations", lambda: _kill_all(folder)))
    table = markdown(["fault", "what the pusher is told", "active afterwards"], [_cells(row, name) for row in rows])
    write_results(out, {"machine": machine(), "rows": [asdict(row) for row in rows]}, table)
    if failed := [row.fault for row in rows if row.outcome != SURVIVED]:
        raise GateError(f"Every fault must be survived, got {len(failed)} that were not: {'; '.join(failed)}.")


def _kill_all(folder: Path) -> tuple[str, str]:
    operations = kill_all(folder / "kills")
    return f"(killed; {operations} operations in four kinds of push)", "old or new"


def _plant(name: str, happen: Callable[[], tuple[str, str]]) -> Row:
    try:
        told, active = happen()
        row = Row(name, told, active)
    except NoSmallDisk as error:
        row = Row(name, "", "", f"not run: {error}")
    except AssertionError as error:
        row = Row(name, "", "", f"FAILED: {error}")
    console.print(f"{name}: {row.outcome}", markup=False)
    return row


def _cells(row: Row, folder: str) -> list[str]:
    told = " ".join(row.told.replace(folder, "…").split())
    told = f"{told[:139]}…" if len(told) > 140 else told
    return [row.fault, told if row.outcome == SURVIVED else f"**{row.outcome}**", row.active]


if __name__ == "__main__":
    try:
        main()
    except EdgekitError as error:
        console.print(str(error), markup=False)
        sys.exit(error.exit_code)
