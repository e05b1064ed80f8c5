"""Recordings: playable, in real time, whole or absent, and never in the loop's way."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from support.clips import read_clip

from edgekit.errors import InputError
from edgekit_deploy.outputs import film as film_module
from edgekit_deploy.outputs import recorder as recorder_module
from edgekit_deploy.outputs.film import fit
from edgekit_deploy.outputs.recorder import QUEUE_LENGTH, RESERVE_BYTES, Recorder


def grey(level: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def levels(path) -> list[int]:
    pictures, _ = read_clip(path)
    return [round(float(picture.mean())) for picture in pictures]


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".MP4"])
def test_real_file_plays(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    with Recorder(path, 25.0) as recorder:
        for index in range(20):
            recorder.write(grey(10 * index), index / 25.0, wait=True)
    pictures, fps = read_clip(path)
    assert (len(pictures), recorder.written, recorder.dropped, recorder.problem) == (20, 20, 0, "")
    assert fps == pytest.approx(25.0)
    # Lossy codecs: a few levels off.
    np.testing.assert_allclose(levels(path), [10 * i for i in range(20)], atol=6)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_what_a_killed_process_has_left_is_swept(tmp_path):
    old, fresh, other = (tmp_path / f".out[1]{name}.mp4" for name in ("-k3j9x_ab", "-12345678", "-2-k3j9x_ab"))
    for path in (old, fresh, other):
        path.write_bytes(b"x")
    for path in (old, other):
        os.utime(path, (time.time() - 7200,) * 2)
    with Recorder(tmp_path / "out[1].mp4"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [fresh.name, other.name]


def test_slow_frames_are_repeated_and_fast_ones_skipped(tmp_path):
    path = tmp_path / "out.avi"
    times = {0.0: 0, 0.1: 40, 0.5: 80, 0.51: 120, 0.52: 160, 0.6: 200}
    with Recorder(path, 10.0) as recorder:
        for time, level in times.items():
            recorder.write(grey(level), time, wait=True)
    # Slots of 0.1 s: 0, 1 (repeated until 0.4), the last of the three around 0.5, 0.6.
    np.testing.assert_allclose(levels(path), [0, 40, 40, 40, 40, 160, 200], atol=4)


def test_clock_jumps_neither_fill_the_disk_nor_stop_the_film(tmp_path):
    path = tmp_path / "out.avi"
    with Recorder(path, 10.0) as recorder:
        for time in (100.0, 100.1, 5.0, 5.1, 9e9, 9e9 + 1.0):
            recorder.write(grey(50), time, wait=True)
    assert recorder.written == 6 + 9
    assert len(read_clip(path)[0]) == 15


@pytest.mark.parametrize("size", [(33, 47), (1, 1), (2, 2), (240, 241)])
def test_odd_sizes(tmp_path, size):
    path = tmp_path / "out.mp4"
    with Recorder(path, 10.0) as recorder:
        recorder.write(grey(99, *size), 0.0, wait=True)
        recorder.write(grey(99, *size), 0.1, wait=True)
    assert recorder.problem == ""
    assert len(read_clip(path)[0]) == 2


def test_frames_of_changing_size_are_fitted(tmp_path):
    path = tmp_path / "out.avi"
    with Recorder(path, 10.0) as recorder:
        for index, size in enumerate([(48, 64), (480, 640), (64, 48), (5, 500)]):
            recorder.write(grey(200, *size), index / 10.0, wait=True)
    assert {picture.shape for picture in read_clip(path)[0]} == {(48, 64, 3)}


def test_fit_keeps_the_aspect_ratio():
    canvas = fit(grey(200, 100, 50), (64, 48))
    assert canvas.shape == (48, 64, 3)
    assert (canvas[:, :20] == 0).all() and (canvas[:, 44:] == 0).all() and (canvas[:, 21:43] == 200).all()


def test_no_frame_no_file(tmp_path):
    with Recorder(tmp_path / "out.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_kept_after_an_exception_in_the_loop(tmp_path):
    path = tmp_path / "out.mp4"
    with pytest.raises(RuntimeError), Recorder(path) as recorder:
        recorder.write(grey(9), 0.0)
        raise RuntimeError
    assert len(read_clip(path)[0]) == 1


@pytest.mark.parametrize("name", ["out.mkv", "out", "out.mp4.txt"])
def test_other_suffixes_are_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"\.mp4"):
        Recorder(tmp_path / name)


def test_unwritable_place_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="writable"), Recorder(tmp_path / "file" / "out.mp4"):
        pass


def test_codec_that_opencv_lacks_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setitem(film_module.CODECS, ".mp4", "ZZZZ")
    with pytest.raises(InputError, match="ZZZZ"), Recorder(tmp_path / "out.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_full_disk_ends_the_recording_not_the_loop(tmp_path):
    free = iter([RESERVE_BYTES * 2] * 3 + [RESERVE_BYTES - 1] * 100)
    path = tmp_path / "out.mp4"
    told = []
    with Recorder(path, 10.0, free_bytes=lambda folder: next(free), warn=told.append) as recorder:
        for index in range(200):
            recorder.write(grey(index), index / 10.0, wait=True)
    assert "nearly full" in recorder.problem
    assert told == [recorder.problem]
    assert 1 < len(read_clip(path)[0]) < 40
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.mp4"]


def test_a_disk_that_is_full_already_is_refused_at_once(tmp_path):
    recorder = Recorder(tmp_path / "out.mp4", free_bytes=lambda folder: RESERVE_BYTES - 1)
    with pytest.raises(InputError, match="MiB free"), recorder:
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_finished_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(film_module, "_is_playable", lambda path: False)
    with Recorder(tmp_path / "out.mp4") as recorder:
        recorder.write(grey(1), 0.0)
    assert "could not be finished" in recorder.problem
    assert recorder.written == 0
    assert list(tmp_path.iterdir()) == []


def test_that_a_file_is_lost_is_told_after_all_else(tmp_path, monkeypatch):
    free, told = iter([RESERVE_BYTES] * 3 + [RESERVE_BYTES - 1] * 100), []
    monkeypatch.setattr(film_module, "_is_playable", lambda path: False)
    with Recorder(tmp_path / "out.mp4", 10.0, free_bytes=lambda folder: next(free), warn=told.append) as recorder:
        for index in range(40):
            recorder.write(grey(index), index / 10.0, wait=True)
    assert ["nearly full" in told[0], "could not be finished" in told[1], len(told)] == [True, True, 2]
    assert recorder.problem == told[1] and (recorder.written, recorder.dropped) == (0, 40)
    assert list(tmp_path.iterdir()) == []


def test_codec_crash_is_one_line_and_the_loop_goes_on(tmp_path, monkeypatch):
    def explode(image, size):
        raise ValueError("codec")

    with Recorder(tmp_path / "out.mp4") as recorder:
        monkeypatch.setattr(film_module, "fit", explode)
        for index in range(50):
            recorder.write(grey(1), index / 10.0, wait=True)
    assert "codec" in recorder.problem
    assert list(tmp_path.iterdir()) == []


def test_frames_that_come_too_fast_are_dropped_and_counted(tmp_path):
    with Recorder(tmp_path / "out.avi", 1000.0) as recorder:
        for index in range(60):
            recorder.write(grey(index, 1080, 1920), index / 1000.0)
    assert recorder.dropped > 0
    # Slots in between are filled by repeats, so that time stays right; the last frame may be among the dropped.
    assert 60 - recorder.dropped <= recorder.written <= 60


def test_two_interrupts_while_finishing_neither_lose_the_file_nor_leave_another(tmp_path, monkeypatch):
    path, slow = tmp_path / "out.avi", film_module._is_playable
    monkeypatch.setattr(film_module, "_is_playable", lambda part: time.sleep(1.0) or slow(part))
    timers = [threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT)) for delay in (0.3, 0.6)]
    with pytest.raises(KeyboardInterrupt), Recorder(path, 10.0) as recorder:
        recorder.write(grey(9), 0.0)
        for timer in timers:
            timer.start()
    assert not any(timer.is_alive() for timer in timers)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.avi"]
    assert len(read_clip(path)[0]) == 1


def test_an_interrupt_before_the_end_is_announced(tmp_path, monkeypatch):
    recorder = Recorder(tmp_path / "out.avi", 10.0)
    put, tries = recorder._queue.put, []

    def interrupted_put(item, **how):
        if item is None and not tries:
            tries.append(item)
            raise KeyboardInterrupt
        put(item, **how)

    monkeypatch.setattr(recorder._queue, "put", interrupted_put)
    with pytest.raises(KeyboardInterrupt), recorder:
        recorder.write(grey(9), 0.0)
    assert len(read_clip(tmp_path / "out.avi")[0]) == 1


@pytest.mark.parametrize("where", ["while encoding", "while finishing"])
def test_a_disk_that_hangs_is_told_and_given_up(tmp_path, monkeypatch, where):
    monkeypatch.setattr(recorder_module, "SLOW_SECONDS", 0.2)
    monkeypatch.setattr(recorder_module, "FINISH_SECONDS", 1.0)
    woken, told = threading.Event(), []
    hangs = "fit" if where == "while encoding" else "_is_playable"
    monkeypatch.setattr(film_module, hangs, lambda *arguments: woken.wait(60) and None)
    with Recorder(tmp_path / "out.avi", 10.0, warn=told.append) as recorder:
        for index in range(2 * QUEUE_LENGTH):
            recorder.write(grey(index), index / 10.0)
        start = time.monotonic()
    assert 1.0 <= time.monotonic() - start < 10.0
    thread = recorder._thread
    assert thread.is_alive()
    assert "its disk is slow" in told[0] and "its disk hangs" in told[1]
    assert told[1] == recorder.problem and recorder.written == 0
    assert not (tmp_path / "out.avi").exists()
    woken.set()
    thread.join(10.0)


def test_the_disk_is_looked_at_whatever_the_repeats_add_up_to(tmp_path):
    free = iter([RESERVE_BYTES * 2] * 3 + [RESERVE_BYTES - 1] * 100)
    with Recorder(tmp_path / "out.avi", 10.0, free_bytes=lambda folder: next(free)) as recorder:
        # One slot, then two each: the frames written are never a multiple of ten when the disk fills up.
        for index in range(60):
            recorder.write(grey(index), max(0, 2 * index - 1) / 10.0, wait=True)
    assert "nearly full" in recorder.problem
