"""The loop on real files and scripted sources: books, truth, limits, faults."""

import itertools
import json
import os
import signal
import threading
import time

import numpy as np
import pytest
from support import tiny_model
from support.clips import colour_pictures, read_clip, write_clip

from edgekit.errors import InputError
from edgekit_deploy.camera import Limits, Monitor, run_camera
from edgekit_deploy.classifier import Classifier
from edgekit_deploy.outputs.recorder import Recorder
from edgekit_deploy.sources.folder import FolderSource
from edgekit_deploy.sources.frames import Frame, SourceLost
from edgekit_deploy.sources.video import VideoSource
from edgekit_deploy.stats import STAGES
from edgekit_deploy.truth import Truth

COLOURS = [tiny_model.BGR[name] for name in tiny_model.COLOURS]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", colour_pictures(COLOURS, 20), fps=60.0)


@pytest.fixture
def classifier():
    return Classifier(tiny_model.parsed())


class Endless:
    """A camera that never ends: `steps` before frame i may sleep, or raise, or give another picture."""

    def __init__(self, act=lambda index: None, period=0.002):
        self.name, self.lossless, self.fps, self.notes = "endless", False, 30.0, []
        self.is_live = not self.lossless
        self.act, self.period, self.closed = act, period, 0

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.closed += 1

    def describe(self):
        return self.name

    def __iter__(self):
        start, index = time.monotonic(), 0
        while True:
            time.sleep(self.period)
            picture = self.act(index)
            if picture is None:
                picture = np.full((48, 64, 3), COLOURS[index % 3], np.uint8)
            now = time.monotonic()
            yield Frame(picture, now, index, now - start)
            index += 1


def check_books(stats):
    assert stats.captured == stats.inferred + stats.dropped
    assert set(stats.stages) == set(STAGES)
    assert stats.stages["invoke"].count == stats.inferred
    assert stats.stages["age"].count == stats.inferred
    json.dumps(stats.to_plain())


def test_fast_file_every_frame_with_truth(classifier, clip):
    truth = Truth((0, 20, 40), (0, 1, 2))
    stats = run_camera(classifier, VideoSource(clip, fast=True), truth=truth)
    check_books(stats)
    assert (stats.captured, stats.inferred, stats.dropped) == (60, 60, 0)
    assert (stats.judged, stats.correct, stats.accuracy) == (60, 60, 1.0)
    assert stats.ended == "end of stream"
    assert stats.kernels == "xnnpack"


def test_wrong_truth_is_counted_wrong_and_unknown_is_not_judged(classifier, clip):
    stats = run_camera(classifier, VideoSource(clip, fast=True), truth=Truth((10, 30), (0, 0)))
    assert (stats.judged, stats.correct) == (50, 10)
    assert stats.accuracy == pytest.approx(0.2)
    assert run_camera(classifier, VideoSource(clip, fast=True)).accuracy is None


def test_real_time_file(classifier, clip):
    seen = []
    stats = run_camera(classifier, VideoSource(clip), observer=seen.append, truth=Truth((0, 20, 40), (0, 1, 2)))
    check_books(stats)
    assert stats.captured == 60
    assert stats.accuracy == 1.0
    assert 0.98 <= stats.seconds < 5.0
    indices = [decision.frame.index for decision in seen]
    assert indices == sorted(set(indices)) and indices[-1] == 59
    assert [decision.inferred for decision in seen] == list(range(1, stats.inferred + 1))


def test_a_slow_consumer_drops_and_stays_fresh(classifier):
    stats = run_camera(
        classifier, Endless(period=0.005), observer=lambda decision: time.sleep(0.03), limits=Limits(frames=20)
    )
    check_books(stats)
    assert stats.inferred == 20
    assert stats.dropped > 20
    # A frame period and the machine's own jitter; a queue would show hundreds of milliseconds.
    assert stats.stages["age"].p50 < 100.0


@pytest.mark.parametrize("seed", range(8))
def test_books_balance_under_random_loads(classifier, seed):
    rng = np.random.default_rng(seed)
    source = Endless(period=float(rng.uniform(0.0, 0.004)))
    slow = float(rng.uniform(0.0, 0.008))
    frames = int(rng.integers(1, 60))
    stats = run_camera(classifier, source, observer=lambda d: time.sleep(slow), limits=Limits(frames=frames))
    check_books(stats)
    assert stats.inferred == frames and stats.ended == "limit"
    assert source.closed == 1


def test_limit_of_seconds_holds_even_without_frames(classifier):
    silent = Endless(act=lambda index: time.sleep(0.4))
    start = time.monotonic()
    stats = run_camera(classifier, silent, limits=Limits(seconds=0.2))
    assert stats.ended == "limit"
    assert time.monotonic() - start < 3.0
    check_books(stats)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_end_the_loop_without_raising(classifier, name):
    number = signal.Signals[name]
    before = signal.getsignal(number)
    stats = run_camera(
        classifier, Endless(), observer=lambda d: os.kill(os.getpid(), number) if d.inferred == 5 else None
    )
    assert stats.ended == name
    assert stats.inferred == 5
    check_books(stats)
    assert signal.getsignal(number) is before


