"""Recordings in parts: each whole for itself, in order, nothing missing between them, old ones removed."""

import os
import re
import threading
import time

import cv2
import numpy as np
import pytest
from support.camera_process import edgekit, make_files, one_line
from support.clips import read_clip
from support.recordings import FPS, LONG, SECONDS, SHORT, give, numbers, parts_in, touched, until

from edgekit.errors import InputError
from edgekit_deploy.outputs import film as film_module
from edgekit_deploy.outputs import recorder as recorder_module
from edgekit_deploy.outputs.parts import ABANDONED_SECONDS, Parts, is_part, place
from edgekit_deploy.outputs.recorder import Recorder


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_no_frame_is_missing_between_parts(tmp_path, suffix):
    with Recorder(tmp_path / f"out{suffix}", FPS, parts=LONG) as recorder:
        give(recorder, range(50))
    assert parts_in(tmp_path) == [[*range(20)], [*range(20, 40)], [*range(40, 50)]]
    assert (recorder.written, recorder.dropped, recorder.problem) == (50, 0, "")
    assert all(re.fullmatch(rf"out-\d{{8}}T\d{{6}}Z(-\d+)?\{suffix}", path.name) for path in tmp_path.iterdir())


def test_a_last_part_of_full_length_is_not_followed_by_an_empty_one(tmp_path):
    with Recorder(tmp_path / "out.avi", FPS, parts=LONG) as recorder:
        give(recorder, range(40))
    assert parts_in(tmp_path) == [[*range(20)], [*range(20, 40)]]


def test_a_camera_goes_on_while_a_slow_disk_finishes_a_part(tmp_path, monkeypatch):
    gate = threading.Event()
    # Where its file is looked at, whatever is held meanwhile.
    capture = cv2.VideoCapture
    monkeypatch.setattr(film_module.cv2, "VideoCapture", lambda path: gate.wait(2 * SECONDS) and capture(path))
    with Recorder(tmp_path / "out.avi", FPS, parts=LONG) as recorder:
        for number in range(30):
            give(recorder, [number], wait=False)
            until(recorder._queue.empty)
        assert not list(tmp_path.glob("out-*"))
        gate.set()
    monkeypatch.undo()
    assert parts_in(tmp_path) == [[*range(20)], [*range(20, 30)]]
    assert recorder.dropped == 0


def test_a_part_ends_while_the_camera_is_away(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder_module, "PATIENCE_SECONDS", 0.3)
    with Recorder(tmp_path / "out.avi", FPS, parts=Parts(60.0)) as recorder:
        give(recorder, range(3))
        until(lambda: list(tmp_path.glob("out-*")))
        give(recorder, range(10, 12))
    # A slow machine may be away itself, and make more parts.
    found = parts_in(tmp_path)
    assert [number for part in found for number in part] == [0, 1, 2, 10, 11]
    assert not any(2 in part and 10 in part for part in found)


@pytest.mark.parametrize("clock", ["right", "behind", "behind at first"])
def test_old_parts_are_removed_those_of_earlier_runs_too_and_nothing_else(tmp_path, monkeypatch, clock):
    # A Raspberry Pi without a network begins with a time long past.
    earlier = time.time() + (86400.0 if clock == "behind" else -86400.0)
    steps = iter([0.0, -1e8] if clock == "behind at first" else [])
    for day in (1, 2, 3):
        touched(tmp_path / f"out-2024010{day}T030405Z.avi", earlier + day)
    names = ("out.avi", "out-holiday.avi", "out-20240101T030405Z.mp4", "in-20240101T030405Z.avi", "out-20240101.avi")
    others = [touched(tmp_path / name, 1.7e9) for name in names]
    is_playable = film_module._is_playable

    def finished(path):
        was_playable, seconds = is_playable(path), time.time() + next(steps, 0.0)
        os.utime(path, (seconds, seconds))
        return was_playable

    monkeypatch.setattr(film_module, "_is_playable", finished)
    with Recorder(tmp_path / "out.avi", FPS, parts=Parts(LONG.minutes, keep=2)) as recorder:
        give(recorder, range(50))
    kept = [path for path in tmp_path.iterdir() if path not in others]
    assert sorted(map(numbers, kept)) == [[*range(20, 40)], [*range(40, 50)]]
    assert all(path.exists() for path in others)


