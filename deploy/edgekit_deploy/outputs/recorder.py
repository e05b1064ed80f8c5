"""Annotated video to a file, off the hot path: a thread of its own behind a short queue.

Playback runs in real time whatever the loop's speed: the file has a constant frame rate, and each frame is repeated or
skipped according to its time. The file appears whole, when recording ends, or not at all.
"""

from __future__ import annotations

import contextlib
import glob
import math
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np

from edgekit.errors import EdgekitError, InputError
from edgekit.files import check_writable, whole_file
from edgekit.preprocess import Image
from edgekit.runtime import quiet_stderr

DEFAULT_FPS = 30.0
CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
QUEUE_LENGTH = 4
# What stays free on the disk, so that the file can be closed properly and the system goes on.
RESERVE_BYTES = 16 * 2**20
SPACE_CHECK_FRAMES = 10
LONGEST_GAP_SECONDS = 60.0
# An unfinished file that nobody has written to for so long is nobody's.
ABANDONED_SECONDS = 3600.0
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
        free_bytes: Tells the free bytes on the disk of a folder.
        warn: Called with `problem`, once and at once, from the recorder's thread.

    Attributes:
        path: As given.
        written: Frames in the file so far, repeated ones included.
        dropped: Frames that came faster than they could be encoded.
        problem: One line on why recording stopped early, or "".

    Raises:
        InputError: Another suffix, or an unusable frame rate.
    """

    def __init__(
        self,
        path: str | Path,
        fps: float | None = None,
        free_bytes: Callable[[Path], int] | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in CODECS:
            raise InputError(f"--record must end in {' or '.join(CODECS)}, got {self.path.name!r}.")
        if fps is not None and not 0.1 <= fps <= 1000.0:
            raise InputError(f"The recording's frame rate must be 0.1 to 1000, got {fps}.")
        self.written = self.dropped = 0
        self.problem = ""
        self._is_fps_fixed = fps is not None
        self._fps = fps or DEFAULT_FPS
        self._is_over = False
        self._free_bytes = free_bytes or _free_bytes
        self._warn = warn or (lambda line: None)
        self._queue: queue.Queue[tuple[Image, float] | None] = queue.Queue(QUEUE_LENGTH)
        self._is_finished = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edgekit-recorder", daemon=True)

    def __enter__(self) -> Self:
        """Prove that folder and codec work, and start.

        Raises:
            InputError: They do not.
        """
        check_writable(self.path)
        self._sweep()
        if (free := self._free_bytes(self.path.parent)) < RESERVE_BYTES:
            raise InputError(
                f"The disk of {self.path} must have {RESERVE_BYTES >> 20} MiB free, got {free / 2**20:.1f}.",
                "Free some space, or record elsewhere.",
            )
        with tempfile.TemporaryDirectory(dir=self.path.parent, prefix=".edgekit-") as folder, quiet_stderr():
            _open_writer(Path(folder) / f"probe{self.path.suffix}", self._fps, (64, 64)).release()
        self._thread.start()
        return self

    def _sweep(self) -> None:
        """Remove what processes that were killed have left of earlier recordings: gigabytes that nobody sees."""
        # As `files.whole_file` calls them.
        for left in self.path.parent.glob(f".{glob.escape(self.path.stem)}-{8 * '[a-z0-9_]'}{self.path.suffix}"):
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                    left.unlink()

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
            self._stop(f"The recording {self.path} must be finished within {FINISH_SECONDS:g} s, but its disk hangs.")
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
        try:
            self._queue.put((image, media_time), block=wait)
        except queue.Full:
            self.dropped += 1

    def _run(self) -> None:
        try:
            self._record_all()
        finally:
            self._is_finished.set()

    def _record_all(self) -> None:
        try:
            first = self._next()
            if first is not None:
                self._record(first)
        except EdgekitError as error:
            self._stop(str(error))
        except Exception as error:  # the loop must survive whatever a codec does
            self._stop(f"Recording failed: {type(error).__name__}: {error}.")
        # The loop may still hand frames over: take them, or it would wait for ever.
        while not self._is_over:
            self._next()

    def _next(self) -> tuple[Image, float] | None:
        item = self._queue.get()
        self._is_over = item is None
        return item

    def _record(self, first: tuple[Image, float]) -> None:
        height, width = first[0].shape[:2]
        # MPEG-4 stores chroma at half size: odd sides cannot be.
        size = (max(2, width - width % 2), max(2, height - height % 2))
        with whole_file(self.path) as temporary:
            with quiet_stderr():
                writer = _open_writer(temporary, self._fps, size)
            try:
                self._encode(writer, first, size)
            finally:
                writer.release()
            if not _is_playable(temporary):
                raise EdgekitError(f"The recording {self.path} could not be finished: the disk may be full.")

    def _encode(self, writer: Any, first: tuple[Image, float], size: tuple[int, int]) -> None:
        """Write frames until the recording is over or the disk nearly full; `slot` is the pending frame's place."""
        pending, last_time = fit(first[0], size), first[1]
        origin, slot = last_time, 0
        for number, item in enumerate(iter(self._next, None)):
            if number % SPACE_CHECK_FRAMES == 0 and self._is_disk_full():
                self._tell(f"Recording to {self.path} stopped: the disk is nearly full. Free some space.")
                break
            image, media_time = item
            if not 0.0 <= media_time - last_time <= LONGEST_GAP_SECONDS:
                # The clock jumped: go on with the next slot, rather than fill the file with one frame or stand still.
                origin = media_time - (slot + 1) / self._fps
            next_slot = math.floor((media_time - origin) * self._fps + 0.5)
            for _ in range(next_slot - slot):
                writer.write(pending)
                self.written += 1
            slot, last_time = max(slot, next_slot), media_time
            pending = fit(image, size)
        writer.write(pending)
        self.written += 1

    def _tell(self, problem: str) -> None:
        self.problem = problem
        self._warn(problem)

    def _stop(self, problem: str) -> None:
        """No file came of it."""
        self.written = 0
        self._tell(problem)

    def _is_disk_full(self) -> bool:
        return self._free_bytes(self.path.parent) < RESERVE_BYTES


def fit(image: Image, size: tuple[int, int]) -> Image:
    """`image` on a canvas of `size` (width, height): cropped by a pixel, or scaled and centred on black."""
    width, height = size
    if 0 <= image.shape[1] - width <= 1 and 0 <= image.shape[0] - height <= 1:
        return np.ascontiguousarray(image[:height, :width])
    scale = min(width / image.shape[1], height / image.shape[0])
    inner = (max(1, min(width, round(image.shape[1] * scale))), max(1, min(height, round(image.shape[0] * scale))))
    canvas = np.zeros((height, width, 3), np.uint8)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(image, inner, interpolation=cv2.INTER_AREA)
    return canvas


def _open_writer(path: Path, fps: float, size: tuple[int, int]) -> Any:
    codec = CODECS[path.suffix.lower()]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, size)
    if not writer.isOpened():
        others = [suffix for suffix in CODECS if suffix != path.suffix.lower()]
        raise InputError(
            f"OpenCV must be able to write {codec} video of {size[0]}×{size[1]} to {path.suffix}, got a refusal.",
            f"Try --record with {' or '.join(others)}.",
        )
    return writer


def _is_playable(path: Path) -> bool:
    """The file opens and its first frame decodes: a full disk leaves an .mp4 without its index."""
    with quiet_stderr():
        capture = cv2.VideoCapture(str(path))
        try:
            return bool(capture.isOpened() and capture.read()[0])
        finally:
            capture.release()


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free
