"""A V4L2 camera: what it is asked for, what it grants, and when it counts as lost."""

import time
from itertools import islice

import cv2
import numpy as np
import pytest
from support import tiny_model

from edgekit.errors import MissingError
from edgekit_deploy.sources import SourceOptions
from edgekit_deploy.sources.frames import SourceLost, as_bgr
from edgekit_deploy.sources.reading import MOST_BAD_FRAMES, READ_SECONDS
from edgekit_deploy.sources.v4l2 import CameraSource

RED, GREEN, BLUE = (tiny_model.BGR[name] for name in tiny_model.COLOURS)


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


class Granting(FakeCamera):
    """A camera that grants what it likes, and tells the driver's time of each frame."""

    def __init__(self, script, granted, age=None):
        super().__init__(script)
        self.granted, self.age, self.order = granted, age, []

    def set(self, key, value):
        self.order.append(key)
        return super().set(key, value)

    def get(self, key):
        if key == cv2.CAP_PROP_POS_MSEC:
            return 0.0 if self.age is None else 1e3 * (time.monotonic() - self.age)
        return self.granted.get(key, 0.0)


YUYV_320 = {
    cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter.fourcc(*"YUYV")),
    cv2.CAP_PROP_FRAME_WIDTH: 320.0,
    cv2.CAP_PROP_FRAME_HEIGHT: 240.0,
    cv2.CAP_PROP_FPS: 15.0,
}


def test_what_was_asked_for_and_what_was_granted():
    fake = Granting([], YUYV_320)
    options = SourceOptions(size=(640, 480), fps=60.0, fourcc="MJPG")
    with CameraSource(0, options, opener=lambda n: fake) as source:
        assert source.describe() == "camera 0: YUYV 320×240 at 15 fps"
    assert fake.settings[cv2.CAP_PROP_FOURCC] == cv2.VideoWriter.fourcc(*"MJPG")
    assert (fake.settings[cv2.CAP_PROP_FRAME_WIDTH], fake.settings[cv2.CAP_PROP_FRAME_HEIGHT]) == (640, 480)
    assert fake.order[0] == cv2.CAP_PROP_FOURCC
    assert source.notes == [
        "camera 0: asked for MJPG, granted YUYV.",
        "camera 0: asked for 640×480, granted 320×240.",
        "camera 0: asked for 60 fps, granted 15 fps.",
    ]


def test_nothing_is_noted_of_wishes_that_were_granted_or_not_uttered():
    for options in (SourceOptions(size=(320, 240), fps=15.0, fourcc="YUYV"), SourceOptions()):
        with CameraSource(0, options, opener=lambda n: Granting([], YUYV_320)) as source:
            assert source.notes == []


@pytest.mark.parametrize(("age", "expected"), [(0.05, 0.05), (30.0, 0.0), (-5.0, 0.0), (None, 0.0)])
def test_the_drivers_time_of_a_frame_where_it_makes_sense(age, expected):
    with CameraSource(0, opener=lambda n: Granting([picture()], YUYV_320, age)) as source:
        frame = next(iter(source))
    assert expected <= time.monotonic() - frame.timestamp < expected + 2.0


def test_a_path_is_followed_at_every_opening(tmp_path):
    link = tmp_path / "usb-Camera-video-index0"
    opened = []

    def opener(number):
        opened.append(number)
        return FakeCamera([])

    source = CameraSource(link, opener=opener)
    with pytest.raises(SourceLost, match="plugged in"), source:
        pass
    for number in (2, 4):  # it comes back under another number
        link.unlink(missing_ok=True)
        link.symlink_to(f"/dev/video{number}")
        with source:
            pass
    assert opened == [2, 4]


def test_corrupt_pictures_of_a_camera_are_no_loss():
    class Torn(FakeCamera):
        def read(self):
            result = super().read()
            if result[1] is None and self.script:
                raise cv2.error("(-215:Assertion failed) !buf.empty()")
            return result

    script = [picture(1), (False, None), (False, None), picture(2)]
    with pytest.raises(SourceLost, match="after 2"), CameraSource(0, opener=lambda n: Torn(script)) as source:
        frames = []
        for frame in source:
            frames.append(frame)
    assert [frame.index for frame in frames] == [0, 3]


def test_a_read_that_hung_is_a_loss_at_once():
    class Hanging(FakeCamera):
        reads = 0

        def read(self):
            self.reads += 1
            time.sleep(READ_SECONDS)
            return False, None

    fake = Hanging([])
    with pytest.raises(SourceLost), CameraSource(0, opener=lambda n: fake) as source:
        list(source)
    assert fake.reads == 1


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
