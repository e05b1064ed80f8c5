"""The capture thread: opens a source and reads it into a mailbox, so that inference never waits behind old frames.

A live source that is lost, hangs (in its opening, too), or is not there yet is opened anew in another thread, with
growing pauses, for as long as it takes.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Self

from edgekit.errors import EdgekitError
from edgekit_deploy.mailbox import Mailbox
from edgekit_deploy.sources.frames import Frame, Source, SourceLost, SourceRefused

# A live source that gives no frame for so long hangs; one slower than a frame in two seconds gets three periods.
HANG_SECONDS = 2.0
HANG_PERIODS = 3.0
# Opening may take longer: sources give up by themselves after about five seconds.
OPEN_SECONDS = 10.0
# An opening that takes longer than this is told.
SLOW_SECONDS = 2.0
# Pauses before one attempt and the next; the last one for ever.
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
# Longer than a read that gives up by itself.
JOIN_SECONDS = 1.9
# Threads that hang in a driver cannot be ended; while there are so many, no new one is started.
MOST_STUCK_THREADS = 4
# A source that came back has to last so long before the next pause is a short one again.
STEADY_SECONDS = 5.0
MOST_NOTES = 50
NOT_WAITING = "--no-reconnect: an error instead"


class Session:
    """One opening of a source: the thread that reads it, until it ends, is lost or is left behind.

    The thread opens the source itself, because a driver that hangs must not take the main thread, which listens for
    signals, with it; and closes it itself, because releasing a device under a blocked read crashes in OpenCV.

    Attributes:
        source: What is read.
        is_open: It was opened.
        description: What was opened then, in a line.
        is_settled: Set once it was opened, or could not be.
        lost: Why it ended, once it did so in a way that another session may mend.
        frames: How many it delivered.
        skipped: How many were missing between them, because nobody could read them.
        next_index: One more than the last frame's.
    """

    def __init__(self, source: Source, capture: Capture, first_index: int) -> None:
        self.source = source
        self.is_open, self.is_settled, self.description = False, threading.Event(), ""
        self.lost: SourceLost | None = None
        self.frames = self.skipped = 0
        self.next_index = first_index
        self._first_index = first_index
        self._capture, self._is_left = capture, False
        self._sign_of_life = time.monotonic()
        self.thread = threading.Thread(target=self._run, name="edgekit-capture", daemon=True)

    def start(self) -> None:
        """Begin; it has its time from now on."""
        self._sign_of_life = time.monotonic()
        self.thread.start()

    def is_hung(self, now: float) -> bool:
        """No frame, or no end of opening, for longer than should be."""
        patience = max(HANG_SECONDS, HANG_PERIODS / self.source.fps) if self.is_open else OPEN_SECONDS
        return self.source.is_live and now - self._sign_of_life > patience

    def is_slow(self, now: float) -> bool:
        """It is still opening, and takes longer than usual."""
        return self.source.is_live and not self.is_settled.is_set() and now - self._sign_of_life > SLOW_SECONDS

    def leave(self) -> None:
        """Take nothing from it any more; its thread ends when it can."""
        self._is_left = True

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self.source.__enter__()
            self._opened()
            for frame in self.source:
                if self._is_left or not self._put(frame):
                    break
        except BaseException as raised:  # it surfaces in the main thread
            error = raised
        try:
            self.source.__exit__(None, None, None)
        except Exception as raised:
            error = error or raised
        if not self._is_left:
            self._capture.end(self, error)
        self.is_settled.set()

    def _opened(self) -> None:
        self._sign_of_life = time.monotonic()
        if not self._first_index and not self._is_left:
            self._capture.start = self._sign_of_life
        # By the thread that reads it: when another one looks, it may be closed again.
        self.description = self.source.describe()
        self.is_open = True
        self.is_settled.set()

    def _put(self, frame: Frame) -> bool:
        if self._first_index:
            since = frame.timestamp - self._capture.start
            frame = dataclasses.replace(frame, index=frame.index + self._first_index, media_time=since)
        is_wanted = self._capture.mailbox.put(frame)
        # After the wait for a place, which is the loop's time and not the source's.
        self._sign_of_life = time.monotonic()
        self.frames += 1
        self.skipped += frame.index - self.next_index
        self.next_index = frame.index + 1
        return is_wanted


class Capture:
    """Opens `source`, reads it in a thread of its own and closes it there.

    A thread that stays blocked longer than JOIN_SECONDS is left behind at the end (it is a daemon), not waited for.

    Args:
        source: Not yet entered.
        reopen: Gives the source anew after a loss, not yet entered; None: a loss is the end, and so is a source that is
            not there at the start.

    Attributes:
        mailbox: Where the frames go.
        start: time.monotonic() seconds at which the source was first open; until then, of the first attempt.
        reconnects: How often the source was lost and came back.
        has_come: The source was there at the start, or has come since.
        trouble: Why there are no frames at the moment, in a line; "" while all is well.
        hung_since: time.monotonic() seconds since when so many threads hang in the driver that no new one is started;
            None while it is not so.
    """

    def __init__(self, source: Source, reopen: Callable[[], Source] | None = None) -> None:
        self.mailbox = Mailbox(source.lossless)
        self.start = time.monotonic()
        self.reconnects = 0
        self.has_come = False
        self.trouble = ""
        self.hung_since: float | None = None
        self._reopen = reopen
        self._failures, self._back_since = 0, self.start
        self._next_try: float | None = None
        self._stuck: list[threading.Thread] = []
        self._old_notes: list[str] = []
        self._old_skipped = 0
        self._session = Session(source, self, first_index=0)

    def __enter__(self) -> Self:
        """Start opening the source and reading it; `get` tells what comes of it."""
        self.start = time.monotonic()
        self._session.start()
        if not self.source.is_live:
            # A file opens at once or not at all, and nothing else should write to stderr while OpenCV is kept quiet.
            self._session.is_settled.wait()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop reading; afterwards `counts` no longer changes and captured = taken + dropped."""
        self.mailbox.close_reader()
        self._session.thread.join(JOIN_SECONDS)

    def get(self, timeout: float) -> Frame | None:
        """As `Mailbox.get`, and the place where a lost source is noticed and opened anew.

        Raises:
            SourceLost: The source is lost or not there, and there is no `reopen`; or it refused at the first attempt.
            Whatever else the thread failed with.
        """
        self._look_after(time.monotonic())
        frame = self.mailbox.get(timeout)
        if frame is not None:
            # Before the loop works on the first frame, it is told what it comes from.
            self._welcome(time.monotonic())
        return frame

    @property
    def source(self) -> Source:
        """What is read at the moment."""
        return self._session.source

    @property
    def description(self) -> str:
        """What was opened last, in a line; "" before."""
        return self._session.description

    @property
    def notes(self) -> list[str]:
        """The notes of all sources so far; of very many the first."""
        return [*self._notes(), *self._skipped()]

    def _notes(self) -> list[str]:
        return list(dict.fromkeys([*self._old_notes, *self.source.notes]))[:MOST_NOTES]

    def _skipped(self) -> list[str]:
        """Files and folders tell themselves which."""
        return [f"{self.source.name}: {self.unreadable} pictures could not be read."] if self.unreadable else []

    @property
    def unreadable(self) -> int:
        """Pictures of live sources that nobody could read, so far."""
        return self._old_skipped + self._session.skipped if self.source.is_live else 0

    @property
    def is_over(self) -> bool:
        """The stream has ended and its last frame has been taken."""
        return self.mailbox.is_over

    def counts(self) -> tuple[int, int, int]:
        """(captured, taken, dropped) so far."""
        return self.mailbox.counts()

    def end(self, session: Session, error: BaseException | None) -> None:
        """The session's last word, from its thread."""
        is_lost = isinstance(error, SourceLost) or (error is None and session.source.is_live)
        # Who typed something wrong should see it at once; a camera that was there, or is awaited, may only be booting.
        is_refused = isinstance(error, SourceRefused) and not (self.has_come or self._failures)
        if self._reopen is not None and session.source.is_live and is_lost and not is_refused:
            session.lost = error if isinstance(error, SourceLost) else _ended(session.source)
        else:
            self.mailbox.close_writer(error)

    def _look_after(self, now: float) -> None:
        session = self._session
        self._welcome(now)
        if not self.trouble and now - self._back_since > STEADY_SECONDS:
            self._failures = 0
        if self._next_try is not None:
            if now >= self._next_try:
                self._try_again(now)
        elif session.lost is not None:
            self._lose(session.lost, now)
        elif session.is_hung(now) and session.thread.is_alive():
            session.leave()
            self._stuck.append(session.thread)
            self._lose(_hung(session), now)
        elif session.is_slow(now) and not self.trouble:
            self.trouble = f"{session.source.name} does not open at once. It has {OPEN_SECONDS:g} s."

    def _welcome(self, now: float) -> None:
        """Notice that the source has come, or come back."""
        if not self.trouble:
            self.has_come = self.has_come or self._session.is_open
        elif self._session.frames and self._next_try is None:
            self.trouble, self._back_since = "", now
            self.reconnects += self.has_come
            self.has_come = True

    def _lose(self, lost: SourceLost, now: float) -> None:
        if self._reopen is None:
            raise lost
        pause = PAUSES[min(self._failures, len(PAUSES) - 1)]
        self._failures += 1
        self._next_try = now + pause
        # Who typed something wrong should see it at once, and how to fix it.
        self.trouble = f"{lost.message} Trying again." if self.has_come else f"{lost} Waiting for it ({NOT_WAITING})."

    def _try_again(self, now: float) -> None:
        self._stuck = [thread for thread in self._stuck if thread.is_alive()]
        if self._reopen is None:
            return
        if len(self._stuck) >= MOST_STUCK_THREADS:
            self.hung_since = now if self.hung_since is None else self.hung_since
            self.trouble = f"{self.source.name} hangs in its driver: {MOST_STUCK_THREADS} attempts did not return."
            return
        self._next_try = self.hung_since = None
        try:
            source = self._reopen()
        except EdgekitError as error:  # a path that leads nowhere while the camera is unplugged
            self._lose(SourceLost(error.message), now)
            return
        self._old_notes = self._notes()
        self._old_skipped += self._session.skipped
        self._session = Session(source, self, first_index=self._session.next_index)
        self._session.start()


def _hung(session: Session) -> SourceLost:
    name = session.source.name
    if not session.is_open:
        return SourceLost(f"{name} must open within {OPEN_SECONDS:g} s, got nothing.", "Switch it off and on.")
    return SourceLost(f"{name} must keep delivering, got nothing for {HANG_SECONDS:g} s.", "Check the cable.")


def _ended(source: Source) -> SourceLost:
    return SourceLost(f"{source.name} must keep delivering, got an end of the stream.", "Check the camera.")
