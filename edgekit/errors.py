"""The error family: one clear line for the user ("X must be Y, got Z"), the remedy, and an exit code."""

from __future__ import annotations


class EdgekitError(Exception):
    """Base of every error that edgekit raises on purpose.

    Args:
        message: What is wrong, as one sentence: "X must be Y, got Z".
        remedy: What the user can do about it, as one sentence. May be empty.
    """

    exit_code = 4

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        """One line: the message, then the remedy."""
        return f"{self.message} {self.remedy}".strip()


class GateError(EdgekitError):
    """A check that the user asked for did not pass (accuracy drop, self-test)."""

    exit_code = 1


class InputError(EdgekitError):
    """The user's input cannot be used: a wrong option, file, folder or image."""

    exit_code = 2


class MissingError(EdgekitError):
    """Something that must be installed or plugged in is not: an extra, a camera, a data source."""

    exit_code = 3
