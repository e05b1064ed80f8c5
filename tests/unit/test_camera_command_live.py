"""`edgekit camera` while it runs: a faulty network camera, answers over time, its page and its hook."""

import json
import os
import pty
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from support.camera_process import COLOURS, EDGEKIT, edgekit, environment, make_files, one_line
from support.clips import read_clip
from support.streams import MjpegServer


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("camera"))


def wait_until(is_so, seconds=30.0):
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_network_camera_with_every_fault_one_after_the_other(files, tmp_path):
    """A real server that is killed and comes back, then hangs, then sends garbage; the same process goes on."""
    server = MjpegServer(lambda index: np.full((48, 64, 3), COLOURS[index // 10 % 3], np.uint8))
    stats, lines = tmp_path / "stats.json", tmp_path / "lines.jsonl"

    def count():
        return len(lines.read_text().splitlines()) if lines.exists() else 0

    def goes_on():
        so_far = count()
        wait_until(lambda: count() > so_far + 20)

    with server:
        command = [*EDGEKIT, "camera", "model.tflite", "--source", server.url("me:secret@"), "--headless"]
        command += ["--threads", "1", "--json", str(stats), "--jsonl", str(lines)]
        with subprocess.Popen(command, cwd=files, env=environment(), stderr=subprocess.PIPE, text=True) as process:
            goes_on()
            server.kill()
            time.sleep(0.7)
            server.start()
            goes_on()
            for fault in (server.stalled, server.garbage):
                requests = len(server.requests)
                fault.set()
                # It gives the connection up and makes another: the fault was noticed.
                wait_until(lambda seen=requests: len(server.requests) > seen)
                fault.clear()
                goes_on()
            process.send_signal(signal.SIGTERM)
            told = process.communicate(timeout=20)[1]
    assert process.returncode == 0, told
    # Where the machine stalls, more.
    assert told.count("is back.") >= 3 and "must keep delivering" in told
    assert "secret" not in told
    plain = json.loads(stats.read_text())
    assert plain["reconnects"] == told.count("is back.")
    assert plain["captured"] == plain["inferred"] + plain["dropped"]
    frames = [json.loads(line)["frame"] for line in lines.read_text().splitlines()]
    assert frames == sorted(set(frames))


def test_a_network_camera_that_comes_later_is_waited_for(files, tmp_path):
    """Nobody listens at first: the reason is told at once; then the server comes, and its frames are classified."""
    server = MjpegServer(lambda index: np.full((48, 64, 3), COLOURS[0], np.uint8))
    with server:
        url = server.url()
        server.kill()
        command = [*EDGEKIT, "camera", "model.tflite", "--source", url, "--headless", "--max-frames", "20"]
        command += ["--threads", "1", "--record", str(tmp_path / "out.mp4")]
        with subprocess.Popen(command, cwd=files, env=environment(), stderr=subprocess.PIPE, text=True) as process:
            told = process.stderr.readline()
            assert "connection refused" in told and "Waiting for it" in told and "--no-reconnect" in told
            server.start()
            told = process.communicate(timeout=30)[1]
    assert process.returncode == 0, told
    assert f"{url}: MJPEG over HTTP" in told and "is back" not in told
    assert len(read_clip(tmp_path / "out.mp4")[0]) >= 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)], ids=["SIGINT", "SIGTERM"])
