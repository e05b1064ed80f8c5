"""Sources: real video files and folders, a scripted camera, and everything that can be wrong with them."""

import time
from itertools import pairwise

import cv2
import numpy as np
import pytest
from support import tiny_model
from support.clips import colour_pictures, write_clip

from edgekit.errors import InputError, MissingError
from edgekit_deploy.sources import SourceOptions, open_source, parse_size
from edgekit_deploy.sources.folder import FolderSource
from edgekit_deploy.sources.frames import SourceLost
from edgekit_deploy.sources.gstreamer import SINK, GStreamerSource
from edgekit_deploy.sources.network import NetworkSource
from edgekit_deploy.sources.picamera import PicameraSource
from edgekit_deploy.sources.stdin import StdinSource
from edgekit_deploy.sources.v4l2 import CameraSource
from edgekit_deploy.sources.video import VideoSource

RED, GREEN, BLUE = (tiny_model.BGR[name] for name in tiny_model.COLOURS)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", colour_pictures([RED, GREEN], 10), fps=50.0)


def frames_of(source):
    with source:
        return list(source)


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_video_file_fast(tmp_path, suffix):
    path = write_clip(tmp_path / f"clip{suffix}", colour_pictures([RED, GREEN], 10), fps=20.0)
    source = VideoSource(path, fast=True)
    frames = frames_of(source)
    assert source.lossless
    assert source.fps == pytest.approx(20.0)
    assert [frame.index for frame in frames] == list(range(20))
    np.testing.assert_allclose([frame.media_time for frame in frames], np.arange(20) / 20.0)
    assert all(frame.image.shape == (48, 64, 3) and frame.image.dtype == np.uint8 for frame in frames)
    # BGR order, within what a lossy codec does to a flat colour.
    assert np.abs(frames[5].image.reshape(-1, 3).mean(axis=0) - RED).max() < 12
    assert np.abs(frames[15].image.reshape(-1, 3).mean(axis=0) - GREEN).max() < 12
    assert source.notes == []


def test_frames_belong_to_the_receiver(clip):
    frames = frames_of(VideoSource(clip, fast=True))
    assert not any(np.shares_memory(a.image, b.image) for a, b in pairwise(frames))


def test_video_file_in_real_time(clip):
    start = time.monotonic()
    frames = frames_of(VideoSource(clip))
    elapsed = time.monotonic() - start
    assert not VideoSource(clip).lossless
    # 20 frames at 50 fps: the last one is due after 0.38 s. Sleeping never comes early; a busy machine comes late.
    assert 0.38 <= elapsed < 5.0
    assert [frame.timestamp for frame in frames] == sorted(frame.timestamp for frame in frames)
    assert all(frame.timestamp - start >= frame.media_time for frame in frames)


def test_truncated_mp4_says_so(tmp_path, clip):
    broken = tmp_path / "half.mp4"
    broken.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with pytest.raises(InputError, match="whole video"):
        frames_of(VideoSource(broken, fast=True))


def test_truncated_avi_ends_early_with_a_note(tmp_path):
    path = write_clip(tmp_path / "clip.avi", colour_pictures([RED], 30))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = VideoSource(path, fast=True)
    frames = frames_of(source)
    assert 0 < len(frames) < 30
    assert source.notes == [f"{path} ended after {len(frames)} of 30 frames: it may be truncated."]


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 5000, b"\x89PNG\r\n\x1a\n" + b"\x00" * 50])
def test_files_that_are_no_video(tmp_path, content):
    path = tmp_path / "film.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        frames_of(open_source(str(path), SourceOptions(fast=True)))
    assert "film.mp4" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folder_in_order_of_name(tmp_path):
    for name, colour in (("b.png", GREEN), ("a.png", RED), ("c.jpg", BLUE)):
        cv2.imwrite(str(tmp_path / name), np.full((8, 12, 3), colour, np.uint8))
    (tmp_path / "notes.txt").write_text("no image")
    source = open_source(str(tmp_path))
    frames = frames_of(source)
    assert isinstance(source, FolderSource) and source.lossless
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert [frame.name for frame in frames] == [str(tmp_path / name) for name in ("a.png", "b.png", "c.jpg")]
    assert tuple(frames[0].image[0, 0]) == RED and tuple(frames[1].image[0, 0]) == GREEN