def test_a_part_that_cannot_be_removed_does_not_keep_the_others(tmp_path):
    (tmp_path / "out-20230101T000000Z.avi").mkdir()
    os.utime(tmp_path / "out-20230101T000000Z.avi", (1.6e9, 1.6e9))
    old = touched(tmp_path / "out-20240101T000000Z.avi", 1.7e9)
    with Recorder(tmp_path / "out.avi", FPS, parts=Parts(LONG.minutes, keep=1)) as recorder:
        give(recorder, range(3))
    assert not old.exists()
    assert len(list(tmp_path.iterdir())) == 2


def test_one_file_takes_the_place_of_an_older_one_and_leaves_parts_alone(tmp_path):
    part = touched(tmp_path / "out-20240102T030405Z.avi", 1.7e9)
    for count in (3, 5):
        with Recorder(tmp_path / "out.avi", FPS) as recorder:
            give(recorder, range(count))
    assert numbers(tmp_path / "out.avi") == [*range(5)]
    assert part.exists()


def test_what_killed_processes_have_left_of_parts_is_swept(tmp_path):
    names = [".out-20240102T030405Z-k3j9x_ab.avi", ".out-20240102T030405Z-2-k3j9x_ab.avi"]
    for name in names:
        touched(tmp_path / name, time.time() - 2 * ABANDONED_SECONDS)
    fresh = touched(tmp_path / ".out-20240102T030405Z-12345678.avi", time.time())
    with Recorder(tmp_path / "out.avi", FPS, parts=SHORT) as recorder:
        assert list(tmp_path.iterdir()) == [fresh]
        # It was left by a process that was killed just before this one began.
        touched(fresh, time.time() - 2 * ABANDONED_SECONDS)
        give(recorder, range(3))
    assert parts_in(tmp_path) == [[0, 1, 2]] and not fresh.exists()


def test_a_name_is_not_given_twice(tmp_path):
    first = place(tmp_path / "out.mp4", None)
    given = [place(tmp_path / "out.mp4", taken) for taken in (first, first)]
    assert first not in given
    for path in given:
        path.touch()
    assert place(tmp_path / "out.mp4", first) not in (first, *given)
    assert is_part(given[0], tmp_path / "out.mp4") and not is_part(given[0], tmp_path / "other" / "out.mp4")


@pytest.mark.parametrize(("numbers", "said"), [((0.0,), "above 0"), ((np.nan,), "above 0"), ((1.0, 0), "at least 1")])
def test_impossible_parts_are_refused(numbers, said):
    with pytest.raises(InputError, match=said):
        Parts(*numbers)


def test_by_the_command(tmp_path):
    files = make_files(tmp_path)
    words = ("camera", "model.tflite", "--source", "long.mp4", "--fast", "--headless", "--threads", 1)
    done = edgekit(files, *words, "--record", "films/out.avi", "--record-minutes", 0.1, "--record-keep", 2)
    assert done.returncode == 0, done.stderr
    # 600 frames of 25 a second: four parts of 150.
    assert "600 frames recorded, 0 dropped" in done.stdout
    assert [len(read_clip(path)[0]) for path in (tmp_path / "films").iterdir()] == [150, 150]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--source", "clip.mp4", "--record-minutes", "5"), "--record-minutes must go with --record,"),
        (("--record", "o.mp4", "--record-keep", "5"), "--record-keep must go with --record-minutes,"),
        (
            ("--source", "o-20240102T030405Z.mp4", "--record", "o.mp4", "--record-minutes", "5", "--record-keep", "5"),
            "--record-keep must not remove --source,",
        ),
    ],
)
def test_options_that_need_another(tmp_path, words, said):
    files = make_files(tmp_path)
    (files / "clip.mp4").rename(files / "o-20240102T030405Z.mp4")
    (files / "long.mp4").rename(files / "clip.mp4")
    assert said in one_line(edgekit(files, "camera", "model.tflite", *words), 2)
