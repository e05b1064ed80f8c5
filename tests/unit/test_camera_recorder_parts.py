"""Recordings in parts: each whole for itself, in order, nothing missing between them, old ones removed."""

import os
import re
import signal
import subprocess
import threading
import time

import numpy as np
import pytest
from support.camera_process import EDGEKIT, edgekit, environment, make_files, one_line
from support.clips import read_clip
from support.small_disk import NoSmallDisk, fill, small_disk

from edgekit.errors import InputError
from edgekit_deploy.outputs import film as film_module
from edgekit_deploy.outputs import recorder as recorder_module
from edgekit_deploy.outputs.parts import ABANDONED_SECONDS, Parts, is_part, place
from edgekit_deploy.outputs.recorder import RESERVE_BYTES, Recorder

FPS = 10.0
# Of 20 and of 5 frames.
LONG, SHORT = Parts(20 / FPS / 60.0), Parts(5 / FPS / 60.0)
SECONDS = 30.0


def give(recorder, frames, *, wait=True):
    """Frame n is of level 5 n, and n tenths of a second old."""
    for number in frames:
        recorder.write(np.full((48, 64, 3), 5 * number, np.uint8), number / FPS, wait=wait)


def until(condition):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def taken(recorder):
    """All frames so far were recorded or passed over."""
    until(recorder._queue.empty)
    # The one that was taken last may be under way still.
    time.sleep(0.2)


def numbers(path):
    """Of its frames; Motion JPEG is up to a level off, MPEG-4 up to three, darker."""
    return [round((float(picture.mean()) + 1.5) / 5.0) for picture in read_clip(path)[0]]


def parts_in(folder):
    return sorted(map(numbers, folder.glob("out-*")))


def touched(path, seconds):
    path.write_bytes(b"x")
    os.utime(path, (seconds, seconds))
    return path


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
    gate, is_playable = threading.Event(), film_module._is_playable
    monkeypatch.setattr(film_module, "_is_playable", lambda path: gate.wait(2 * SECONDS) and is_playable(path))
    with Recorder(tmp_path / "out.avi", FPS, parts=LONG) as recorder:
        for number in range(30):
            give(recorder, [number], wait=False)
            until(recorder._queue.empty)
        assert not list(tmp_path.glob("out-*"))
        gate.set()
    assert parts_in(tmp_path) == [[*range(20)], [*range(20, 30)]]
    assert recorder.dropped == 0


def test_a_part_ends_while_the_camera_is_away(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder_module, "PATIENCE_SECONDS", 0.3)
    with Recorder(tmp_path / "out.avi", FPS, parts=Parts(60.0)) as recorder:
        give(recorder, range(3))
        until(lambda: list(tmp_path.glob("out-*")))
        give(recorder, range(10, 12))
    # A slow machine may be away itself.
    found = parts_in(tmp_path)
    assert found[0] == [0, 1, 2] and [number for part in found[1:] for number in part] == [10, 11]


@pytest.mark.parametrize("clock", ["right", "behind"])
def test_old_parts_are_removed_those_of_earlier_runs_too_and_nothing_else(tmp_path, clock):
    # A Raspberry Pi without a network begins with a time long past.
    earlier = time.time() + (86400.0 if clock == "behind" else -86400.0)
    for day in (1, 2, 3):
        touched(tmp_path / f"out-2024010{day}T030405Z.avi", earlier + day)
    names = ("out.avi", "out-holiday.avi", "out-20240101T030405Z.mp4", "in-20240101T030405Z.avi", "out-20240101.avi")
    others = [touched(tmp_path / name, 1.7e9) for name in names]
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


def test_old_parts_give_way_where_the_disk_is_nearly_full(tmp_path):
    for day in range(1, 6):
        touched(tmp_path / f"out-2024010{day}T030405Z.avi", 1.7e9 + day)
    room_for_three = lambda folder: RESERVE_BYTES - (len(list(folder.glob("out-*"))) > 3)  # noqa: E731
    parts = Parts(SHORT.minutes, keep=100)
    with Recorder(tmp_path / "out.avi", FPS, parts=parts, free_bytes=room_for_three) as recorder:
        give(recorder, range(30))
    assert recorder.problem == "" and recorder.dropped == 0
    assert not list(tmp_path.glob("out-2024*"))
    assert parts_in(tmp_path)[-1] == [*range(25, 30)]


def test_one_file_takes_the_place_of_an_older_one_and_leaves_parts_alone(tmp_path):
    part = touched(tmp_path / "out-20240102T030405Z.avi", 1.7e9)
    for count in (3, 5):
        with Recorder(tmp_path / "out.avi", FPS) as recorder:
            give(recorder, range(count))
    assert numbers(tmp_path / "out.avi") == [*range(5)]
    assert part.exists()


