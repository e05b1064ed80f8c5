"""Recordings of numbered frames, and what is in them."""

import os
import time

import numpy as np

from edgekit_deploy.outputs.parts import Parts
from edgekit_deploy.outputs.recorder import RESERVE_BYTES, Recorder
from support.clips import read_clip

FPS = 10.0
# Of 20 and of 5 frames.
LONG, SHORT = Parts(20 / FPS / 60.0), Parts(5 / FPS / 60.0)
SECONDS = 60.0


def give(recorder, frames, *, wait=True):
    """Frame n is of level 5 n, and n tenths of a second old."""
    for number in frames:
        recorder.write(np.full((48, 64, 3), 5 * number, np.uint8), number / FPS, wait=wait)


def until(condition):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def counted(recorder):
    """Counts how often it has asked for a frame, see `taken`; before it is entered."""
    ask, recorder.asked = recorder._next, 0

    def asking(patience=None):
        recorder.asked += 1
        return ask(patience)

    recorder._next = asking
    return recorder


def taken(recorder):
    """All frames so far were recorded or passed over: the recorder has asked for the next."""
    until(lambda: recorder.asked > recorder._given)


def numbers(path):
    """Of its frames; Motion JPEG is up to a level off, MPEG-4 up to three, darker."""
    return [round((float(picture.mean()) + 1.5) / 5.0) for picture in read_clip(path)[0]]


def full_or_not(folder, is_full, told):
    """A recorder whose disk is full while that is so."""
    free = lambda _: RESERVE_BYTES - is_full[0]  # noqa: E731
    return Recorder(folder / "out.avi", FPS, parts=SHORT, warn=told.append, free_bytes=free)


def parts_in(folder):
    return sorted(map(numbers, folder.glob("out-*")))


def touched(path, seconds):
    path.write_bytes(b"x")
    os.utime(path, (seconds, seconds))
    return path
