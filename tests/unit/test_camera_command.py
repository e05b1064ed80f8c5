"""`edgekit camera` as users call it: a process of its own, real files, real signals."""

import json
import os
import signal
import subprocess
import time

import cv2
import numpy as np
import pytest
from support import tiny_model
from support.camera_process import COLOURS, EDGEKIT, edgekit, environment, make_files, one_line
from support.clips import read_clip, write_clip

from edgekit.runtime import available_cores


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("camera"))


def test_the_whole_line(files, tmp_path):
    record, stats = tmp_path / "out.mp4", tmp_path / "stats.json"
    done = edgekit(
        files, "camera", "model.tflite", "--source", "clip.mp4", "--fast", "--truth", "truth.csv",
        "--record", record, "--json", stats, "--threads", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "30 captured = 30 inferred + 0 dropped" in done.stdout
    assert "accuracy 100.00 %" in done.stdout
    assert "invoke" in done.stdout and "p99" in done.stdout
    assert "xnnpack" in done.stdout
    # No display: said, not crashed.
    assert "Running headless" in done.stderr
    plain = json.loads(stats.read_text())
    assert plain["captured"] == plain["inferred"] + plain["dropped"] == 30
    assert plain["accuracy"] == 1.0 and plain["recorded"] == 30
    assert len(read_clip(record)[0]) == 30
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out.mp4", "stats.json"]


def test_real_time_and_max_frames(files):
    done = edgekit(files, "camera", "model.tflite", "--source", "long.mp4", "--headless", "--max-frames", 5)
    assert done.returncode == 0, done.stderr
    assert "(limit)" in done.stdout
    assert "headless" not in done.stderr


def test_a_named_but_dead_display_does_not_kill_the_process(files):
    done = edgekit(files, "camera", "model.tflite", "--source", "clip.mp4", "--fast", DISPLAY=":987")
    assert done.returncode == 0, done.stderr
    assert "Running headless" in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)], ids=["SIGINT", "SIGTERM"])