def test_waiting_for_a_camera_can_be_ended(files, tmp_path, number, code):
    stats = tmp_path / "stats.json"
    command = [*EDGEKIT, "camera", "model.tflite", "--source", "63", "--headless", "--json", str(stats)]
    with subprocess.Popen(command, cwd=files, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        told = next(line for line in process.stderr if "Waiting for it" in line)
        assert "camera 63 must open" in told and "libcamera" in told
        process.send_signal(number)
        process.communicate(timeout=20)
    assert process.returncode == code
    plain = json.loads(stats.read_text())
    assert (plain["captured"], plain["inferred"], plain["dropped"], plain["ended"]) == (0, 0, 0, number.name)


def test_a_server_that_says_no_is_not_waited_for(files):
    with MjpegServer(lambda index: COLOURS[0], status=404) as server:
        line = one_line(edgekit(files, "camera", "model.tflite", "--source", server.url(), "--headless"), 3)
    assert "HTTP 404" in line and "Check path" in line


@pytest.mark.parametrize("url", ["http://porch:99999/x", "http://me:secret@porch:x/", "http:///x", "http://porch/a b"])
def test_a_url_that_cannot_be_right_is_told_at_once(files, url):
    line = one_line(edgekit(files, "camera", "model.tflite", "--source", url, "--headless", "--threads", "1"), 3)
    assert "no usable host, port or path" in line and "secret" not in line


HUNG = """
import time
from edgekit_deploy.sources import v4l2
v4l2._open_camera = lambda number: time.sleep(3600)
from edgekit.cli import main
main()
"""


def test_a_camera_that_hangs_while_it_is_opened_does_not_hold_up_the_end(files, tmp_path):
    """A driver that never returns: SIGTERM is heard, and the process ends, though nothing was told yet."""
    stats = tmp_path / "stats.json"
    command = [sys.executable, "-c", HUNG, "camera", "model.tflite", "--headless", "--threads", "1"]
    command += ["--json", str(stats), "--serve", "0"]
    with subprocess.Popen(command, cwd=files, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        assert any("Watch at" in line for line in process.stderr)
        time.sleep(1.0)
        process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=30)[1]
    assert process.returncode == 0, told
    assert json.loads(stats.read_text())["captured"] == 0


def test_answers_are_smoothed_in_real_time_and_each_frame_its_own_where_all_count(files, tmp_path):
    def labels(*more):
        done = edgekit(
            files, "camera", "model.tflite", "--source", "clip.mp4", "--headless", "--jsonl", "-", "--threads", 1, *more
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["label"] for line in done.stdout.splitlines()]

    assert labels("--fast") == ["red"] * 10 + ["green"] * 10 + ["blue"] * 10
    # Ten frames are 0.2 s at 50 fps: with an average over a minute the first answer stays.
    assert set(labels("--fast", "--smoothing", "60")) == {"red"}
    assert set(labels("--fast", "--threshold", "1")) == {None}
    # The first answer must hold as well: nothing is sure for 0.1 s, five frames at 50 fps.
    assert labels("--fast", "--hold", "0.1")[:10] == [None] * 5 + ["red"] * 5
    assert labels("--smoothing", "0", "--margin", "0", "--threshold", "0")[-1] == "blue"


def test_on_change_and_thresholds(files, tmp_path):
    out, own = tmp_path / "changes.txt", tmp_path / "own.toml"
    own.write_text('[thresholds]\n"green" = 1.0\n')
    done = edgekit(
        files, "camera", "model.tflite", "--source", "clip.mp4", "--headless", "--threads", 1, "--thresholds", own,
        "--on-change", f'echo "$EDGEKIT_PREVIOUS>$EDGEKIT_LABEL" >> {out}', "--smoothing", 0,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = out.read_text().splitlines()
    assert said[0] == ">red"
    assert said[-1].endswith(">blue")
    assert not any("green" in line for line in said)


def test_the_web_page_of_a_running_camera(files, tmp_path):
    """Its slider moves the threshold, its metrics are the loop's, and it ends with the loop."""
    import urllib.request

    def call(path, data=None):
        headers = {"Origin": url, "Content-Type": "application/x-www-form-urlencoded"} if data else {}
        request = urllib.request.Request(f"{url}{path}", data, headers)
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.read().decode()

    command = [*EDGEKIT, "camera", "model.tflite", "--source", "long.mp4", "--headless", "--threads", "1"]
    command += ["--serve", "0", "--jsonl", str(tmp_path / "lines.jsonl")]
    with subprocess.Popen(command, cwd=files, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        url = next(line for line in process.stderr if "Watch at" in line).split()[-1].rstrip("/")
        assert url.startswith("http://127.0.0.1:")
        assert "<html" in call("/").lower()
        wait_until(lambda: "edgekit_frames_inferred_total 0" not in call("/metrics"))
        call("/threshold", b"value=1")
        time.sleep(1.0)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 0
    last = json.loads((tmp_path / "lines.jsonl").read_text().splitlines()[-1])
    assert last["label"] is None


def test_a_page_for_others_needs_a_token(files):
    line = one_line(
        edgekit(files, "camera", "model.tflite", "--source", "long.mp4", "--headless", "--serve", "0.0.0.0:0"), 2
    )
    assert "must have a token" in line


def test_a_terminal_that_goes_away_ends_the_run_cleanly(tmp_path):
    """As when the connection of ssh drops: SIGHUP, and every write to the terminal is an error from then on."""
    files = make_files(tmp_path)
    words = ["camera", "model.tflite", "--source", "long.mp4", "--headless", "--threads", "1"]
    words += ["--json", "stats.json", "--record", "o.mp4"]
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(files)
        os.execvpe(EDGEKIT[0], [*EDGEKIT, *words, "--json", "stats.json", "--record", "o.mp4"], environment())
    said, end = b"", time.monotonic() + 60
    while b"inferred" not in said and time.monotonic() < end:
        said += os.read(terminal, 4096)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, said
    assert json.loads((files / "stats.json").read_text())["ended"] == "SIGHUP"
    assert (files / "o.mp4").stat().st_size > 1000
