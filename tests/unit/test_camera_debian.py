"""RTSP against GStreamer's real server, and GStreamer pipelines in Debian's OpenCV: `make test-debian`."""

import contextlib
import json
import os
import signal
import subprocess
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from edgekit_deploy.sources import open_source
from edgekit_deploy.sources.frames import SourceLost
from edgekit_deploy.sources.network import OPEN_SECONDS
from edgekit_deploy.sources.reading import READ_SECONDS

pytestmark = pytest.mark.debian

SYSTEM_PYTHON = "/usr/bin/python3"
SERVER = Path(__file__).parents[1] / "support" / "rtsp_server.py"
ROOT = Path(__file__).parents[2]
# 0xRRGGBB, and as BGR.
COLOUR, BGR = "0xC83C28", (0x28, 0x3C, 0xC8)
# What the codec does to a flat colour; the test source's JPEGs hold video range, which a JPEG has no means to say.
COLOUR_TOLERANCE = 16
FPS = 25
# As many frames as FFmpeg can have read while it opened the stream.
BACKLOG = round(OPEN_SECONDS * FPS)
# Frames that reads may still give after the server has stopped: what was on its way to a reader that came late.
ON_THE_WAY = FPS
LATE_SECONDS = 5.0


@contextlib.contextmanager
def rtsp_server(encoder="h264", port=0, login=""):
    """The running process and its port."""
    command = [SYSTEM_PYTHON, str(SERVER), str(port), encoder, COLOUR, *([login] if login else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            ready, _, number = process.stdout.readline().strip().partition(" ")
            assert ready == "ready", "the RTSP server does not start"
            yield process, int(number)
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


def assert_right_colour(image):
    assert image.shape == (240, 320, 3)
    assert np.abs(image.reshape(-1, 3).mean(axis=0) - BGR).max() <= COLOUR_TOLERANCE


@pytest.mark.parametrize("encoder", ["h264", "mjpeg"])
def test_rtsp_frames(encoder):
    with rtsp_server(encoder) as (_, port), open_source(f"rtsp://127.0.0.1:{port}/live") as source:
        frames = list(islice(source, BACKLOG + 15))
        assert source.is_live
        assert source.describe() == f"rtsp://127.0.0.1:{port}/live: 320×240 at 25 fps"
    assert_right_colour(frames[0].image)
    assert_right_colour(frames[-1].image)
    # After the backlog they come as they are made, 25 a second.
    assert frames[-1].timestamp - frames[BACKLOG].timestamp > 0.4


@pytest.mark.parametrize(("stop", "least", "most"), [
    (signal.SIGKILL, 0.0, LATE_SECONDS),
    (signal.SIGSTOP, READ_SECONDS - 0.2, READ_SECONDS + LATE_SECONDS),
], ids=["killed", "hung"])  # fmt: skip
def test_a_dead_rtsp_server_is_a_loss_in_time(stop, least, most):
    with rtsp_server() as (process, port), open_source(f"rtsp://127.0.0.1:{port}/live") as source:
        frames = iter(source)
        # The first ones were collected while it opened.
        list(islice(frames, BACKLOG))
        process.send_signal(stop)
        start = time.monotonic()
        after = 0
        with pytest.raises(SourceLost, match="must keep delivering"):
            for _ in frames:
                after += 1
        assert least <= time.monotonic() - start < most
        assert after <= ON_THE_WAY


def test_a_restarted_rtsp_server_is_found_again():
    with rtsp_server() as (_, port), open_source(f"rtsp://127.0.0.1:{port}/live") as source:
        next(iter(source))
    url = f"rtsp://127.0.0.1:{port}/live"
    with pytest.raises(SourceLost, match="connection refused"), open_source(url):
        pass
    with rtsp_server(port=port), open_source(url) as source:
        assert_right_colour(next(iter(source)).image)


def test_a_hung_rtsp_server_does_not_hang_the_opening():
    with rtsp_server() as (process, port):
        process.send_signal(signal.SIGSTOP)
        start = time.monotonic()
        with pytest.raises(SourceLost, match="must answer with video"), open_source(f"rtsp://127.0.0.1:{port}/live"):
            pass
        assert OPEN_SECONDS - 0.2 <= time.monotonic() - start < OPEN_SECONDS + LATE_SECONDS


def test_rtsp_passwords_work_and_are_not_shown(capfd):
    with rtsp_server(login="admin:Geheim123") as (_, port):
        with open_source(f"rtsp://admin:Geheim123@127.0.0.1:{port}/live") as source:
            assert_right_colour(next(iter(source)).image)
            told = [source.name, source.describe()]
        for url in (f"rtsp://127.0.0.1:{port}/live", f"rtsp://admin:Geheim999@127.0.0.1:{port}/live"):
            with pytest.raises(SourceLost, match="path, user and password") as caught, open_source(url):
                pass
            told.append(str(caught.value))
    told += capfd.readouterr()
    assert not any("Geheim" in text for text in told)


GSTREAMER = """
import json, sys, time
from itertools import islice
from edgekit_deploy.sources import open_source
from edgekit.errors import EdgekitError
result = {}
start = time.monotonic()
try:
    with open_source(sys.argv[1]) as source:
        result["describe"], result["live"] = source.describe(), source.is_live
        frames = list(islice(source, int(sys.argv[2])))
    result["n"], result["mean"] = len(frames), frames[-1].image.reshape(-1, 3).mean(axis=0).tolist()
except EdgekitError as error:
    result["error"] = str(error)
result["seconds"] = time.monotonic() - start
print(json.dumps(result))
"""


def gstreamer(pipeline, frames=10):
    """What edgekit's source makes of a pipeline in Debian's OpenCV, which has GStreamer; and what stderr said."""
    path = os.pathsep.join(str(ROOT / folder) for folder in (".", "deploy"))
    done = subprocess.run(
        [SYSTEM_PYTHON, "-c", GSTREAMER, pipeline, str(frames)],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


TEST_PICTURE = (
    f"videotestsrc pattern=solid-color foreground-color={int(COLOUR, 16) | 0xFF000000} "
    "! video/x-raw,width=320,height=240,framerate=30/1"
)


def test_a_pipeline_gets_its_sink():
    result = gstreamer(TEST_PICTURE)
    assert result["n"] == 10 and result["live"]
    assert np.abs(np.subtract(result["mean"], BGR)).max() <= COLOUR_TOLERANCE
    assert "320×240 at 30 fps" in result["describe"]


def test_a_pipeline_that_counts_its_buffers_ends():
    result = gstreamer(f"gst:{TEST_PICTURE.replace('videotestsrc', 'videotestsrc is-live=true num-buffers=20')}", 100)
    # The sink drops what is not taken in time.
    assert 1 <= result["n"] <= 20 and not result["live"]


def test_a_wrong_pipeline_is_one_line():
    result = gstreamer("nosuchelement location=rtsp://me:geheim@cam/x ! fakesink")
    assert (
        'no element "nosuchelement"' in result["error"]
        and "geheim" not in result["error"]
        and "\n" not in result["error"]
    )


def test_rtsp_through_gstreamer():
    with rtsp_server("mjpeg") as (_, port):
        result = gstreamer(
            f"rtspsrc protocols=tcp latency=0 location=rtsp://127.0.0.1:{port}/live ! rtpjpegdepay ! jpegdec"
        )
    assert result["n"] == 10, result
    assert np.abs(np.subtract(result["mean"], BGR)).max() <= COLOUR_TOLERANCE
