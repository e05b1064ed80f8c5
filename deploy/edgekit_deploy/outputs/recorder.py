"""Annotated video to a file or several, off the hot path: a thread of its own behind a short queue.

A file appears whole, when it ends, or not at all: a long recording is better kept in parts, of which a power cut takes
the last. While one part is finished, in a thread of its own, the next is under way. See `film` for what is in them.
"""

from __future__ import annotations

import contextlib
import math
import queue
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from edgekit.errors import EdgekitError, InputError
from edgekit.files import check_writable
from edgekit.preprocess import Image
from edgekit.runtime import quiet_stderr
from edgekit_deploy.outputs import parts as part_files
from edgekit_deploy.outputs.background import Trouble
from edgekit_deploy.outputs.film import CODECS, Film, open_writer, whole_film
from edgekit_deploy.outputs.parts import Parts

DEFAULT_FPS = 30.0
QUEUE_LENGTH = 4
# What stays free on the disk, so that the file can be closed properly and the system goes on.
RESERVE_BYTES = 16 * 2**20
SPACE_CHECK_FRAMES = 10
# After a failure, until the next part is tried.
RETRY_SECONDS = 10.0
# A part ends when no frame has come for so long: it must not lie unfinished while a camera is away.
PATIENCE_SECONDS = 60.0
# A few frames are left at the end, which take a moment. A disk that stalls is told after SLOW_SECONDS, and given up
# after FINISH_SECONDS: a slow card may need longer than the other outputs, and a recording is worth the wait.
SLOW_SECONDS = 2.0
FINISH_SECONDS = 30.0
POLL_SECONDS = 0.1


