"""Devices on the terminal."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table


class States:
    """The state of each device while a bundle is brought to them.

    Args:
        hosts: All of them.
    """

    def __init__(self, hosts: Sequence[str]) -> None:
        self._states = dict.fromkeys(hosts, "waits")
        self._lock = threading.Lock()

    def tell(self, host: str, state: str) -> None:
        """A new state; from any thread."""
        with self._lock:
            self._states[host] = state

    def table(self) -> Table:
        """As it stands."""
        table = Table("device", "state")
        with self._lock:
            for host, state in self._states.items():
                table.add_row(escape(host), escape(state))
        return table


def status_table(rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """What devices answered when they were probed."""
    table = Table("device", "runs", "model", "before", "free", box=box.SIMPLE_HEAD)
    for column in table.columns:
        column.overflow = "fold"
    for host, found in rows.items():
        current, previous = found["current"] or {}, found["previous"] or {}
        table.add_row(
            escape(host),
            current.get("id", "nothing"),
            escape(current.get("model", "")),
            previous.get("id", ""),
            f"{found['free'] / 1e9:.1f} GB",
        )
    return table
