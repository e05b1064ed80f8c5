"""Camera loops beside edgekit's: the numbers in the frames, and what is made of a loop's lines."""

import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest
from support.streams import jpeg

from benchmarks.side_by_side import cameras
from benchmarks.side_by_side.peers.loops import marks
from edgekit.errors import EdgekitError


@pytest.mark.parametrize("number", [0, 1, 2**19, 2**20 - 1, 699_050, 349_525])
def test_a_painted_number_survives_jpeg_and_mirroring(number):
    picture = np.random.default_rng(number).integers(0, 256, (480, 640, 3), np.uint8)
    sent = cv2.imdecode(np.frombuffer(jpeg(marks.paint(picture, number)), np.uint8), cv2.IMREAD_COLOR)
    assert marks.read(sent) == number
    assert marks.read(cv2.flip(sent, 1)[:, ::-1]) == number
    assert not np.shares_memory(picture, marks.paint(picture, number))


# What a loop prints that answers every frame at once, and one that never does.
ANSWERS = """
import sys, time
print({bare}, flush=True)
for number in range({answers}):
    time.sleep(0.002)
    print(time.monotonic(), number, time.process_time(), flush=True)
time.sleep(60)
"""


@pytest.fixture
def watched(request):
    """A process that prints a loop's lines."""
    text = ANSWERS.format(bare=0.001, answers=request.param)
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True) as process:
        watched = cameras.Watched(process)
        threading.Thread(target=watched.follow, daemon=True).start()
        yield watched
        process.kill()


class Sent:
    """A camera that sent frame n at the very time that is asked for."""

    times = dict.fromkeys(range(10**6), 0.0)


@pytest.mark.parametrize("watched", [0, cameras.LEAST - 1], indirect=True)
def test_a_loop_that_hardly_answers_has_no_figures(watched, monkeypatch):
    monkeypatch.setattr(cameras, "MEASURED", 1.0)
    with pytest.raises(EdgekitError, match=f"must give {cameras.LEAST} answers"):
        cameras.steady(watched, Sent)


@pytest.mark.parametrize("watched", [10**5], indirect=True)
def test_the_figures_of_a_loop(watched, monkeypatch):
    monkeypatch.setattr(cameras, "MEASURED", 1.0)
    assert watched.wait(lambda: len(watched.answers) > 3, 30.0)
    found = cameras.steady(watched, Sent)
    assert found["bare_ms"] == 1.0
    # It sleeps for 2 ms and does next to nothing else.
    assert 0.0 < found["cpu_ms"] < 2.0
    assert 50.0 < found["answers_per_second"] < 500.0
    assert found["age_p50_ms"] <= found["age_p99_ms"] <= found["age_last_ms"] < 1e3 * time.monotonic()


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ({"back": 0.52}, "answers again after 0.5 s"),
        ({"exit_code": None}, "hangs (no answer for 20 s)"),
        ({"exit_code": 1}, "ends, exit code 1"),
    ],
)
def test_what_became_of_a_loop(fault, text):
    light = {"cpu_ms": 9.0, "bare_ms": 4.0, "answers_per_second": 30.0, "age_p50_ms": 10.0, "age_p99_ms": 20.0}
    light |= {"age_last_ms": 15.0}
    rounds = [light | {"bare_ms": bare, "cpu_ms": cpu} for bare, cpu in ((4.0, 9.0), (3.0, 9.5), (40.0, 90.0))]
    row = {"failed": {}, "light": rounds, "heavy": [light], "cut": [fault], "silent": [{"back": 1.0}]}
    found = {
        "all": row,
        "no bare": row | {"light": [light | {"bare_ms": None}]},
        "no heavy": {key: value for key, value in row.items() if key != "heavy"} | {"failed": {"heavy": "why"}},
        # Of its second round.
        "lost": {"failed": {"light": "no wheel"}, "light": [light]},
    }
    lines = cameras.table(cameras.with_medians(found)).splitlines()[2:]
    # Medians of 9, 9.5 and 90, and of what is left without the network in each round: 5, 6.5 and 50.
    assert lines[0].startswith("| all | 9.50 | 6.50 | 30.0 | 10 | 20 | 20 | 15 |")
    assert text in lines[0]
    assert lines[1].startswith("| no bare | 9.00 | – | 30.0 |")
    assert "| cannot: why |  |" in lines[2]
    assert lines[3].startswith("| lost | cannot: no wheel |")
    assert {line.count("|") for line in lines} == {11}
