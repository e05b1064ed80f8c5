"""Lines of JSON: whole after every trouble, complete at the end, never in the loop's way."""

import itertools
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import deque
from datetime import datetime

import pytest
from support.decisions import WAIT_SECONDS, decision

from edgekit.errors import InputError
from edgekit_deploy.outputs.json_lines import DecisionLog
from edgekit_deploy.outputs.rotating_file import RotatingFile
from edgekit_deploy.outputs.wall_clock import WallClock, iso

# The promise to users: no output holds up the end longer.
MOST_CLOSE_SECONDS = 5.0


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def frames(path):
    return [line["frame"] for line in read(path)]


def test_what_stands_in_a_line(tmp_path):
    clock = WallClock(wall=lambda: 1795595400.125, monotonic=lambda: 50.0)
    with DecisionLog(tmp_path / "log.jsonl", clock=clock) as log:
        log.write(decision("cat", 0.87654321, 3, timestamp=49.9995, name="a.png"))
        log.write(decision(None, 0.25, 4, timestamp=50.0))
    first, second = read(tmp_path / "log.jsonl")
    assert first == {
        "frame": 3, "time": 0.3, "at": "2026-11-25T08:30:00.124Z", "name": "a.png", "label": "cat",
        "probability": 0.876543, "top": [["cat", 0.6], ["dog", 0.3]],
    }  # fmt: skip
    assert second["label"] is None and second["probability"] == 0.25 and "name" not in second
    assert second["at"] == "2026-11-25T08:30:00.125Z"


