"""picamera2: how edgekit calls it, against a stand-in written after its source. No Raspberry Pi took part."""

import os
import sys
import time
from itertools import islice

import numpy as np
import pytest
from support.picamera2_stand_in import Camera

from edgekit.errors import InputError, MissingError
from edgekit_deploy.sources import SourceOptions, open_source, picamera
from edgekit_deploy.sources.frames import SourceLost
from edgekit_deploy.sources.picamera import PicameraSource


def noise(index, width=640, height=480):
    return np.random.default_rng(index).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def install(monkeypatch):
    def put(camera):
        monkeypatch.setitem(sys.modules, "picamera2", camera.module())
        return camera

    return put


@pytest.mark.parametrize(("width", "height"), [(640, 480), (226, 224)])  # rows without and with padding
def test_pictures_are_exact_and_their_own(install, width, height):
    camera = install(Camera(lambda i: noise(i, width, height)))
    with open_source("picamera2", SourceOptions(size=(width, height))) as source:
        frames = list(islice(source, 4))
    assert isinstance(source, PicameraSource) and source.is_live and not source.lossless
    for index, frame in enumerate(frames):
        # RGB888 is blue, green, red in memory: nothing is swapped.
        np.testing.assert_array_equal(frame.image, noise(index, width, height))
        assert frame.image.flags.c_contiguous and frame.index == index
    assert all((request.released, request.mapped) == (1, 1) for request in camera.requests)
    assert camera.events == ["open", "start", "stop", "close"]


def test_the_image_processor_is_asked_for_the_small_size_of_the_whole_view(install):
    camera = install(Camera(noise))
    with open_source("picamera2:0", SourceOptions(fps=20.0)) as source:
        assert source.describe() == "picamera2 0: RGB888 640×480 at 20 fps"
    assert camera.configured["main"]["size"] == (640, 480) and camera.configured["main"]["format"] == "RGB888"
    assert camera.configured["raw"]["size"] == (1640, 1232)
    assert camera.configured["controls"]["FrameDurationLimits"] == (50_000, 50_000)
    assert source.notes == []


def test_fast_rates_leave_the_sensor_mode_to_libcamera(install):
    camera = install(Camera(noise))
    with open_source("picamera2", SourceOptions(fps=90.0)):
        pass
    assert camera.configured["raw"]["size"] == (640, 480)


def test_timestamps_are_the_sensors(install):
    install(Camera(noise))
    with open_source("picamera2") as source:
        frame = next(iter(source))
    # The stand-in's sensor exposed 20 ms before it gave the request.
    assert 0.02 <= time.monotonic() - frame.timestamp < 2.0


def test_waiting_for_a_camera_leaves_no_descriptor_open(install):
    """A try every eight seconds for as long as it takes: there are 1,024 descriptors."""
    camera = install(Camera(noise))
    camera.cameras = 0
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with pytest.raises(SourceLost, match="list index"), open_source("picamera2"):
            pass
    assert len(os.listdir("/proc/self/fd")) < before + 10


def test_a_slow_camera_has_time_for_its_frames(install, monkeypatch):
    monkeypatch.setattr(picamera, "READ_SECONDS", 0.2)
    install(Camera(noise)).delay = 0.3
    with open_source("picamera2", SourceOptions(fps=1.0)) as source:
        assert len(list(islice(source, 2))) == 2


def test_an_odd_size_is_noted(install):
    install(Camera(lambda i: noise(i, 224, 226)))
    with open_source("picamera2", SourceOptions(size=(225, 227))) as source:
        assert next(iter(source)).image.shape == (226, 224, 3)
    assert source.notes == ["picamera2 0: asked for 225×227, granted 224×226."]


@pytest.mark.parametrize(
    ("picture", "said"), [(None, "for 1.8 s after 2"), (RuntimeError("Camera frontend has timed out"), "timed out")]
)
def test_a_camera_that_stops_is_lost(install, picture, said):
    camera = install(Camera(lambda i: noise(i) if i < 2 else picture))
    with pytest.raises(SourceLost, match=said), open_source("picamera2") as source:
        list(source)
    assert camera.events[-2:] == ["stop", "close"]
    assert [request.released for request in camera.requests] == [1, 1]


def test_no_such_camera(install):
    camera = install(Camera(noise))
    with pytest.raises(SourceLost, match="list-cameras"), open_source("picamera2:1"):
        pass
    assert camera.events == []


def test_a_usb_camera_that_knows_no_bgr(install):
    camera = install(Camera(noise))
    camera.only_format = "YUYV"
    with pytest.raises(SourceLost, match="got YUYV"), open_source("picamera2"):
        pass
    assert camera.events[-1] == "close"


def test_not_installed_says_how(monkeypatch):
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(MissingError, match="apt install -y python3-picamera2") as caught, open_source("picamera2"):
        pass
    assert "--system-site-packages" in str(caught.value)
    assert not isinstance(caught.value, SourceLost)  # nothing to be opened again


def test_built_for_another_numpy(monkeypatch, tmp_path):
    (tmp_path / "picamera2.py").write_text("raise ValueError('numpy.dtype size changed')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "picamera2", raising=False)
    with pytest.raises(MissingError, match=r"numpy\.dtype size changed"), open_source("picamera2"):
        pass


def test_wishes_that_it_does_not_have():
    with pytest.raises(InputError, match="--format must be left out"):
        open_source("picamera2", SourceOptions(fourcc="MJPG"))