def test_a_part_that_fails_does_not_end_the_recording(tmp_path, monkeypatch):
    looks, is_playable, told = [], film_module._is_playable, []

    def fails_once(path):
        looks.append(path)
        return len(looks) != 2 and is_playable(path)

    monkeypatch.setattr(film_module, "_is_playable", fails_once)
    monkeypatch.setattr(recorder_module, "RETRY_SECONDS", 0.0)
    with Recorder(tmp_path / "out.avi", FPS, parts=SHORT, warn=told.append) as recorder:
        give(recorder, range(20))
    assert parts_in(tmp_path) == [[*range(5)], [*range(10, 15)], [*range(15, 20)]]
    assert (recorder.written, recorder.dropped, recorder.problem) == (15, 5, "")
    assert len(told) == 2 and "could not be finished" in told[0] and "goes on" in told[1]


def test_a_disk_that_is_full_and_has_room_again_is_recorded_to(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder_module, "RETRY_SECONDS", 0.0)
    is_full, told = [True], []
    with Recorder(
        tmp_path / "out.avi", FPS, parts=SHORT, warn=told.append,
        free_bytes=lambda folder: RESERVE_BYTES - is_full[0],
    ) as recorder:  # fmt: skip
        give(recorder, range(8))
        taken(recorder)
        is_full[0] = False
        give(recorder, range(8, 15))
        taken(recorder)
        is_full[0] = True
        give(recorder, range(15, 40))
        taken(recorder)
        is_full[0] = False
        give(recorder, range(40, 45))
    # The disk is looked at when a part begins, and for its second frame.
    assert parts_in(tmp_path) == [[*range(8, 13)], [*range(13, 18)], [*range(40, 45)]]
    assert recorder.dropped == 45 - 15 and recorder.problem == ""
    # The second time within a minute it is not told.
    assert ["nearly full" in told[0], "goes on" in told[1], len(told)] == [True, True, 2]


def test_a_part_that_is_finished_late_does_not_end_the_trouble_of_the_next(tmp_path, monkeypatch):
    gate, is_playable, is_full, told = threading.Event(), film_module._is_playable, [False], []
    monkeypatch.setattr(film_module, "_is_playable", lambda path: gate.wait(SECONDS) and is_playable(path))
    with Recorder(
        tmp_path / "out.avi", FPS, parts=SHORT, warn=told.append,
        free_bytes=lambda folder: RESERVE_BYTES - is_full[0],
    ) as recorder:  # fmt: skip
        give(recorder, range(5))
        taken(recorder)
        is_full[0] = True
        give(recorder, range(5, 10))
        taken(recorder)
        gate.set()
    assert parts_in(tmp_path) == [[*range(5)]]
    assert told == [recorder.problem] and "nearly full" in told[0]


def test_what_cannot_be_recorded_is_not_tried_with_each_frame(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder_module, "RETRY_SECONDS", 3600.0)
    looks = []
    with Recorder(
        tmp_path / "out.avi", FPS, parts=SHORT, free_bytes=lambda folder: looks.append(folder) or RESERVE_BYTES - 1
    ) as recorder:
        give(recorder, range(20))
    # At the start, and when the first frame came.
    assert len(looks) == 2
    assert recorder.dropped == 20 and "nearly full" in recorder.problem


def test_what_killed_processes_have_left_of_parts_is_swept(tmp_path):
    names = [".out-20240102T030405Z-k3j9x_ab.avi", ".out-20240102T030405Z-2-k3j9x_ab.avi"]
    for name in names:
        touched(tmp_path / name, time.time() - 2 * ABANDONED_SECONDS)
    fresh = touched(tmp_path / ".out-20240102T030405Z-12345678.avi", time.time())
    with Recorder(tmp_path / "out.avi", parts=SHORT):
        pass
    assert list(tmp_path.iterdir()) == [fresh]


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


def test_kill_takes_the_last_part_only(tmp_path):
    files = make_files(tmp_path)
    command = [
        *EDGEKIT, "camera", "model.tflite", "--source", "long.mp4", "--headless", "--threads", "1",
        "--record", "films/out.mp4", "--record-minutes", "0.1",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=files, env=environment(), stderr=subprocess.DEVNULL)
    try:
        # The first is finished, and the second under way.
        until(lambda: list(tmp_path.glob("films/out-*")) and list(tmp_path.glob("films/.out-*")))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    (found,) = tmp_path.glob("films/out-*")
    # Six seconds at 25 frames a second; in real time a frame may stand for up to a second.
    assert 150 <= len(read_clip(found)[0]) <= 175
    assert list(tmp_path.glob("films/.out-*"))


def test_a_disk_that_is_really_full_does_not_keep_the_camera_from_its_work(tmp_path):
    files = make_files(tmp_path)
    try:
        with small_disk(tmp_path / "disk", 20) as disk:
            fill(disk)
            words = ("camera", "model.tflite", "--source", "clip.mp4", "--fast", "--headless", "--threads", 1)
            done = edgekit(files, *words, "--record", disk / "out.mp4", "--record-minutes", 1)
            refused = edgekit(files, *words, "--record", disk / "out.mp4")
    except NoSmallDisk as error:
        pytest.skip(str(error))
    assert done.returncode == 0, done.stderr
    assert "30 captured = 30 inferred + 0 dropped" in done.stdout
    assert "waits: the disk is nearly full" in done.stderr
    assert "MiB free" in one_line(refused, 2)


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
