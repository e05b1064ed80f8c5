"""A one-slot mailbox between the capture thread and the loop: the newest frame wins, and every frame is accounted for.

At any time: captured = taken + dropped + (1 if a frame waits in the slot). After `close_reader` the slot is empty, so
captured = taken + dropped, exactly.
"""

from __future__ import annotations

import threading

from edgekit_deploy.sources.frames import Frame


class Mailbox:
    """See the module.

    Args:
        lossless: `put` waits until the slot is free instead of replacing the frame in it.
    """

    def __init__(self, lossless: bool = False) -> None:
        self._lossless = lossless
        self._changed = threading.Condition()
        self._slot: Frame | None = None
        self._is_writer_done = False
        self._is_reader_done = False
        self._error: BaseException | None = None
        self._captured = self._taken = self._dropped = 0

    def put(self, frame: Frame) -> bool:
        """Offer a frame; False tells the writer that nobody reads any more."""
        with self._changed:
            self._captured += 1
            while self._lossless and self._slot is not None and not self._is_reader_done:
                self._changed.wait()
            if self._is_reader_done:
                self._dropped += 1
                return False
            self._dropped += self._slot is not None
            self._slot = frame
            self._changed.notify_all()
            return True

    def get(self, timeout: float) -> Frame | None:
        """The newest frame, waiting at most `timeout` seconds for one; None if none came (see `is_over`).

        Raises:
            Whatever ended the writer, once the last frame has been taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._slot is not None or self._is_writer_done, timeout)
            frame, self._slot = self._slot, None
            if frame is not None:
                self._taken += 1
                self._changed.notify_all()
                return frame
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            return None

    @property
    def is_over(self) -> bool:
        """The writer has finished and its last frame has been taken."""
        with self._changed:
            return self._is_writer_done and self._slot is None and self._error is None

    def close_writer(self, error: BaseException | None = None) -> None:
        """No more frames; `error` is what went wrong, to be raised by `get`."""
        with self._changed:
            self._is_writer_done = True
            self._error = error
            self._changed.notify_all()

    def close_reader(self) -> None:
        """Nobody will take frames any more; one that waits counts as dropped."""
        with self._changed:
            self._is_reader_done = True
            self._dropped += self._slot is not None
            self._slot = None
            self._changed.notify_all()

    def counts(self) -> tuple[int, int, int]:
        """(captured, taken, dropped), of one moment."""
        with self._changed:
            return self._captured, self._taken, self._dropped
