"""The camera loop: newest frame in, decision out, everything measured."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgekit.allocator import keep_memory
from edgekit.preprocess import Image
from edgekit_deploy.capture import Capture
from edgekit_deploy.classifier import Classifier, Result
from edgekit_deploy.health import Health, read_health
from edgekit_deploy.latency import Histogram
from edgekit_deploy.outputs.overlay import Hud, annotate, banner
from edgekit_deploy.service import Service
from edgekit_deploy.signals import StopSignals
from edgekit_deploy.smoothing import Decider, Rules, Verdict
from edgekit_deploy.sources.frames import Frame, Source, SourceLost
from edgekit_deploy.stats import STAGES, CameraStats
from edgekit_deploy.watch import Watch

if TYPE_CHECKING:
    from edgekit_deploy.outputs.recorder import Recorder
    from edgekit_deploy.outputs.window import Window
    from edgekit_deploy.truth import Truth

POLL_SECONDS = 0.1
# How long a service waits for a driver that hangs.
HUNG_SECONDS = 60.0
# Weight of the newest frame in the live frames-per-second figure.
FPS_SMOOTHING = 0.1
# Bytes of freed frames that are kept, two of 3840×2160, and that a heap grows by at least.
KEPT, KEPT_AHEAD = 64 * 2**20, 2**20


@dataclass(frozen=True)
class Limits:
    """When to stop by itself; None means never.

    Attributes:
        frames: Classified frames.
        seconds: Of the loop.
    """

    frames: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What the loop tells its observer after each frame.

    Attributes:
        frame: The frame.
        result: What the network says of this frame.
        verdict: The answer, after smoothing, hysteresis and thresholds.
        threshold: 0 to 1; under which that was found, of labels without one of their own.
        truth: Class index that is right, if known.
        hud: Live figures.
        inferred: Frames classified so far, this one included.
        accuracy: Share of judged frames that were right so far; None if none was judged.
        health: The board's state, a second old at most.
    """

    frame: Frame
    result: Result
    verdict: Verdict
    threshold: float
    truth: int | None
    hud: Hud
    inferred: int
    accuracy: float | None
    health: Health


@dataclass
class Monitor:
    """What other threads may ask of a running loop.

    Attributes:
        stats: The measurements so far; None before the start.
        status: What is wrong with the source at the moment, in a line; "" while all is well.
        health: The board's state, a second old at most.
    """

    stats: Callable[[], CameraStats | None] = lambda: None
    status: str = ""
    health: Health = field(default_factory=Health)


def run_camera(
    classifier: Classifier,
    source: Source,
    *,
    reopen: Callable[[], Source] | None = None,
    decider: Decider | None = None,
    recorder: Recorder | None = None,
    window: Window | None = None,
    truth: Truth | None = None,
    limits: Limits | None = None,
    observer: Callable[[Decision], None] | None = None,
    notify: Callable[[str], None] | None = None,
    monitor: Monitor | None = None,
    signals: StopSignals | None = None,
) -> CameraStats:
    """Classify frames until the stream ends, a limit is reached, the window is closed, or a signal asks for it.

    glibc's allocator is told to keep what frames free, for as long as the process lives.

    Args:
        classifier: The model.
        source: Not yet entered; the loop opens and closes it.
        reopen: Gives a live source anew, not yet entered, when it was lost or not there yet; None: that ends the run.
        decider: Of the answer; default: the best guess of each frame.
        recorder: Entered by the caller, who also closes it.
        window: Likewise.
        truth: What the stream really shows, by `Frame.index`.
        limits: When to stop.
        observer: Called in this thread after every frame; keep it short.
        notify: Called in this thread with a line when the source is lost, when it is back, when the board begins to
            slow down, and when the system's clock is set back.
        monitor: Filled in for other threads.
        signals: Entered by the caller, who wants to be shielded from signals before and after the loop as well
            (while a recording is being finished); default: the loop takes care of itself.

    Returns:
        What was measured. `ended` tells which of the above it was: a signal does not raise, so look for its name there.

    Raises:
        SourceLost: The camera stopped delivering and there is no `reopen`, or its driver hangs in a service; `stats`
            holds what was measured until then.
        InputError: The source could not be opened or read.
    """
    keep_memory(KEPT, pad=KEPT_AHEAD)
    with contextlib.ExitStack() as stack:
        watched = signals or stack.enter_context(StopSignals())
        decider = decider or Decider(classifier.card.labels, Rules())
        outlets = _Outlets(recorder, window, observer, notify or (lambda line: None), monitor or Monitor())
        return _Loop(classifier, Capture(source, reopen), decider, outlets, truth, limits or Limits(), watched).run()


@dataclass(frozen=True)
class _Outlets:
    """Where the loop's results go."""

    recorder: Recorder | None
    window: Window | None
    observer: Callable[[Decision], None] | None
    notify: Callable[[str], None]
    monitor: Monitor


