"""A live source that is lost, hangs or lies: opened anew, books exact, nothing left behind."""

import random
import threading
import time

import numpy as np
import pytest
from support.faulty_camera import STEADY, Cameras, lost, quicken, read

from edgekit.errors import InputError
from edgekit_deploy import capture as capture_module
from edgekit_deploy.capture import Capture
from edgekit_deploy.sources.frames import SourceLost


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    quicken(monkeypatch)


@pytest.mark.parametrize(
    "first",
    [["frame", lost()], ["frame"], ["frame", "hang"], ["frame", 0.6, "frame"]],
    ids=["error", "end", "hang", "stall"],
)
def test_a_lost_camera_comes_back(first, monkeypatch):
    if "hang" in first or 0.6 in first:
        monkeypatch.setattr(capture_module, "HANG_SECONDS", 0.3)
    cameras = Cameras(first, STEADY)
    frames, troubles, capture = read(cameras, 30)
    cameras.stop.set()
    # Where a hang is told so soon, a busy machine may be taken for another one.
    assert capture.reconnects == 1 or (capture.reconnects > 1 and capture_module.HANG_SECONDS < 2.0)
    assert any("camera must keep delivering" in trouble for trouble in troubles)
    assert troubles[-1] == ""
    indices = [frame.index for frame in frames]
    assert indices == sorted(set(indices))
    times = [frame.media_time for frame in frames[1:]]
    assert times == sorted(times) and times[0] > 0.0


def test_attempts_that_fail_are_followed_by_others():
    refused = [lost(early=True)]
    cameras = Cameras(["frame", lost()], refused, refused, refused, STEADY)
    frames, _, capture = read(cameras, 5)
    assert len(frames) == 5 and len(cameras.given) == 5
    # Four openings, but the camera was away once.
    assert capture.reconnects == 1


def test_an_opening_that_hangs_is_given_up():
    cameras = Cameras(["frame", lost()], ["hang open"], STEADY)
    frames, troubles, _ = read(cameras, 5)
    cameras.stop.set()
    assert len(frames) == 5
    assert any("got nothing" in trouble for trouble in troubles)


def test_pauses_grow_and_begin_anew(monkeypatch):
    monkeypatch.setattr(capture_module, "PAUSES", (0.05, 1.5))
    monkeypatch.setattr(capture_module, "STEADY_SECONDS", 0.1)
    opened = []

    class Noting(Cameras):
        def __call__(self):
            opened.append(time.monotonic())
            return super().__call__()

    refused = [lost(early=True)]
    read(Noting(["frame", lost()], refused, [*["frame", 0.01] * 50, lost()], STEADY), 60)
    gaps = np.diff(opened)
    # Lower bounds are exact; the machine may be late.
    assert gaps[0] >= 0.05 and gaps[1] >= 1.5 and gaps[2] >= 0.05
    assert gaps[2] < 2.0  # half a second of frames, then the short pause


def test_hanging_threads_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(capture_module, "HANG_SECONDS", 0.02)
    before = threading.active_count()
    cameras = Cameras(["frame", "hang"])
    with Capture(cameras(), cameras) as capture:
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            capture.get(0.02)
        assert threading.active_count() - before <= capture_module.MOST_STUCK_THREADS + 1
        assert len(cameras.given) <= capture_module.MOST_STUCK_THREADS + 1
        assert "hangs in its driver" in capture.trouble
        cameras.stop.set()
        # Once they are free, it goes on.
        cameras.scripts[:] = [STEADY]
        end = time.monotonic() + 10
        while capture.trouble and time.monotonic() < end:
            capture.get(0.02)
        assert capture.trouble == ""


def test_a_source_that_cannot_even_be_named_is_tried_again():
    """The link in /dev is gone while the camera is unplugged."""
    cameras, calls = Cameras(["frame", lost()], STEADY), []

    def reopen():
        calls.append(None)
        if len(calls) < 3:
            raise InputError("--source must be a camera, got nothing there.")
        return cameras()

    with Capture(cameras(), reopen) as capture:
        end = time.monotonic() + 10
        while capture.reconnects == 0:
            assert time.monotonic() < end
            capture.get(0.02)
    assert len(calls) == 3


