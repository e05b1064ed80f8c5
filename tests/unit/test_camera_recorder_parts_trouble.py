"""Recordings in parts, with a full disk, a file that fails, or kill -9."""

import signal
import subprocess
import threading

import pytest
from support.camera_process import EDGEKIT, edgekit, environment, make_files, one_line
from support.clips import read_clip
from support.recordings import FPS, SECONDS, SHORT, counted, full_or_not, give, parts_in, taken, touched, until
from support.small_disk import NoSmallDisk, fill, small_disk

from edgekit_deploy.outputs import film as film_module
from edgekit_deploy.outputs import recorder as recorder_module
from edgekit_deploy.outputs.parts import Parts
from edgekit_deploy.outputs.recorder import RESERVE_BYTES, Recorder


def test_old_parts_give_way_where_the_disk_is_nearly_full(tmp_path):
    for day in (1, 2, 3):
        touched(tmp_path / f"out-2024010{day}T030405Z.avi", 1.7e9 + day)

    def has_room_for_three(folder):
        return RESERVE_BYTES - (len(list(folder.glob("out-*"))) > 3)

    parts = Parts(SHORT.minutes, keep=100)
    with Recorder(tmp_path / "out.avi", FPS, parts=parts, free_bytes=has_room_for_three) as recorder:
        for first in range(0, 30, 5):
            give(recorder, range(first, first + 5))
            # One part is removed for each: another must not be finished meanwhile.
            until(lambda: recorder.written == first + 5)  # noqa: B023
    assert recorder.problem == "" and recorder.dropped == 0
    assert not list(tmp_path.glob("out-2024*"))
    assert parts_in(tmp_path)[-1] == [*range(25, 30)]


def test_where_room_does_not_come_back_old_parts_go_one_by_one_and_the_newest_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder_module, "RETRY_SECONDS", 0.0)
    for day in (1, 2, 3, 4):
        touched(tmp_path / f"out-2024010{day}T030405Z.avi", 1.7e9 + day)
    recorder = Recorder(
        tmp_path / "out.avi", FPS, parts=Parts(SHORT.minutes, keep=100), free_bytes=lambda folder: RESERVE_BYTES - 1
    )
    with counted(recorder):
        for left in (3, 2, 1, 1, 1):
            give(recorder, [0])
            taken(recorder)
            assert len(list(tmp_path.iterdir())) == left
    assert [path.name for path in tmp_path.iterdir()] == ["out-20240104T030405Z.avi"]


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
    assert len(told) == 1 and "could not be finished" in told[0]


def test_a_disk_that_is_full_and_has_room_again_is_recorded_to(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder_module, "RETRY_SECONDS", 0.0)
    is_full, told = [True], []
    recorder = counted(full_or_not(tmp_path, is_full, told))
    with recorder:
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
    recorder = counted(full_or_not(tmp_path, is_full, told))
    with recorder:
        give(recorder, range(5))
        taken(recorder)
        is_full[0] = True
        give(recorder, range(5, 10))
        taken(recorder)
        gate.set()
    assert parts_in(tmp_path) == [[*range(5)]]
    assert told == [recorder.problem] and "nearly full" in told[0]


def test_a_disk_that_is_slow_in_the_middle_of_a_run_is_told(tmp_path, monkeypatch):
    gate, is_playable, told = threading.Event(), film_module._is_playable, []
    monkeypatch.setattr(film_module, "_is_playable", lambda path: gate.wait(SECONDS) and is_playable(path))
    monkeypatch.setattr(recorder_module, "SLOW_SECONDS", 0.1)
    with Recorder(tmp_path / "out.avi", FPS, parts=SHORT, warn=told.append) as recorder:
        give(recorder, range(10))
        until(lambda: told)
        gate.set()
        until(lambda: len(told) == 2)
    assert ["its disk is slow" in told[0], "goes on" in told[1]] == [True, True]
    assert parts_in(tmp_path) == [[*range(5)], [*range(5, 10)]]


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
    # Six seconds at 25 frames a second; a frame that stands for longer makes it more.
    assert len(read_clip(found)[0]) >= 150
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
