"""Outputs that are closed at the same time: what hangs does so for all of them at once."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Self, TypeVar

Output = TypeVar("Output")


class Together:
    """A context manager of others, like `contextlib.ExitStack`, that closes each in a thread of its own.

    For those that bound the time of their closing themselves, and do not need the main thread for it. All are closed,
    whatever one of them raises; the first error is raised then.
    """

    def __init__(self) -> None:
        self._open: list[AbstractContextManager[Any]] = []

    def __enter__(self) -> Self:
        """Nothing to do yet."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close them."""
        if len(self._open) < 2:
            for output in self._open:
                output.__exit__(None, None, None)
            return
        from concurrent.futures import ThreadPoolExecutor  # not needed before the end

        with ThreadPoolExecutor(len(self._open), "edgekit end") as pool:
            ends = [pool.submit(output.__exit__, None, None, None) for output in self._open]
        for end in ends:
            end.result()

    def enter(self, output: AbstractContextManager[Output]) -> Output:
        """Open `output`, to be closed with the others."""
        opened = output.__enter__()
        self._open.append(output)
        return opened
