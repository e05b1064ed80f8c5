"""The camera loop: newest frame in, decision out, everything measured."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from edgekit_deploy.capture import Capture
from edgekit_deploy.classifier import Classifier, Result
from edgekit_deploy.latency import Histogram
from edgekit_deploy.outputs.overlay import Hud, annotate
from edgekit_deploy.outputs.recorder import Recorder
from edgekit_deploy.outputs.window import Window
from edgekit_deploy.signals import StopSignals
from edgekit_deploy.sources.frames import Frame, Source, SourceLost
from edgekit_deploy.stats import STAGES, CameraStats
from edgekit_deploy.truth import Truth

POLL_SECONDS = 0.1
# Weight of the newest frame in the live frames-per-second figure.
FPS_SMOOTHING = 0.1


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
        frame: The frame (its image may carry the overlay).
        result: The answer.
        truth: Class index that is right, if known.
        hud: Live figures.
        inferred: Frames classified so far, this one included.
        accuracy: Share of judged frames that were right so far; None if none was judged.
    """

    frame: Frame
    result: Result
    truth: int | None
    hud: Hud
    inferred: int
    accuracy: float | None


def run_camera(
    classifier: Classifier,
    source: Source,
    *,
    recorder: Recorder | None = None,
    window: Window | None = None,
    truth: Truth | None = None,
    limits: Limits | None = None,
    observer: Callable[[Decision], None] | None = None,
    signals: StopSignals | None = None,
) -> CameraStats:
    """Classify frames until the stream ends, a limit is reached, the window is closed, or SIGINT or SIGTERM comes.

    Args:
        classifier: The model.
        source: Not yet entered; the loop opens and closes it.
        recorder: Entered by the caller, who also closes it.
        window: Likewise.
        truth: What the stream really shows, by `Frame.index`.
        limits: When to stop.
        observer: Called in this thread after every frame; keep it short.
        signals: Entered by the caller, who wants to be shielded from signals before and after the loop as well
            (while a recording is being finished); default: the loop takes care of itself.

    Returns:
        What was measured. `ended` tells which of the above it was: a signal does not raise, so look for "SIGINT".

    Raises:
        SourceLost: The camera stopped delivering; its `stats` hold what was measured until then.
        InputError: The source could not be opened or read.
    """
    with contextlib.ExitStack() as stack:
        watched = signals or stack.enter_context(StopSignals())
        return _Loop(classifier, source, recorder, window, truth, limits or Limits(), observer, watched).run()


class _Loop:
    """The state of one run."""

    def __init__(
        self,
        classifier: Classifier,
        source: Source,
        recorder: Recorder | None,
        window: Window | None,
        truth: Truth | None,
        limits: Limits,
        observer: Callable[[Decision], None] | None,
        signals: StopSignals,
    ) -> None:
        self.classifier, self.source, self.recorder, self.window = classifier, source, recorder, window
        self.truth, self.limits, self.observer = truth, limits, observer
        self.signals = signals
        self.stages = {name: Histogram() for name in STAGES}
        self.inferred = self.judged = self.correct = 0
        self.live_fps = 0.0
        self.ended = ""
        self.start = self.last_decision = time.monotonic()

    def run(self) -> CameraStats:
        capture = Capture(self.source)
        try:
            with capture:
                self.start = self.last_decision = time.monotonic()
                if self.recorder is not None:
                    self.recorder.set_default_fps(self.source.fps)
                while not self.ended:
                    self._step(capture)
        except SourceLost as lost:
            self.ended = "source lost"
            lost.stats = self._stats(capture)
            raise
        return self._stats(capture)

    def _step(self, capture: Capture) -> None:
        """Wait for a frame, briefly, and decide on it."""
        if self.signals.received:
            self.ended = self.signals.received
            return
        waiting = time.perf_counter()
        frame = capture.get(POLL_SECONDS)
        if frame is None:
            if capture.is_over:
                self.ended = self.ended or "end of stream"
            self._check_limits()
            return
        self.stages["wait"].add(time.perf_counter() - waiting)
        result = self.classifier.classify(frame.image)
        now = time.monotonic()
        self._measure(frame, result, now)
        right = self.truth.at(frame.index) if self.truth else None
        if right is not None:
            self.judged += 1
            self.correct += right == result.index
        hud = Hud(self.live_fps, 1e3 * (now - frame.timestamp), capture.counts()[2])
        self._show(frame, result, hud, right)
        if self.observer:
            accuracy = self.correct / self.judged if self.judged else None
            self.observer(Decision(frame, result, right, hud, self.inferred, accuracy))
        self._check_limits()

    def _measure(self, frame: Frame, result: Result, now: float) -> None:
        self.inferred += 1
        for name in ("preprocess", "invoke", "postprocess"):
            self.stages[name].add(getattr(result.timings, name))
        self.stages["age"].add(now - frame.timestamp)
        current = 1.0 / max(1e-6, now - self.last_decision)
        self.live_fps += (current - self.live_fps) * (FPS_SMOOTHING if self.inferred > 1 else 1.0)
        self.last_decision = now

    def _show(self, frame: Frame, result: Result, hud: Hud, right: int | None) -> None:
        if self.recorder is None and self.window is None:
            return
        start = time.perf_counter()
        label = None if right is None else self.classifier.card.labels[right]
        drawn = annotate(frame.image, result, hud, label)
        if self.recorder is not None:
            self.recorder.write(drawn, frame.media_time, wait=self.source.lossless)
        if self.window is not None and not self.window.show(drawn):
            self.ended = self.ended or "window closed"
        self.stages["draw"].add(time.perf_counter() - start)

    def _check_limits(self) -> None:
        frames, seconds = self.limits.frames, self.limits.seconds
        if frames is not None and self.inferred >= frames:
            self.ended = self.ended or "limit"
        if seconds is not None and time.monotonic() - self.start >= seconds:
            self.ended = self.ended or "limit"

    def _stats(self, capture: Capture) -> CameraStats:
        captured, taken, dropped = capture.counts()
        # A frame whose classification failed was taken but not inferred; it must not vanish from the books.
        return CameraStats(
            source=self.source.name,
            kernels=str(self.classifier.network.kernels),
            threads=self.classifier.threads,
            ended=self.ended,
            seconds=time.monotonic() - self.start,
            captured=captured,
            inferred=self.inferred,
            dropped=dropped + taken - self.inferred,
            judged=self.judged,
            correct=self.correct,
            stages={name: histogram.summary() for name, histogram in self.stages.items()},
            notes=tuple(self.source.notes),
        )
