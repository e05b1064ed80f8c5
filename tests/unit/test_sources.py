"""Sources: real video files and folders, a scripted camera, and everything that can be wrong with them."""

import time
from itertools import islice, pairwise

import cv2
import numpy as np
import pytest
from support import tiny_model
from support.clips import colour_pictures, write_clip

from edgekit.errors import InputError, MissingError
from edgekit_deploy.sources import FolderSource, SourceOptions, VideoSource, open_source
from edgekit_deploy.sources.frames import SourceLost, as_bgr
from edgekit_deploy.sources.reading import MOST_BAD_FRAMES
from edgekit_deploy.sources.v4l2 import CameraSource

RED, GREEN, BLUE = (tiny_model.BGR[name] for name in tiny_model.COLOURS)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", colour_pictures([RED, GREEN], 10), fps=50.0)


class FakeCamera:
    """What cv2.VideoCapture shows of a camera; `script` holds what read() returns."""

    def __init__(self, script, opened=True, fps=0.0):
        self.script, self.opened, self.fps = list(script), opened, fps
        self.settings, self.released = {}, 0

    def isOpened(self):
        return self.opened

    def set(self, key, value):
        self.settings[key] = value
        return True

    def get(self, key):
        return self.fps

    def read(self):
        return self.script.pop(0) if self.script else (False, None)

    def release(self):
        self.released += 1


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
    assert all(frame.timestamp - frames[0].timestamp >= frame.media_time - 0.025 for frame in frames)


def test_truncated_mp4_says_so(tmp_path, clip):
    broken = tmp_path / "half.mp4"
    broken.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with pytest.raises(InputError, match="whole video"):
        frames_of(VideoSource(broken, fast=True))


def test_truncated_avi_ends_early_with_a_note(tmp_path):
    path = write_clip(tmp_path / "clip.avi", colour_pictures([RED], 30))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = VideoSource(path, fast=True)
    try:
        frames = frames_of(source)
    except InputError:
        return  # OpenCV refuses the file altogether: clear, too
    assert 0 < len(frames) < 30
    assert len(source.notes) <= 1


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


@pytest.mark.parametrize("text", ["nothing.mp4", "", "-1", "/dev/videoX", "rtsp"])
def test_names_of_nothing(text):
    with pytest.raises(InputError, match="--source"):
        open_source(text)


@pytest.mark.parametrize(("text", "name"), [("0", "camera 0"), ("7", "camera 7"), ("/dev/video12", "camera 12")])
def test_names_of_cameras(text, name):
    source = open_source(text)
    assert isinstance(source, CameraSource)
    assert source.name == name and not source.lossless


def test_missing_camera_is_exit_3_with_the_libcamera_hint():
    source = CameraSource(63)
    with pytest.raises(SourceLost, match="libcamera") as caught, source:
        pass
    assert isinstance(caught.value, MissingError)
    assert caught.value.exit_code == 3


def picture(level=10, shape=(4, 6, 3)):
    return True, np.full(shape, level, np.uint8)


def test_camera_frames_and_loss():
    fake = FakeCamera([picture(1), picture(2)], fps=15.0)
    got = []
    with pytest.raises(SourceLost, match="keep delivering"), CameraSource(0, opener=lambda n: fake) as source:
        for frame in source:
            got.append(frame)
    assert [int(frame.image[0, 0, 0]) for frame in got] == [1, 2]
    assert source.fps == 15.0
    assert fake.settings[cv2.CAP_PROP_FRAME_WIDTH] == 640 and fake.settings[cv2.CAP_PROP_BUFFERSIZE] == 1
    assert fake.released == 1


def test_grey_and_empty_frames():
    empty = (True, np.zeros((0, 0, 3), np.uint8))
    script = [picture(3, (4, 6)), empty, (True, None), picture(4, (4, 6, 4)), picture(5, (4, 6, 1))]
    with CameraSource(0, opener=lambda n: FakeCamera(script)) as source:
        frames = list(islice(source, 3))
    assert [frame.image.shape for frame in frames] == [(4, 6, 3)] * 3
    assert [frame.index for frame in frames] == [0, 3, 4]


def test_only_empty_frames_are_a_lost_camera():
    script = [(True, np.zeros((0, 0), np.uint8))] * (MOST_BAD_FRAMES + 5)
    with pytest.raises(SourceLost, match="empty"), CameraSource(0, opener=lambda n: FakeCamera(script)) as source:
        list(source)


@pytest.mark.parametrize("raw", [None, np.zeros((0, 3, 3), np.uint8), np.zeros((4, 4, 2), np.uint8), np.ones((4, 4))])
def test_as_bgr_refuses_what_is_no_picture(raw):
    assert as_bgr(raw) is None
