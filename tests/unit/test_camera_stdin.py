"""Frames through a real pipe: raw and JPEG, cut off, none at all."""

import io
import json
import os
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest
from support import tiny_model
from support.streams import jpeg

from edgekit.errors import InputError
from edgekit_deploy.sources import SourceOptions, open_source
from edgekit_deploy.sources.frames import SourceLost
from edgekit_deploy.sources.jpegs import MOST_BYTES, split_jpegs
from edgekit_deploy.sources.stdin import StdinSource

WIDTH, HEIGHT = 64, 48
FRAME_BYTES = WIDTH * HEIGHT * 3
RAW = SourceOptions(size=(WIDTH, HEIGHT), fast=True, fps=10.0)
JPEGS = SourceOptions(fast=True)
COLOURS = [tiny_model.BGR[name] for name in tiny_model.COLOURS]
EDGEKIT = [sys.executable, "-c", "from edgekit.cli import main; main()"]


def noise(seed, height=HEIGHT, width=WIDTH):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def piped(options, data):
    """A source at the end of a real pipe, into which a thread writes `data` and closes it."""
    reading, writing = os.pipe()

    def write():
        with os.fdopen(writing, "wb") as stream:
            stream.write(data)

    threading.Thread(target=write, daemon=True).start()
    return StdinSource(options, io.FileIO(reading, "rb"))


def frames_of(source):
    with source:
        return list(source)


def test_raw_frames_are_exact():
    pictures = [noise(seed) for seed in range(5)]
    source = piped(RAW, b"".join(picture.tobytes() for picture in pictures))
    frames = frames_of(source)
    assert source.lossless and not source.is_live
    assert [frame.index for frame in frames] == list(range(5))
    assert [frame.media_time for frame in frames] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    for frame, picture in zip(frames, pictures, strict=True):
        np.testing.assert_array_equal(frame.image, picture)
    assert source.notes == []


def test_a_short_last_frame_is_noted():
    source = piped(RAW, noise(1).tobytes() + noise(2).tobytes()[:1000])
    assert len(frames_of(source)) == 1
    assert source.notes == [f"stdin ended inside a frame: the last 1000 of {FRAME_BYTES} bytes were not used."]


@pytest.mark.parametrize(("options", "data", "said"), [
    (RAW, b"", "raw BGR frames of 64×48, 9216 bytes each, got 0 bytes"),
    (RAW, b"x" * 100, "got 100 bytes"),
    (JPEGS, b"", "got 0 bytes"),
    (JPEGS, b"no picture" * 5000, "got 50000 bytes"),
    (JPEGS, jpeg(noise(1))[:-500], "JPEG pictures"),
])  # fmt: skip
def test_a_stream_without_one_frame(options, data, said):
    with pytest.raises(InputError, match=said):
        frames_of(piped(options, data))


def test_jpegs_one_after_another():
    pictures = [np.full((HEIGHT, WIDTH, 3), colour, np.uint8) for colour in COLOURS] * 3
    source = piped(JPEGS, b"".join(jpeg(picture) for picture in pictures))
    frames = frames_of(source)
    assert len(frames) == 9
    for frame, picture in zip(frames, pictures, strict=True):
        assert np.abs(frame.image.astype(int) - picture).max() <= 4  # what JPEG does to a flat colour
    assert source.notes == []


