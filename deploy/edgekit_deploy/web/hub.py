"""From the loop to the viewers: the newest decision is encoded once for all of them, and only while there are any."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from edgekit_deploy.camera import Decision
from edgekit_deploy.web.feeds import Bounds, Feeds
from edgekit_deploy.web.pictures import Picture, figures, live_jpeg
from edgekit_deploy.web.priority import step_back

# With a viewer and no new decision: how soon to look again, and how soon to tell that the camera stands still.
LOOK_SECONDS = 0.01
QUIET_SECONDS = 1.0
SAMPLES = 1024
# Paused pages whose frame can still be saved.
MOST_HELD = 2
Answer = TypeVar("Answer")
Warn = Callable[[str], None]


class Hub:
    """`publish` belongs to the loop's thread, everything else to the event loop of the server.

    Args:
        labels: The model's, for the truth drawn on a picture.
        feeds: Temperature and status beside the picture.
        bounds: Rate, size and number of viewers.
        threshold: Where the slider starts, 0 to 1.
        warn: Told, once, of a picture that could not be made.

    Attributes:
        latest: The newest decision; None before the first.
        viewers: Streams that are open.
        encoded: Live pictures encoded so far.
        threshold: What the slider says, 0 to 1.
    """

    def __init__(self, labels: tuple[str, ...], feeds: Feeds, bounds: Bounds, threshold: float, warn: Warn) -> None:
        self.latest: Decision | None = None
        self.viewers = self.encoded = 0
        self.threshold = threshold
        self.is_closed = False
        self._labels, self._feeds, self._bounds = labels, feeds, bounds
        self._warn, self._is_told = warn, False
        self._samples: deque[tuple[float, float]] = deque(maxlen=SAMPLES)
        self._recent: deque[Decision] = deque()
        self._held: deque[Decision] = deque(maxlen=MOST_HELD)
        self._picture: Picture | None = None
        self._changed = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        # The encoder alone steps back: it is in OpenCV most of the time. A thread of Python may be put to sleep with
        # the interpreter's lock, or one of the loop's, in its hand, and inference would wait for it.
        self._encoder = ThreadPoolExecutor(1, "edgekit-web-encoder", step_back, (bounds.niceness,))
        self._worker = ThreadPoolExecutor(1, "edgekit-web-worker")

    def publish(self, decision: Decision) -> None:
        """Offer a decision: two references are stored, nothing is waited for."""
        self.latest = decision
        self._samples.append((decision.hud.latency_ms, 1e3 * decision.result.timings.invoke))

    async def work(self, job: Callable[..., Answer], *arguments: Any) -> Answer:
        """Run `job` in a thread of its own, so that the server goes on answering."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, job, *arguments)

    async def encode(self, job: Callable[..., bytes], *arguments: Any) -> bytes:
        """Run `job`, which makes a JPEG, in the thread that steps back."""
        return await asyncio.get_running_loop().run_in_executor(self._encoder, job, *arguments)

    @contextlib.contextmanager
    def viewer(self) -> Iterator[None]:
        """Count a viewer while it watches; the first one starts the encoder."""
        self.viewers += 1
        if self._pump is None or self._pump.done():
            self._samples.clear()
            self._pump = asyncio.get_running_loop().create_task(self._run())
        try:
            yield
        finally:
            self.viewers -= 1

    async def next(self, seen: Picture | None) -> Picture | None:
        """The newest picture once it is another than `seen`; None when the page closes."""
        while not self.is_closed:
            if self._picture is not None and self._picture is not seen:
                return self._picture
            await self._changed.wait()
        return None

    def shown(self, index: int) -> Decision | None:
        """The decision on frame `index` if it was shown a moment ago, is held, or is the newest."""
        # Newest first: a camera that was plugged in again counts its frames anew.
        candidates = [self.latest, *reversed(self._recent), *reversed(self._held)]
        return next((decision for decision in candidates if decision and decision.frame.index == index), None)

    def hold(self, decision: Decision) -> None:
        """Keep a decision that a viewer has paused on."""
        if all(kept is not decision for kept in self._held):
            self._held.append(decision)

    def close(self) -> None:
        """Let every viewer go."""
        self.is_closed = True
        self._changed.set()

    def shut_threads(self) -> None:
        """End both threads; not from the event loop."""
        for pool in (self._encoder, self._worker):
            pool.shutdown(wait=True, cancel_futures=True)

    async def _run(self) -> None:
        """Encode the newest decision again and again, until nobody watches."""
        shown: Decision | None = None
        quiet_since = -QUIET_SECONDS
        try:
            while self.viewers and not self.is_closed:
                start = time.monotonic()
                decision = self.latest
                if decision is shown and start - quiet_since < QUIET_SECONDS:
                    await asyncio.sleep(LOOK_SECONDS)
                    continue
                is_new = decision is not shown
                await self._try_to_update(decision if is_new else None)
                shown, quiet_since = decision, time.monotonic()
                cost = quiet_since - start
                await asyncio.sleep(max(1.0 / self._bounds.fps - cost, cost / self._bounds.share - cost))
        finally:
            # Nobody looks: give the memory back, and show the next viewer nothing old.
            self._recent.clear()
            self._picture = None

    async def _try_to_update(self, decision: Decision | None) -> None:
        """A frame that cannot be encoded, or a feed that fails, must not end the stream."""
        try:
            self._deliver(await self._update(decision))
        except Exception as error:
            if not self._is_told:
                self._warn(f"Web page: a picture could not be made: {type(error).__name__}: {error}.")
            self._is_told = True

    async def _update(self, decision: Decision | None) -> Picture:
        """A picture of `decision`, or an update of the other figures."""
        jpeg, plain = b"", self._around()
        if decision is not None:
            truth = None if decision.truth is None else self._labels[decision.truth]
            jpeg = await self.encode(live_jpeg, decision, truth, self._bounds.side, self._bounds.quality)
            self.encoded += 1
            self._remember(decision)
            plain |= figures(decision)
        return Picture.pack(plain, jpeg)

    def _around(self) -> dict[str, Any]:
        """The figures that do not belong to one frame, and the worst age and median invoke since the last update."""
        plain: dict[str, Any] = {
            "temperature": self._feeds.temperature(),
            "status": self._feeds.status(),
            "threshold": self.threshold,
            "viewers": self.viewers,
        }
        samples = [self._samples.popleft() for _ in range(len(self._samples))]
        if samples:
            ages, invokes = zip(*samples, strict=True)
            plain |= {"worst_age": round(max(ages), 2), "median_invoke": round(statistics.median(invokes), 3)}
        return plain

    def _remember(self, decision: Decision) -> None:
        self._recent.append(decision)
        total = sum(kept.frame.image.nbytes for kept in self._recent)
        while total > self._bounds.recent_bytes and len(self._recent) > 1:
            total -= self._recent.popleft().frame.image.nbytes

    def _deliver(self, picture: Picture) -> None:
        self._picture = picture
        waiting, self._changed = self._changed, asyncio.Event()
        waiting.set()