class _Loop:
    """The state of one run."""

    def __init__(
        self,
        classifier: Classifier,
        capture: Capture,
        decider: Decider,
        outlets: _Outlets,
        truth: Truth | None,
        limits: Limits,
        signals: StopSignals,
    ) -> None:
        self.classifier, self.capture, self.decider, self.out = classifier, capture, decider, outlets
        self.truth, self.limits, self.signals = truth, limits, signals
        self.stages = {name: Histogram() for name in STAGES}
        self.inferred = self.judged = self.correct = 0
        self.live_fps, self.ended, self.trouble = 0.0, "", ""
        self.last_drawn: Image | None = None
        self.last_decision, self.waiting = time.monotonic(), time.perf_counter()
        self.seconds: float | None = None
        self.watch, self.is_introduced = Watch(lambda: capture.unreadable), False
        self.service = Service()

    def run(self) -> CameraStats:
        self.out.monitor.stats = self._stats
        try:
            with self.capture:
                try:
                    self.service.ready()
                    while not self.ended:
                        self._step()
                        self.service.alive(self.trouble or "running")
                finally:
                    self.service.stopping()
                    # A thread that hangs in a driver may take seconds to be given up.
                    self.seconds = time.monotonic() - self.capture.start
        except SourceLost as lost:
            self.ended = "source lost"
            lost.stats = self._stats()
            raise
        return self._stats()

    def _step(self) -> None:
        """Wait for a frame, briefly, and decide on it."""
        if self.signals.received:
            self.ended = self.signals.received
            return
        frame = self.capture.get(POLL_SECONDS)
        self._tell_trouble()
        self._leave_what_hangs()
        for line in self.watch.look():
            self.out.notify(line)
        self.out.monitor.health = health = self.watch.health
        if frame is None:
            if self.capture.is_over:
                self.ended = self.ended or "end of stream"
            if self.out.window is not None and not self.out.window.is_wanted():
                self.ended = self.ended or "window closed"
            self._check_limits()
            return
        self.stages["wait"].add(time.perf_counter() - self.waiting)
        result = self.classifier.classify(frame.image)
        now = time.monotonic()
        verdict = self.decider.update(self.classifier.probabilities(), self._clock(frame))
        self._measure(frame, result, now)
        right = self.truth.at(frame.index) if self.truth else None
        self.judged += right is not None
        self.correct += right == result.index
        hud = Hud(self.live_fps, 1e3 * (now - frame.timestamp), self.capture.counts()[2], health.warning)
        self._show(frame, result, verdict, hud, right)
        if self.out.observer:
            accuracy, threshold = self.correct / self.judged if self.judged else None, self.decider.threshold
            self.out.observer(Decision(frame, result, verdict, threshold, right, hud, self.inferred, accuracy, health))
        self._check_limits()
        self.waiting = time.perf_counter()

    def _clock(self, frame: Frame) -> float:
        """Seconds for the smoothing: by the clock of a file that is read at another pace than its own."""
        return frame.media_time if self.capture.source.lossless else frame.timestamp

    def _measure(self, frame: Frame, result: Result, now: float) -> None:
        self.inferred += 1
        for name in ("preprocess", "invoke", "postprocess"):
            self.stages[name].add(getattr(result.timings, name))
        self.stages["age"].add(now - frame.timestamp)
        current = 1.0 / max(1e-6, now - self.last_decision)
        self.live_fps += (current - self.live_fps) * (FPS_SMOOTHING if self.inferred > 1 else 1.0)
        self.last_decision = now

    def _tell_trouble(self) -> None:
        if self.capture.has_come and not self.is_introduced:
            # Before its first frame is shown or recorded.
            self.is_introduced, self.trouble, self.out.monitor.status = True, "", ""
            self.last_decision = self.capture.start
            self.out.notify(self.capture.description)
            if self.out.recorder is not None:
                self.out.recorder.set_default_fps(self.capture.source.fps)
        if self.capture.trouble == self.trouble:
            return
        self.trouble = self.out.monitor.status = self.capture.trouble
        self.out.notify(self.trouble or f"{self.capture.source.name} is back.")
        if self.trouble and self.out.window is not None and self.last_drawn is not None:
            self.out.window.show(banner(self.last_drawn, self.trouble))

    def _leave_what_hangs(self) -> None:
        """A new process may open what this one's threads hold in a driver; for a person it goes on trying."""
        since = self.capture.hung_since
        if since is not None and self.service.is_managed and time.monotonic() - since > HUNG_SECONDS:
            raise SourceLost(self.capture.trouble, "Another process may have more luck.")

    def _show(self, frame: Frame, result: Result, verdict: Verdict, hud: Hud, right: int | None) -> None:
        recorder, window = self.out.recorder, self.out.window
        if recorder is None and window is None:
            return
        start = time.perf_counter()
        label = None if right is None else self.classifier.card.labels[right]
        # On a copy: the web page and its reports want the picture as it was.
        drawn = annotate(frame.image.copy(), result, hud, label, verdict=verdict)
        if recorder is not None:
            recorder.write(drawn, frame.media_time, wait=self.capture.source.lossless)
        if window is not None:
            self.last_drawn = drawn
            if not window.show(drawn):
                self.ended = self.ended or "window closed"
        self.stages["draw"].add(time.perf_counter() - start)

    def _check_limits(self) -> None:
        if self.limits.frames is not None and self.inferred >= self.limits.frames:
            self.ended = self.ended or "limit"
        if self.limits.seconds is not None and time.monotonic() - self.capture.start >= self.limits.seconds:
            self.ended = self.ended or "limit"

    def _stats(self) -> CameraStats:
        captured, taken, dropped = self.capture.counts()
        if self.seconds is not None:
            # A frame whose classification failed was taken but not inferred; it must not vanish from the books. While
            # the loop runs it is in the network, and a counter that falls again would be taken for a new start.
            dropped += taken - self.inferred
        return CameraStats(
            source=self.capture.source.name,
            kernels=str(self.classifier.network.kernels),
            threads=self.classifier.threads,
            ended=self.ended,
            seconds=time.monotonic() - self.capture.start if self.seconds is None else self.seconds,
            captured=captured,
            inferred=self.inferred,
            dropped=dropped,
            reconnects=self.capture.reconnects,
            judged=self.judged,
            correct=self.correct,
            stages={name: histogram.summary() for name, histogram in self.stages.items()},
            health=read_health(),
            throttled=tuple(sorted(self.watch.throttled)),
            notes=tuple(self.capture.notes),
        )