def test_broken_jpegs_are_skipped_and_noted():
    good = jpeg(noise(3))
    scan = good.index(b"\xff\xda")
    broken = [good[: len(good) // 2], good[: scan - 33], good[:2] + b"\xff\x00" * 40]
    data = b"".join(part + good for part in broken) + b"between" + good
    source = piped(JPEGS, data)
    frames = frames_of(source)
    whole = cv2.imdecode(np.frombuffer(good, np.uint8), cv2.IMREAD_COLOR)
    assert len(frames) == 4
    for frame in frames:
        np.testing.assert_array_equal(frame.image, whole)
    assert "broken and skipped" in source.notes[0]


def test_other_sized_and_grey_jpegs():
    source = piped(JPEGS, jpeg(noise(1)) + jpeg(noise(2, 20, 30)) + jpeg(noise(3)[:, :, 0]))
    assert [frame.image.shape for frame in frames_of(source)] == [(48, 64, 3), (20, 30, 3), (48, 64, 3)]


@pytest.mark.parametrize("step", [1, 7, 100, 10_000])
def test_jpegs_do_not_depend_on_how_they_are_cut(step):
    thumbnail = jpeg(noise(9, 8, 8))
    plain = jpeg(noise(4))
    # An APP1 segment that holds a whole JPEG, as cameras write them.
    with_thumbnail = plain[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + plain[2:]
    pictures = [with_thumbnail, plain, with_thumbnail]
    data = b"\r\n--frame\r\n".join(pictures)
    assert list(split_jpegs(data[i : i + step] for i in range(0, len(data), step))) == pictures


def test_a_picture_is_there_as_soon_as_it_is_whole():
    picture = jpeg(noise(6))
    reading, writing = os.pipe()
    source = StdinSource(SourceOptions(), io.FileIO(reading, "rb"))
    with source, os.fdopen(writing, "wb", buffering=0) as stream:
        frames = iter(source)
        for _ in range(3):
            stream.write(picture)
            assert next(frames).image.shape == (HEIGHT, WIDTH, 3)  # would wait for ever, and time out


def test_random_bytes_never_crash():
    generator = np.random.default_rng(11)
    for _ in range(50):
        data = bytearray(jpeg(noise(1)) * 3)
        for position in generator.integers(0, len(data), 20):
            data[position] = generator.integers(0, 256)
        try:
            frames = frames_of(piped(JPEGS, bytes(data)))
        except InputError:
            continue
        assert all(frame.image.ndim == 3 and frame.image.dtype == np.uint8 for frame in frames)


def test_a_read_that_fails_is_a_loss_and_not_the_end():
    class Failing(io.RawIOBase):
        def readinto(self, view):
            raise OSError(5, "Input/output error")

    with pytest.raises(SourceLost, match="Input/output error"):
        frames_of(StdinSource(RAW, Failing()))


def test_formats_that_stdin_does_not_have():
    with pytest.raises(InputError, match="MJPG or left out"):
        open_source("-", SourceOptions(fourcc="YUYV"))
    assert "JPEG" in open_source("-", SourceOptions(fourcc="MJPG", size=(640, 480))).describe()
    assert "640×480" in open_source("-", SourceOptions(size=(640, 480))).describe()


def test_a_terminal_is_refused():
    import pty

    leader, follower = pty.openpty()
    code = "from edgekit_deploy.sources import open_source\nwith open_source('-'): pass"
    done = subprocess.run([sys.executable, "-c", code], stdin=follower, capture_output=True, text=True, timeout=60)
    os.close(leader), os.close(follower)
    assert "got a terminal" in done.stderr and "rawvideo" in done.stderr


def test_the_process_ends_although_stdin_never_does():
    """A thread left behind in a read must not stop the interpreter from ending (a buffered reader's lock does)."""
    code = (
        "import threading, sys\nfrom edgekit_deploy.sources import open_source\n"
        "def run():\n    with open_source('-') as source:\n        print('reading', flush=True)\n        list(source)\n"
        "threading.Thread(target=run, daemon=True).start()\nimport time; time.sleep(0.5)"
    )
    reading, writing = os.pipe()
    done = subprocess.run([sys.executable, "-c", code], stdin=reading, capture_output=True, text=True, timeout=60)
    os.close(reading), os.close(writing)
    assert (done.returncode, done.stdout, done.stderr) == (0, "reading\n", "")


def test_the_whole_command_on_jpegs_from_a_process(tmp_path):
    (tmp_path / "model.tflite").write_bytes(tiny_model.sealed())
    pictures = [np.full((HEIGHT, WIDTH, 3), COLOURS[i // 4 % 3], np.uint8) for i in range(12)]
    (tmp_path / "all.mjpg").write_bytes(b"".join(jpeg(picture) for picture in pictures))
    command = [*EDGEKIT, "camera", "model.tflite", "--source", "-", "--fast", "--headless", "--jsonl", "out.jsonl"]
    with subprocess.Popen(["cat", "all.mjpg"], cwd=tmp_path, stdout=subprocess.PIPE) as writer:
        done = subprocess.run(command, cwd=tmp_path, stdin=writer.stdout, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "12 captured = 12 inferred + 0 dropped" in done.stdout
    labels = [json.loads(line)["label"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert labels == [tiny_model.COLOURS[i // 4 % 3] for i in range(12)]


def test_live_frames_have_the_time_of_their_arrival():
    reading, writing = os.pipe()
    source = StdinSource(SourceOptions(size=(WIDTH, HEIGHT)), io.FileIO(reading, "rb"))
    with source, os.fdopen(writing, "wb", buffering=0) as stream:
        frames = iter(source)
        for seed in range(3):
            before = time.monotonic()
            stream.write(noise(seed).tobytes())
            assert before <= next(frames).timestamp <= time.monotonic()
    assert not source.lossless


def test_a_picture_that_never_ends_is_given_up():
    good = jpeg(noise(1))
    endless = good[: good.index(b"\xff\xda") + 12] + bytes(MOST_BYTES + 1)
    data = endless + good
    got = list(split_jpegs(data[i : i + 2**20] for i in range(0, len(data), 2**20)))
    assert [part for part in got if part] == [good]
    assert b"" in got