def test_folder_skips_and_notes_what_it_cannot_read(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.jpg").write_bytes(b"rubbish")
    cv2.imwrite(str(tmp_path / "c.png"), np.full((8, 12), 77, np.uint8))
    source = FolderSource(tmp_path)
    frames = frames_of(source)
    assert [frame.index for frame in frames] == [2]
    assert frames[0].image.shape == (8, 12, 3)  # grey is widened
    assert len(source.notes) == 2


def test_unusable_folders(tmp_path):
    with pytest.raises(InputError, match="images"):
        frames_of(open_source(str(tmp_path)))
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(InputError, match="At least one"):
        frames_of(open_source(str(tmp_path)))


@pytest.mark.parametrize(
    "text", ["nothing.mp4", "", "-1", "/dev/videoX", "/dev/null", "rtsp", "picamera", "picamera2:x"]
)
def test_names_of_nothing(text):
    with pytest.raises(InputError, match="--source"):
        open_source(text)


@pytest.mark.parametrize(("text", "name"), [("0", "camera 0"), ("7", "camera 7"), ("/dev/video12", "camera 12")])
def test_names_of_cameras(text, name):
    source = open_source(text)
    assert isinstance(source, CameraSource)
    assert source.name == name and not source.lossless


@pytest.mark.parametrize(("text", "size"), [("640x480", (640, 480)), ("1X1", (1, 1)), (" 640×480 ", (640, 480))])
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "640", "640x", "x480", "-1x5", "640x480x3", "9999999x1", "640*480"])
def test_sizes_that_are_none(text):
    with pytest.raises(InputError, match="--size must be"):
        parse_size(text)


@pytest.mark.parametrize(
    "wish",
    [
        {"size": (0, 480)},
        {"size": (640, 20000)},
        {"fps": 0.0},
        {"fps": float("nan")},
        {"fourcc": "mjpg"},
        {"fourcc": "X"},
    ],
)
def test_wishes_that_cannot_be(wish):
    with pytest.raises(InputError, match="must be"):
        SourceOptions(**wish)


def test_wishes_that_a_kind_does_not_have(tmp_path, clip):
    for text in (str(clip), str(tmp_path), "gst:videotestsrc ! fakesink"):
        with pytest.raises(InputError, match="--size must be left out"):
            open_source(text, SourceOptions(size=(64, 48)))


@pytest.mark.parametrize(("text", "kind"), [
    ("-", StdinSource), ("picamera2", PicameraSource), ("picamera2:1", PicameraSource), ("rtsp://cam/x", NetworkSource),
    ("HTTP://cam/x", NetworkSource), ("http://cam/wow!", NetworkSource), ("gst:videotestsrc", GStreamerSource),
    ("v4l2src ! jpegdec", GStreamerSource), ("rtspsrc location=rtsp://cam/x ! decodebin", GStreamerSource),
    ("/dev/v4l/by-id/usb-046d-video-index0", CameraSource),
])  # fmt: skip
def test_kinds_are_told_apart(text, kind):
    source = open_source(text)
    assert type(source) is kind
    assert source.is_live == (kind is not StdinSource) and not source.lossless


def test_files_and_folders_are_not_live_and_come_before_pipelines(tmp_path, clip):
    odd = tmp_path / "wow! what a film.mp4"
    odd.write_bytes(clip.read_bytes())
    for path, kind in ((odd, VideoSource), (tmp_path, FolderSource)):
        source = open_source(str(path))
        assert type(source) is kind and not source.is_live
    with open_source(str(odd)) as source:
        assert source.describe() == f"{odd}: 64×48 at 50 fps"


def test_a_pipeline_without_gstreamer_says_so_in_one_line():
    if cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        pytest.skip("this OpenCV has GStreamer")
    with pytest.raises(MissingError, match="built with GStreamer") as caught, open_source("videotestsrc ! appsink"):
        pass
    assert "\n" not in str(caught.value) and not isinstance(caught.value, SourceLost)


def test_pipelines_end_in_a_sink_that_drops_and_hide_their_password():
    source = GStreamerSource("gst: rtspsrc location=rtsp://me:secret@cam/x user-pw=secret ! decodebin !")
    assert source.pipeline.endswith("! decodebin ! " + SINK)
    assert "secret" in source.pipeline and "secret" not in source.name
    own = GStreamerSource("v4l2src ! videoconvert ! appsink")
    assert own.pipeline == "v4l2src ! videoconvert ! appsink" and "drop=true" in own.notes[0]
    assert not GStreamerSource("videotestsrc num-buffers=5").is_live
    assert not GStreamerSource("filesrc location=a.mp4 ! decodebin").is_live