def test_loop_runs_in_another_thread(classifier, clip):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(run_camera(classifier, VideoSource(clip, fast=True))))
    thread.start()
    thread.join(30)
    assert answers[0].inferred == 60


def test_lost_camera_raises_with_the_books_so_far(classifier, tmp_path):
    def pull(index):
        if index == 12:
            raise SourceLost("camera 0 must keep delivering, got no frame.")

    with Recorder(tmp_path / "out.mp4") as recorder, pytest.raises(SourceLost) as caught:
        run_camera(classifier, Endless(pull), recorder=recorder)
    stats = caught.value.stats
    check_books(stats)
    assert stats.captured == 12
    assert stats.ended == "source lost"
    assert len(read_clip(tmp_path / "out.mp4")[0]) >= 1


def test_any_error_in_the_capture_thread_surfaces(classifier):
    def fail(index):
        if index == 3:
            raise ZeroDivisionError

    source = Endless(fail)
    with pytest.raises(ZeroDivisionError):
        run_camera(classifier, source)
    assert source.closed == 1


def test_an_error_in_the_observer_closes_the_source(classifier):
    def fail(decision):
        raise KeyError("observer")

    source = Endless()
    with pytest.raises(KeyError):
        run_camera(classifier, source, observer=fail)
    assert source.closed == 1


def test_frames_of_changing_size_and_shape(classifier):
    sizes = [(48, 64), (1, 1), (500, 333), (16, 16), (64, 48)]
    stats = run_camera(
        classifier,
        Endless(lambda index: tiny_model.noise(index, *sizes[index % 5]), period=0.003),
        limits=Limits(frames=25),
    )
    check_books(stats)


def test_window_that_is_closed_ends_the_loop(classifier):
    class Closing:
        def __init__(self):
            self.shown = 0

        def show(self, image):
            self.shown += 1
            return self.shown < 4

        def is_wanted(self):
            return True

    stats = run_camera(classifier, Endless(), window=Closing())
    assert stats.ended == "window closed"
    assert stats.inferred == 4


def test_a_window_lives_while_no_frame_comes_and_may_be_closed(classifier):
    class Waiting:
        looks = 0

        def show(self, image):
            return True

        def is_wanted(self):
            self.looks += 1
            return self.looks < 3

    slow = Endless(act=lambda index: time.sleep(1.5) if index else None)
    stats = run_camera(classifier, slow, window=Waiting())
    assert stats.ended == "window closed"
    assert stats.inferred == 1


def test_counters_never_fall_while_the_loop_runs(classifier):
    """As another thread sees them."""
    monitor, seen, is_over = Monitor(), [], threading.Event()

    def scrape():
        while not is_over.wait(0.0005):
            if (stats := monitor.stats()) is not None:
                seen.append((stats.captured, stats.inferred, stats.dropped))

    thread = threading.Thread(target=scrape)
    thread.start()
    stats = run_camera(
        classifier,
        Endless(period=0.001),
        observer=lambda decision: time.sleep(0.005),
        limits=Limits(frames=60),
        monitor=monitor,
    )
    is_over.set()
    thread.join()
    check_books(stats)
    assert len(seen) > 20
    for before, after in itertools.pairwise(seen):
        assert all(a <= b for a, b in zip(before, after, strict=True))


def test_time_spent_on_giving_a_camera_up_is_not_the_loops(classifier, monkeypatch):
    monkeypatch.setattr("edgekit_deploy.capture.JOIN_SECONDS", 1.5)
    stuck = Endless(act=lambda index: time.sleep(3.0) if index else None)
    assert run_camera(classifier, stuck, limits=Limits(seconds=0.3)).seconds < 1.2


def test_waiting_is_all_the_time_since_the_decision_before(classifier):
    stats = run_camera(classifier, Endless(period=0.25), limits=Limits(frames=5))
    # Longer than one look into the mailbox.
    assert stats.stages["wait"].p50 > 200.0


def test_folder_of_tiny_and_large_images(classifier, tmp_path):
    import cv2

    for index, size in enumerate([(16, 16), (1000, 30), (7, 900)]):
        cv2.imwrite(str(tmp_path / f"{index}.png"), tiny_model.noise(index, *size))
    (tmp_path / "bad.png").write_bytes(b"")
    stats = run_camera(classifier, FolderSource(tmp_path))
    check_books(stats)
    assert stats.inferred == 3
    assert any("bad.png" in note for note in stats.notes)
    assert any("bad.png" in line for line in stats.lines())


def test_a_source_that_cannot_open(classifier, tmp_path):
    with pytest.raises(InputError):
        run_camera(classifier, VideoSource(tmp_path / "nothing.mp4"))


def test_memory_and_threads_do_not_grow(classifier):
    before = threading.active_count()
    for _ in range(20):
        run_camera(classifier, Endless(period=0.0), limits=Limits(frames=5))
    assert threading.active_count() == before
