"""When, where and with what a figure was measured: for the page, and so that a step is not taken twice."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from typing import Any

from benchmarks.side_by_side.environments import ENVIRONMENTS
from benchmarks.support import machine
from edgekit.train.record import git_state


def facts() -> dict[str, Any]:
    """The machine, the time, the commit and the versions of the peers, as locked."""
    return {
        "machine": machine() | {"kernel": platform.release()},
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        # What a run itself writes is no change of what it measures.
        "commit": git_state(beside=("benchmarks/results", "benchmarks/RESULTS.md")),
        "peers": {name: peer.versions() for name, peer in ENVIRONMENTS.items() if peer.versions()},
    }


def line(found: dict[str, Any]) -> str:
    """The same for a reader, without the versions."""
    where, commit = found["machine"], found["commit"] or {}
    processor = " ".join(where["processor"].split())
    what = f"edgekit {commit['commit'][:9]}{', changed' if commit.get('is_changed') else ''}" if commit else "edgekit"
    return f"{found['date']}, {where['cores']} cores, {processor}, {where['memory_gb']:g} GB, {what}"
