"""Lines to standard output and to named pipes: at once, whole, and with an end even when nobody reads."""

import contextlib
import json
import os
import threading
import time

from support.decisions import WAIT_SECONDS, decision, wait_for

from edgekit_deploy.outputs.json_lines import DecisionLog
from edgekit_deploy.outputs.line_stream import STDOUT, LineStream

# The promise to users: no output holds up the end longer.
MOST_CLOSE_SECONDS = 5.0


@contextlib.contextmanager
def piped():
    """A pipe as standard output; gives the end to read from. Not a fixture: pytest changes standard output after it."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe, os.fdopen(writing, "w") as stdout, contextlib.redirect_stdout(stdout):
        yield pipe


def test_standard_output_gets_each_line_at_once():
    with piped() as pipe, DecisionLog(STDOUT) as log:
        for index in range(3):
            log.write(decision("cat", index=index))
            assert json.loads(pipe.readline())["frame"] == index


def test_a_reader_that_goes_away_closes_the_log():
    with piped() as pipe, DecisionLog(STDOUT) as log:
        log.write(decision("cat"))
        pipe.close()
        log.write(decision("cat"))
        assert log.is_closed
        log.write(decision("cat"))


def test_a_reader_that_is_slow_gets_every_line_whole():
    lines = [(f"{i} " + "x" * 20_000 + "\n").encode() for i in range(50)]
    got = []
    with piped() as pipe:
        reader = threading.Thread(target=lambda: got.extend(pipe.readline() for _ in lines))
        stream = LineStream(STDOUT, lambda: False, lambda line: None)
        threading.Timer(0.3, reader.start).start()
        for line in lines:
            stream.write(line)
        wait_for(lambda: len(got) == len(lines))
    assert got == lines and not stream.is_closed


def test_a_reader_that_does_not_read_does_not_hold_up_the_end():
    stopping = threading.Event()
    with piped(), DecisionLog(STDOUT, is_stopping=stopping.is_set) as log:
        threading.Timer(0.2, stopping.set).start()
        start = time.monotonic()
        while not log.is_closed:
            log.write(decision("cat"))
            assert time.monotonic() - start < WAIT_SECONDS
        assert stopping.is_set() and time.monotonic() - start < MOST_CLOSE_SECONDS


def test_a_full_disk_behind_standard_output_is_told_once():
    told = []
    with (
        open("/dev/full", "w") as full,
        contextlib.redirect_stdout(full),
        DecisionLog(STDOUT, warn=told.append) as log,
    ):
        for _ in range(5):
            log.write(decision("cat"))
        assert not log.is_closed
    assert log.lost == 5 and len(told) == 1 and "No space left" in told[0]


def test_a_named_pipe_waits_for_its_reader_and_ends_with_it(tmp_path):
    path, got = tmp_path / "pipe", []
    os.mkfifo(path)

    def read_two():
        with path.open() as file:
            got.extend(json.loads(file.readline())["frame"] for _ in range(2))

    reader = threading.Thread(target=read_two)
    threading.Timer(0.2, reader.start).start()
    with DecisionLog(path) as log:
        index = 0
        while not log.is_closed:
            log.write(decision("cat", index=index))
            index += 1
            time.sleep(0.001)
    assert got == [0, 1] and path.is_fifo()


def test_a_named_pipe_that_nobody_reads_does_not_hold_up_the_end(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    start = time.monotonic()
    with DecisionLog(tmp_path / "pipe", is_stopping=lambda: True) as log:
        log.write(decision("cat"))
        assert log.is_closed
    assert time.monotonic() - start < MOST_CLOSE_SECONDS