class Recorder:
    """Writes frames to `path`; use as a context manager.

    Args:
        path: .mp4 (MPEG-4) or .avi (Motion JPEG).
        fps: Frame rate of the file; default: as the source's, see `set_default_fps`.
        parts: In files of some minutes each; None: all in one, which replaces what was there.
        free_bytes: Tells the free bytes on the disk of a folder.
        warn: Called with one line on trouble, at once, and when it is over; from another thread.

    Attributes:
        path: As given.
        written: Frames in files that are whole, repeated ones included, and those of parts that are removed again.
        problem: One line on why nothing is recorded, or "".

    Raises:
        InputError: Another suffix or an unusable frame rate.
    """

    def __init__(
        self,
        path: str | Path,
        fps: float | None = None,
        *,
        parts: Parts | None = None,
        free_bytes: Callable[[Path], int] | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in CODECS:
            raise InputError(f"--record must end in {' or '.join(CODECS)}, got {self.path.name!r}.")
        if fps is not None and not 0.1 <= fps <= 1000.0:
            raise InputError(f"The recording's frame rate must be 0.1 to 1000, got {fps}.")
        self.written = 0
        self.problem = ""
        self._is_fps_fixed = fps is not None
        self._fps = fps or DEFAULT_FPS
        self._parts = parts
        self._seconds = 60.0 * parts.minutes if parts else math.inf
        self._given = self._filmed = self._failed = 0
        self._is_over = False
        self._rests_until = -math.inf
        self._finishing: threading.Thread | None = None
        # Older ones than these are removed.
        self._own: deque[Path] = deque(maxlen=(parts and parts.keep) or 1)
        self._left: list[Path] = []
        self._free_bytes = free_bytes or _free_bytes
        self._warn = warn or (lambda line: None)
        self._trouble = Trouble(self._warn)
        self._queue: queue.Queue[tuple[Image, float] | None] = queue.Queue(QUEUE_LENGTH)
        self._is_finished = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edgekit-recorder", daemon=True)

    def __enter__(self) -> Self:
        """Prove that folder and codec work, and start.

        Raises:
            InputError: They do not.
        """
        check_writable(self.path)
        self._left = part_files.unfinished(self.path)
        part_files.sweep(self._left)
        free = self._free_bytes(self.path.parent)
        if free >= RESERVE_BYTES:
            with tempfile.TemporaryDirectory(dir=self.path.parent, prefix=".edgekit-") as folder, quiet_stderr():
                open_writer(Path(folder) / f"probe{self.path.suffix}", self._fps, (64, 64)).release()
        elif self._parts is None:  # parts go on when there is room again
            raise InputError(
                f"The disk of {self.path} must have {RESERVE_BYTES >> 20} MiB free, got {free / 2**20:.1f}.",
                "Free some space, or record elsewhere.",
            )
        self._thread.start()
        return self

    @property
    def dropped(self) -> int:
        """Frames in no file: they came too fast to be encoded, or nothing was recorded then. Final once closed."""
        return self._given - self._filmed

    def __exit__(self, *exception: object) -> None:
        """Encode what is queued and put the file in its place. After an exception too: what was recorded is kept.

        On a disk that hangs, the thread and its unfinished file are left behind after FINISH_SECONDS.

        Raises:
            KeyboardInterrupt: It came meanwhile; the file is finished all the same.
        """
        is_announced = is_slow = is_interrupted = False
        start = time.monotonic()
        # An Event, because a Thread.join that was interrupted returns at once the next time (CPython 3.11 and 3.12).
        while not self._is_finished.is_set() and (waited := time.monotonic() - start) < FINISH_SECONDS:
            try:
                is_announced = is_announced or self._announce_end()
                self._is_finished.wait(POLL_SECONDS)
                if waited > SLOW_SECONDS and not is_slow:
                    is_slow = True
                    self._warn(f"Finishing {self.path}: its disk is slow. It gets {FINISH_SECONDS:g} s.")
            except KeyboardInterrupt:
                is_interrupted = True
        if not self._is_finished.is_set():
            self.problem = (
                f"The recording {self.path} must be finished within {FINISH_SECONDS:g} s, but its disk hangs."
            )
            self._warn(self.problem)
        if is_interrupted:
            raise KeyboardInterrupt

    def _announce_end(self) -> bool:
        """Whether there was a place in the queue for it."""
        try:
            self._queue.put(None, timeout=POLL_SECONDS)
        except queue.Full:
            return False
        return True

    def set_default_fps(self, fps: float) -> None:
        """Use `fps` if none was given; before the first `write`."""
        if not self._is_fps_fixed:
            self._fps = fps

    def write(self, image: Image, media_time: float, wait: bool = False) -> None:
        """Hand over a frame.

        Args:
            image: (H, W, 3) uint8 BGR; belongs to the recorder from now on.
            media_time: Seconds since the start of the stream.
            wait: Wait for a place in the queue rather than drop the frame.
        """
        self._given += 1
        with contextlib.suppress(queue.Full):
            self._queue.put((image, media_time), block=wait)

    def _run(self) -> None:
        try:
            # Frames are taken whatever happens: the loop may wait for it.
            while (first := self._next()) is not None:
                if time.monotonic() >= self._rests_until:
                    with self._failures(self._trouble.begins):
                        self._record(*first)
            if self._finishing:
                self._finishing.join()
        finally:
            self._is_finished.set()

    def _next(self, patience: float | None = None) -> tuple[Image, float] | None:
        """The next frame; None when there will be none, or none came for `patience` seconds."""
        if self._is_over:
            return None
        try:
            item = self._queue.get(timeout=patience)
        except queue.Empty:
            return None
        self._is_over = item is None
        return item

    def _record(self, image: Image, media_time: float) -> None:
        """A file that begins with this frame, if there is room."""
        place = self.path
        if self._parts:
            part_files.sweep(self._left)
            place = part_files.place(self.path, taken=self._own[-1] if self._own else None)
        if not self._has_room():
            self._tell_full()
            return
        with contextlib.ExitStack() as stack:
            film = stack.enter_context(whole_film(place, self._fps, image, media_time))
            is_well = self._fill(film)
            # Before the file is finished: should that fail, it is the worse news.
            if not is_well:
                self._tell_full()
            self._hand_over(stack.pop_all(), film, place, is_well)

    def _fill(self, film: Film) -> bool:
        """Take frames until the file ends; False if the disk is nearly full."""
        patience = PATIENCE_SECONDS if self._parts else None
        for number, item in enumerate(iter(lambda: self._next(patience), None)):
            if number % SPACE_CHECK_FRAMES == 0 and not self._has_room():
                return False
            film.add(*item)
            if film.frames >= self._seconds * self._fps:
                break
        return True

    def _hand_over(self, rest: contextlib.ExitStack, film: Film, place: Path, is_well: bool) -> None:
        """To a thread that finishes it: a slow disk must not keep the next part waiting."""
        while self._finishing and self._finishing.is_alive():
            self._finishing.join(SLOW_SECONDS)
            if self._finishing.is_alive():
                self._trouble.begins(f"Recording to {self.path} waits: its disk is slow.")
        self._own.append(place)
        arguments = (rest, film, place, self._failed if is_well else None)
        self._finishing = threading.Thread(
            target=self._finish, args=arguments, name="edgekit-recorder-end", daemon=True
        )
        self._finishing.start()

    def _finish(self, rest: contextlib.ExitStack, film: Film, place: Path, failed: int | None) -> None:
        """`failed` is how often something did before; None: this part is shorter than it should be."""
        with self._failures(self._warn):
            rest.close()
            self.written += film.frames
            self._filmed += film.taken
            if self._parts and self._parts.keep:
                part_files.remove_all_but(self.path, self._parts.keep, self._own)
            if failed == self._failed:  # nor has the next one failed to begin
                self.problem = ""
                self._trouble.ends(f"Recording goes on: {place}.")

    @contextlib.contextmanager
    def _failures(self, tell: Callable[[str], None]) -> Iterator[None]:
        """What goes wrong is told, and does not end the loop."""
        try:
            yield
        except EdgekitError as error:
            self._fails(str(error), tell)
        except Exception as error:  # whatever a codec does
            self._fails(f"Recording failed: {type(error).__name__}: {error}.", tell)

    def _fails(self, problem: str, tell: Callable[[str], None]) -> None:
        """A part is tried again after a while, a whole recording not."""
        self.problem = problem
        self._failed += 1
        self._rests_until = time.monotonic() + RETRY_SECONDS if self._parts else math.inf
        tell(problem)

    def _tell_full(self) -> None:
        words = "waits" if self._parts else "stopped"
        line = f"Recording to {self.path} {words}: the disk is nearly full. Free some space."
        self._fails(line, self._trouble.begins)

    def _has_room(self) -> bool:
        """Is there room on the disk? An old part makes some, where it may be removed.

        One at each look: some file systems give room back late, and all would be gone.
        """
        if self._free_bytes(self.path.parent) >= RESERVE_BYTES:
            return True
        if self._parts is None or self._parts.keep is None or not part_files.remove_oldest(self.path, self._own):
            return False
        return self._free_bytes(self.path.parent) >= RESERVE_BYTES


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free
