"""What the doctor says: one line of its table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a check went. Only BROKEN makes the doctor fail."""

    OK = "ok"
    NOTE = "note"
    BROKEN = "broken"


@dataclass(frozen=True)
class Check:
    """One line of the doctor's table.

    Attributes:
        name: What was looked at.
        verdict: How it is.
        found: What was found.
        remedy: What to do about it, a command line wherever there is one; "" if nothing.
    """

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""


def ok(name: str, found: str) -> Check:
    """Nothing to do."""
    return Check(name, Verdict.OK, found)


def note(name: str, found: str, remedy: str) -> Check:
    """Worth knowing, and it works."""
    return Check(name, Verdict.NOTE, found, remedy)


def broken(name: str, found: str, remedy: str) -> Check:
    """It cannot work like this."""
    return Check(name, Verdict.BROKEN, found, remedy)
