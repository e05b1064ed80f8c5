"""A live source that is not there yet, hangs in its first opening, or says no."""

import time

import pytest
from support.faulty_camera import STEADY, Camera, Cameras, lost, quicken, read

from edgekit_deploy.capture import NOT_WAITING, Capture
from edgekit_deploy.sources.frames import SourceLost, SourceRefused


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    quicken(monkeypatch)


def test_a_camera_that_is_not_there_yet_is_waited_for():
    refused = [lost(early=True)]
    cameras = Cameras(refused, refused, STEADY)
    frames, troubles, capture = read(cameras, 5)
    assert len(frames) == 5 and len(cameras.given) == 3
    # The first reason, once; then it is there, which is no return.
    told = [trouble for trouble in troubles if trouble]
    assert told == [f"{lost()} Waiting for it ({NOT_WAITING})."] and troubles[-1] == ""
    assert capture.reconnects == 0
    # Numbers begin at 0; on a busy machine the first frames may be dropped.
    assert frames[0].index <= capture.counts()[2]
    # What failed to open was let go of all the same.
    assert all(camera.closed for camera in cameras.given)


def test_nobody_waits_where_waiting_does_not_help():
    class Refusing(Camera):
        def __enter__(self):
            raise SourceRefused("camera must answer with video, got HTTP 401.")

    class File(Camera):
        is_live = False

    gone, later = [lost(early=True)], Cameras(STEADY)
    for source, reopen in ((Refusing([], None), later), (File(gone, None), later), (Camera(gone, None), None)):
        with pytest.raises(SourceLost, match="camera must"), Capture(source, reopen) as capture:
            capture.get(10.0)
        assert source.closed == 1


def test_a_camera_that_is_awaited_may_refuse_while_it_boots():
    class Booting(Camera):
        def __enter__(self):
            raise SourceRefused("camera must answer with video, got HTTP 404.")

    cameras = Cameras([lost(early=True)], STEADY)
    given = iter([cameras(), Booting([], None)])
    with Capture(next(given), lambda: next(given, None) or cameras()) as capture:
        end = time.monotonic() + 10
        while (frame := capture.get(0.02)) is None and time.monotonic() < end:
            pass
    assert frame is not None and next(given, None) is None


def test_a_first_opening_that_hangs_is_told_and_given_up():
    cameras = Cameras(["hang open"], STEADY)
    frames, troubles, capture = read(cameras, 5)
    cameras.stop.set()
    assert len(frames) == 5 and capture.reconnects == 0
    told = [trouble for trouble in troubles if trouble]
    assert "does not open at once" in told[0]
    assert "camera must open within 0.3 s" in told[1] and "Waiting for it" in told[1]


def test_a_refusal_that_takes_its_time_is_an_error_all_the_same():
    class Slow(Camera):
        def __enter__(self):
            time.sleep(0.2)
            raise SourceRefused("camera must answer with video, got HTTP 401.")

    with pytest.raises(SourceRefused, match="HTTP 401"), Capture(Slow([], None), Cameras(STEADY)) as capture:
        while time.monotonic() - capture.start < 10:
            capture.get(0.02)


def test_a_camera_that_fails_at_once_was_described_before():
    """It is closed again by the time the loop looks, which is when the loop tells what it was."""
    cameras = Cameras([lost()], STEADY)
    with Capture(cameras(), cameras) as capture:
        end = time.monotonic() + 10
        while not capture.trouble and time.monotonic() < end:
            capture.get(0.02)
        assert capture.has_come and capture.description == "camera: open"


def test_a_slow_opening_is_told_and_comes_to_its_end():
    class Slow(Camera):
        def __enter__(self):
            time.sleep(0.2)
            return self

    given = [Slow(STEADY, None)]
    frames, troubles, capture = read(given.pop, 5)
    assert len(frames) == 5 and capture.reconnects == 0
    assert [bool(trouble) for trouble in troubles] == [False, True, False]
