"""The capture thread: reads a source into a mailbox, so that inference never waits behind old frames."""

from __future__ import annotations

import threading
from typing import Self

from edgekit_deploy.mailbox import Mailbox
from edgekit_deploy.sources.frames import Frame, Source

JOIN_SECONDS = 5.0


class Capture:
    """Opens `source`, reads it in a thread of its own and closes it there.

    The thread closes the source because releasing a device under a blocked read crashes in OpenCV; a thread that
    stays blocked longer than JOIN_SECONDS is left behind (it is a daemon) rather than waited for.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._mailbox = Mailbox(source.lossless)
        self._thread = threading.Thread(target=self._run, name="edgekit-capture", daemon=True)

    def __enter__(self) -> Self:
        """Open the source (its errors are raised here) and start reading."""
        self._source.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop reading; afterwards `counts` no longer changes and captured = taken + dropped."""
        self._mailbox.close_reader()
        self._thread.join(JOIN_SECONDS)

    def get(self, timeout: float) -> Frame | None:
        """As `Mailbox.get`: what the thread failed with is raised here."""
        return self._mailbox.get(timeout)

    @property
    def is_over(self) -> bool:
        """The stream has ended and its last frame has been taken."""
        return self._mailbox.is_over

    def counts(self) -> tuple[int, int, int]:
        """(captured, taken, dropped) so far."""
        return self._mailbox.counts()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            for frame in self._source:
                if not self._mailbox.put(frame):
                    break
        except BaseException as raised:  # it surfaces in the main thread
            error = raised
        try:
            self._source.__exit__(None, None, None)
        except Exception as raised:
            error = error or raised
        self._mailbox.close_writer(error)