def test_real_signals_finish_the_recording(files, tmp_path, number, code):
    record, stats = tmp_path / "out.mp4", tmp_path / "stats.json"
    command = [
        *EDGEKIT, "camera", "model.tflite", "--source", "long.mp4", "--headless",
        "--record", str(record), "--json", str(stats),
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=files, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    # Recording starts with the first decision: then the temporary file is there.
    deadline = time.monotonic() + 30
    while (
        process.poll() is None
        and time.monotonic() < deadline
        and not any(entry.suffix == ".mp4" for entry in tmp_path.iterdir())
    ):
        time.sleep(0.02)
    time.sleep(0.6)
    process.send_signal(number)
    out, err = process.communicate(timeout=15)
    assert process.returncode == code, err
    assert number.name in out
    assert len(read_clip(record)[0]) >= 5
    plain = json.loads(stats.read_text())
    assert plain["captured"] == plain["inferred"] + plain["dropped"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out.mp4", "stats.json"]


def test_bad_input_is_one_line_and_exit_2(files, tmp_path):
    (tmp_path / "zero.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("no video at all")
    (tmp_path / "half.mp4").write_bytes((files / "clip.mp4").read_bytes()[:-2000])
    (tmp_path / "empty").mkdir()
    (tmp_path / "plain.tflite").write_bytes(tiny_model.flatbuffer(tiny_model.input_spec()))
    (tmp_path / "half.tflite").write_bytes(tiny_model.sealed()[:-50])
    (tmp_path / "truth.csv").write_text("frame,label\n0,horse\n")
    model, clip = files / "model.tflite", files / "clip.mp4"
    cases = [
        (model, "--source", "zero.mp4"),
        (model, "--source", "text.mp4"),
        (model, "--source", "half.mp4"),
        (model, "--source", "empty"),
        (model, "--source", "nothing.mp4"),
        ("nothing.tflite", "--source", clip),
        ("plain.tflite", "--source", clip),
        ("half.tflite", "--source", clip),
        (model, "--source", clip, "--truth", "truth.csv"),
        (model, "--source", clip, "--record", "out.mkv"),
        (model, "--source", clip, "--record", "truth.csv/out.mp4"),
        (model, "--source", clip, "--json", "truth.csv/stats.json"),
        (model, "--source", clip, "--record", clip),
        (model, "--source", clip, "--jsonl", clip),
        (model, "--source", clip, "--jsonl", "truth.csv/lines.jsonl"),
    ]
    before = sorted(entry.name for entry in tmp_path.iterdir())
    for arguments in cases:
        line = one_line(edgekit(tmp_path, "camera", *arguments, "--headless", "--fast"), 2)
        assert "must" in line, line
    assert sorted(entry.name for entry in tmp_path.iterdir()) == before


def test_missing_camera_is_one_line_and_exit_3(files):
    line = one_line(edgekit(files, "camera", "model.tflite", "--source", "63", "--headless", "--no-reconnect"), 3)
    assert "libcamera" in line


def test_missing_camera_makes_no_table_and_no_measurements(files, tmp_path):
    stats, lines = tmp_path / "stats.json", tmp_path / "lines.jsonl"
    done = edgekit(
        files, "camera", "model.tflite", "--source", "63", "--headless", "--json", stats, "--jsonl", lines,
        "--no-reconnect",
    )  # fmt: skip
    one_line(done, 3)
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for name, colour in tiny_model.BGR.items():
        cv2.imwrite(str(folder / f"{name}.png"), np.full((48, 64, 3), colour, np.uint8))
    return folder


def test_decisions_on_stdout_and_the_table_on_stderr(files, pictures):
    done = edgekit(
        files, "camera", "model.tflite", "--source", pictures, "--headless", "--jsonl", "-", "--top-k", 2
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "3 captured" in done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["label"] for line in lines] == ["blue", "green", "red"]
    assert [line["name"] for line in lines] == [str(pictures / f"{line['label']}.png") for line in lines]
    assert [(line["frame"], line["time"]) for line in lines] == [(0, 0.0), (1, 0.5), (2, 1.0)]
    for line in lines:
        assert list(line) == ["frame", "time", "at", "name", "label", "probability", "top"]
        assert len(line["top"]) == 2 and line["top"][0] == [line["label"], line["probability"]]
        assert 0.0 <= line["top"][1][1] <= line["probability"] <= 1.0


def test_decisions_in_a_file(files, tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text("old\n")
    done = edgekit(files, "camera", "model.tflite", "--source", "clip.mp4", "--fast", "--headless", "--jsonl", path)
    assert done.returncode == 0, done.stderr
    assert "30 captured" in done.stdout
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(30))
    assert [line["time"] for line in lines[:3]] == [0.0, 0.02, 0.04]
    assert not any("name" in line for line in lines)


def test_a_reader_that_goes_away_ends_the_run_cleanly(files, tmp_path):
    stats = tmp_path / "stats.json"
    command = [*EDGEKIT, "camera", "model.tflite", "--source", "long.mp4", "--headless", "--jsonl", "-"]
    process = subprocess.Popen(
        [*command, "--json", str(stats)], cwd=files, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    # Flushed line by line: the first one is here long before the clip's 24 seconds are over.
    assert json.loads(process.stdout.readline())["frame"] >= 0
    process.stdout.close()
    told = process.stderr.read()
    assert process.wait(timeout=15) == 0, told
    assert "output closed" in told and "Error" not in told and "BrokenPipe" not in told
    plain = json.loads(stats.read_text())
    assert plain["ended"] == "output closed" and plain["inferred"] < 300
    # The line that nobody took.
    assert plain["lines_lost"] == 1


def test_the_number_of_threads_is_found_by_trying(files, tmp_path):
    stats = tmp_path / "stats.json"
    command = ("camera", "model.tflite", "--source", "clip.mp4", "--fast", "--headless", "--json", stats)
    assert edgekit(files, *command).returncode == 0
    plain = json.loads(stats.read_text())
    assert 1 <= plain["threads"] <= available_cores()
    tried = any("fastest with" in note for note in plain["notes"])
    assert tried == (available_cores() > 1)
    assert edgekit(files, *command, "--threads", "3").returncode == 0
    plain = json.loads(stats.read_text())
    assert (plain["threads"], plain["notes"]) == (3, [])


def test_help_is_quick_and_has_examples(files):
    done = edgekit(files, "camera", "--help")
    assert done.returncode == 0
    assert "Examples:" in done.stdout and "--truth" in done.stdout
    assert "--jsonl -" in done.stdout and "auto|N" in done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs resource limits")
def test_a_recording_that_cannot_grow_leaves_nothing_and_does_not_stop_the_loop(files, tmp_path):
    import resource

    write_clip(tmp_path / "noise.avi", [tiny_model.noise(seed, 240, 320) for seed in range(60)])
    command = [*EDGEKIT, "camera", str(files / "model.tflite"), "--source", "noise.avi", "--fast", "--headless"]
    done = subprocess.run(
        [*command, "--record", "out.mp4"], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "60 captured = 60 inferred + 0 dropped" in done.stdout
    assert "could not be finished" in done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["noise.avi"]


def test_a_camera_that_is_pulled_out_still_gets_its_table(files, tmp_path, monkeypatch):
    from click.testing import CliRunner

    from edgekit_deploy import sources
    from edgekit_deploy.camera_command import command
    from edgekit_deploy.sources.frames import SourceLost
    from edgekit_deploy.sources.v4l2 import CameraSource

    class Pulled:
        reads = 0

        def __getattr__(self, name):
            return lambda *arguments: True

        def get(self, key):
            return 30.0

        def read(self):
            self.reads += 1
            time.sleep(0.02)
            return (True, np.full((48, 64, 3), COLOURS[0], np.uint8)) if self.reads <= 8 else (False, None)

    monkeypatch.setattr(sources, "open_source", lambda text, options: CameraSource(0, opener=lambda number: Pulled()))
    record, stats = tmp_path / "out.mp4", tmp_path / "stats.json"
    done = CliRunner().invoke(
        command,
        [str(files / "model.tflite"), "--headless", "--record", str(record), "--json", str(stats), "--no-reconnect"],
    )
    assert isinstance(done.exception, SourceLost) and done.exception.exit_code == 3
    assert "source lost" in done.output
    assert json.loads(stats.read_text())["captured"] == 8
    assert len(read_clip(record)[0]) >= 1