def test_notes_are_told_once():
    class Noting(Cameras):
        def __call__(self):
            camera = super().__call__()
            camera.notes.append("asked for MJPG, granted YUYV.")
            return camera

    _, _, capture = read(Noting(["frame", lost()], ["frame", lost()], STEADY), 5)
    assert capture.notes == ["asked for MJPG, granted YUYV."]


def test_pictures_that_nobody_could_read_are_counted():
    script = ["bad", "frame", "bad", "bad", "frame", 0.01, lost()]
    _, _, capture = read(Cameras(script, script, STEADY), 20)
    assert capture.notes == ["camera: 6 pictures could not be read."]


def test_what_another_opening_cannot_mend_is_the_end():
    cameras = Cameras(["frame", lost()], [InputError("no such format")])
    with pytest.raises(InputError, match="no such format"):
        read(cameras, 5)


def test_without_reopening_a_loss_is_the_end_and_so_is_a_hang():
    for script in (["frame", lost()], ["frame", "hang"]):
        cameras = Cameras(script)
        with pytest.raises(SourceLost):
            read(cameras, 5, reopen=False)
        cameras.stop.set()
        assert len(cameras.given) == 1


def test_a_slow_camera_is_not_taken_for_hung(monkeypatch):
    monkeypatch.setattr(capture_module, "HANG_PERIODS", 3.0)
    cameras = Cameras(["frame", 0.4] * 4)
    first = cameras()
    first.fps = 2.5
    with Capture(first, cameras) as capture:
        frames = 0
        end = time.monotonic() + 10
        while frames < 3 and time.monotonic() < end:
            frames += capture.get(0.05) is not None
        assert capture.reconnects == 0 and capture.trouble == ""


@pytest.mark.parametrize("block", range(10))
def test_fifty_random_schedules_of_faults(block, monkeypatch):
    # So short that a busy machine is taken for a hung camera now and then: the books must be exact all the same.
    monkeypatch.setattr(capture_module, "HANG_SECONDS", 0.03)
    monkeypatch.setattr(capture_module, "PAUSES", (0.001, 0.002))
    for seed in range(50 * block, 50 * block + 50):
        rng = random.Random(seed)
        steps = ["frame", "frame", "frame", 0.0005, 0.002]

        def opening(rng=rng, steps=steps):
            script = [rng.choice(steps) for _ in range(rng.randint(0, 12))]
            last = rng.choice(["error", "early", "end", "end", "hang"] if rng.random() < 0.3 else ["error", "end"])
            extra = {"error": [lost()], "end": [], "hang": ["hang"]}
            return [lost(early=True)] if last == "early" else script + extra[last]

        first = ["frame", *opening()] if seed % 5 else ["frame", lost()]
        if isinstance(first[-1], SourceLost) and getattr(first[-1], "early", False):
            first = ["frame"]
        cameras = Cameras(first, *(opening() for _ in range(rng.randint(0, 4))), STEADY)
        wanted = rng.randint(1, 12)
        frames, _, capture = read(cameras, wanted)
        cameras.stop.set()
        captured, taken, dropped = capture.counts()
        assert captured == taken + dropped, seed
        assert taken == len(frames) == wanted, seed
        # A frame that comes from a camera already left behind was not captured.
        assert captured <= cameras.captured(), seed
        indices = [frame.index for frame in frames]
        assert indices == sorted(set(indices)), seed
    # Threads that hung were freed; all of them end, and close their camera.
    end = time.monotonic() + 10
    while any(thread.name == "edgekit-capture" for thread in threading.enumerate()) and time.monotonic() < end:
        time.sleep(0.01)
    assert not any(thread.name == "edgekit-capture" for thread in threading.enumerate())