def test_every_line_is_there_at_the_end(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("old\n")
    with DecisionLog(path, is_lossless=True) as log:
        # More than can wait, faster than they are written.
        for index in range(10_000):
            log.write(decision("cat", index=index))
    assert frames(path) == list(range(10_000)) and log.lost == 0


def test_no_decision_makes_no_file(tmp_path):
    with DecisionLog(tmp_path / "log.jsonl"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_few_writes_and_yet_the_file_grows_while_the_camera_runs(tmp_path, monkeypatch):
    writes, append = [], RotatingFile.append

    def counted(self, lines):
        writes.append(len(lines))
        append(self, lines)

    monkeypatch.setattr(RotatingFile, "append", counted)
    path = tmp_path / "log.jsonl"
    with DecisionLog(path) as log:
        start, index = time.monotonic(), 0
        while not path.exists():
            log.write(decision("cat", index=index))
            index += 1
            time.sleep(0.01)
            assert time.monotonic() - start < WAIT_SECONDS
        during = len(writes)
    assert during <= 1 + (time.monotonic() - start) / 0.9
    assert frames(path) == list(range(index)) and sum(writes) == index


def test_files_are_begun_anew_at_their_size_and_the_oldest_goes(tmp_path):
    path, most = tmp_path / "log.jsonl", 2048
    with DecisionLog(path, most_bytes=most, keep=2, is_lossless=True) as log:
        for index in range(200):
            log.write(decision("cat", index=index))
    names = ["log.jsonl", "log.jsonl.1", "log.jsonl.2"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == names
    assert all(entry.stat().st_size <= most for entry in tmp_path.iterdir())
    kept = [frame for name in reversed(names) for frame in frames(tmp_path / name)]
    assert kept == list(range(kept[0], 200)) and 0 < kept[0] < 190


@pytest.mark.parametrize("seed", range(20))
def test_rotation_against_a_plain_reference(tmp_path, seed):
    rng = random.Random(seed)
    most, keep = rng.choice([10, 50, 200]), rng.randrange(4)
    file, files = RotatingFile(tmp_path / "log", most, keep), [b""]
    for _ in range(30):
        lines = [b"x" * rng.randrange(rng.choice([5, 60, 300])) + b"\n" for _ in range(rng.randrange(8))]
        waiting = deque(lines)
        file.append(waiting)
        assert not waiting
        for line in lines:
            if files[0] and len(files[0]) + len(line) > most:
                files.insert(0, b"")
            files[0] += line
        files = files[: keep + 1]
        found = [tmp_path / ("log" if i == 0 else f"log.{i}") for i in range(len(files))]
        assert [path.read_bytes() if path.exists() else b"" for path in found] == files
        assert len(list(tmp_path.iterdir())) == len([content for content in files if content])


def test_a_log_that_rotates_is_continued_and_a_torn_line_gets_its_own(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b'{"whole": 1}\n{"to')
    RotatingFile(path, 1000).append(deque([b"a\n"]))
    RotatingFile(path, 1000).append(deque([b"b\n"]))
    assert path.read_bytes() == b'{"whole": 1}\n{"to\na\nb\n'


def test_a_log_that_is_taken_away_is_made_anew(tmp_path):
    path = tmp_path / "log"
    file = RotatingFile(path)
    file.append(deque([b"a\n"]))
    path.rename(tmp_path / "taken")
    file.append(deque([b"b\n"]))
    assert path.read_bytes() == b"b\n" and (tmp_path / "taken").read_bytes() == b"a\n"


# A file that cannot grow fails as on a full disk: in the middle of a line, and with an OSError.
FULL_DISK = """
import resource, signal, sys
from collections import deque
from pathlib import Path
from support.decisions import decision, wait_for
from edgekit_deploy.outputs import json_lines
from edgekit_deploy.outputs.json_lines import DecisionLog
json_lines.FLUSH_SECONDS, json_lines.MOST_WAITING = 0.01, 100
told = []
path = Path(sys.argv[1])
def size(): return path.stat().st_size if path.exists() else 0
def limit(most): resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
with DecisionLog(path, warn=told.append) as log:
    numbers = iter(range(10**6))
    def write(): log.write(decision("cat", index=next(numbers)))
    def written():
        write()
        return size() > 2000
    limit(5000)
    wait_for(written)
    def failed():
        write()
        return told and log.lost > 150
    wait_for(failed)
    assert size() <= 5000 and path.read_bytes().endswith(b"}\\n")
    limit(resource.RLIM_INFINITY)
    before = size()
    def resumed():
        write()
        return size() > before and len(told) == 2
    wait_for(resumed)
print(next(numbers), log.lost)
print("\\n".join(told))
"""


def test_a_full_disk_is_told_once_leaves_whole_lines_and_is_over_when_there_is_space(tmp_path):
    path = tmp_path / "log.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, timeout=2 * WAIT_SECONDS,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    counts, full, again, missing = done.stdout.splitlines()
    written, lost = map(int, counts.split())
    assert "cannot be written: File too large" in full and "can be written again" in again
    assert missing == f"--jsonl: {lost} lines are missing in {path}."
    found = frames(path)
    assert len(found) == written - lost and lost > 150
    assert found == sorted(found)
    # One gap: what came while the disk was full, but for the newest.
    gaps = [(a, b) for a, b in itertools.pairwise(found) if b != a + 1]
    assert len(gaps) == 1 and gaps[0][1] - gaps[0][0] - 1 == lost


def test_a_disk_that_hangs_does_not_hold_up_the_loop_nor_the_end(tmp_path, monkeypatch):
    released, told = threading.Event(), []
    monkeypatch.setattr(RotatingFile, "append", lambda self, lines: released.wait(WAIT_SECONDS))
    monkeypatch.setattr("edgekit_deploy.outputs.json_lines.MOST_WAITING", 50)
    monkeypatch.setattr("edgekit_deploy.outputs.json_lines.FLUSH_SECONDS", 0.0)
    log = DecisionLog(tmp_path / "log.jsonl", warn=told.append)
    with log:
        start = time.monotonic()
        for index in range(1000):
            log.write(decision("cat", index=index))
        assert time.monotonic() - start < 1.0
        start = time.monotonic()
    assert time.monotonic() - start < MOST_CLOSE_SECONDS
    assert len(told) == 1 and "hangs" in told[0] and log.lost >= 900
    released.set()


def test_unusable_places_and_limits_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "log.jsonl"):
        with pytest.raises(InputError):
            DecisionLog(path)
    with pytest.raises(InputError, match="1024"):
        DecisionLog(tmp_path / "log.jsonl", most_bytes=10)
    with pytest.raises(InputError, match="keep 0 or more"):
        DecisionLog(tmp_path / "log.jsonl", most_bytes=4096, keep=-1)


def test_the_time_of_day_never_goes_back():
    now = {"wall": 1_000_000.0, "monotonic": 50.0}
    clock = WallClock(wall=lambda: now["wall"], monotonic=lambda: now["monotonic"])

    def after(seconds, jump=0.0):
        now["wall"] += seconds + jump
        now["monotonic"] += seconds
        return clock.at(now["monotonic"])

    assert after(1) == 1_000_001
    # Set back by an hour: times go on at their own pace.
    assert after(1, jump=-3600) == 1_000_002
    assert after(10) == 1_000_012
    # Set forward by a day: followed at once.
    assert after(1, jump=86400) == 1_000_013 - 3600 + 86400
    # A frame that is older than the one before does not turn time back.
    assert clock.at(now["monotonic"] - 5) == 1_000_013 - 3600 + 86400


@pytest.mark.parametrize("seed", range(20))
def test_the_time_of_day_rises_whatever_the_clock_does(seed):
    rng = random.Random(seed)
    wall, monotonic, answers = rng.uniform(0, 2e9), 0.0, []
    clock = WallClock(wall=lambda: wall, monotonic=lambda: monotonic)
    for _ in range(500):
        step = rng.uniform(0, 0.1)
        wall, monotonic = wall + step + (rng.uniform(-1e6, 1e6) if rng.random() < 0.05 else 0.0), monotonic + step
        answers.append(clock.at(monotonic - rng.uniform(0, 0.05)))
    assert answers == sorted(answers)


@pytest.mark.parametrize("seconds", [0.0, 0.9996, 1795595400.5, 4e9, 1e30, -5.0, float("inf")])
def test_iso_can_be_read_by_others(seconds):
    text = iso(seconds)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    if 0.0 <= seconds <= 1e10:
        assert 0.0 <= seconds - datetime.fromisoformat(text).timestamp() < 0.001
