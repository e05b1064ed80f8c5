"""What only holds where the host's packages are absent; not collected elsewhere (see conftest.py)."""

import importlib.util
import os

import cv2
import pytest
from device_support import HOST_PACKAGES, edgekit

from edgekit.runtime import runtime_name


def test_host_packages_are_not_even_installed():
    assert [name for name in HOST_PACKAGES if importlib.util.find_spec(name)] == []


def test_runtime_is_the_one_this_environment_is_for():
    assert runtime_name().split()[0] == os.environ["EDGEKIT_DEVICE_RUNTIME"]


@pytest.fixture
def photos(fixtures, tmp_path):
    """The host's frames, twice, as two classes."""
    for label in ("one", "two"):
        (tmp_path / label).mkdir()
        for frame in fixtures.glob("frame-*.png"):
            cv2.imwrite(str(tmp_path / label / frame.name), cv2.imread(str(frame)))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("train", "{photos}", "--out", "{photos}/m.pt", "--weights", "none"), "train"),
        (("convert", "mobilenet_v2:imagenet", "--calibration", "{photos}", "--out", "{photos}/m.tflite"), "convert"),
        (("report", "{model}", "--reference", "m.pt", "--data", "{photos}", "--out", "{photos}/r.html"), "convert"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_host_commands_name_the_extra_that_is_missing(arguments, extra, photos, fixtures):
    done = edgekit(*(word.format(photos=photos, model=fixtures / "colours.tflite") for word in arguments))
    assert done.returncode == 3, done.stderr
    assert f'pip install "edgekit[{extra}]"' in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
