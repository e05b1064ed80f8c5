"""Every fault of calibration images is planted, and named with its reason; sound images raise no warning."""

import re

import numpy as np
import pytest
from support.photos import CLASSES, picture

from edgekit.card import InputSpec
from edgekit.errors import InputError
from edgekit.images import ArraySet
from edgekit_quantize.calibration_checks import check_normalization, sanity_warnings
from edgekit_quantize.calibration_images import read_calibration_images

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@pytest.fixture
def pixels():
    rng = np.random.default_rng(1)
    return np.stack([picture(CLASSES[i % 3], rng, 32) for i in range(60)])


def warnings(pixels, spec=None):
    spec = spec or InputSpec(32, 32)
    images = ArraySet(pixels, np.full(len(pixels), -1), ())
    return list(sanity_warnings(read_calibration_images(images, spec, (), 500, 0), spec))


def only(pixels, *words, spec=None):
    found = warnings(pixels, spec)
    assert len(found) == 1, found
    assert all(word in found[0] for word in words), found


@pytest.mark.parametrize(
    "normalization",
    [
        {},
        IMAGENET,
        {"mean": (0.0,) * 3, "std": (1.0,) * 3},
        # Pixels from 0 to 255, and these less their mean.
        {"mean": (0.0,) * 3, "std": (1 / 255,) * 3},
        {"mean": (0.485, 0.456, 0.406), "std": (0.00392,) * 3},
    ],
)
def test_sound_images_raise_no_warning(pixels, normalization):
    assert warnings(pixels, InputSpec(32, 32, **normalization)) == []


def test_few(pixels):
    assert warnings(pixels[:32]) == []
    only(pixels[:31], "Only 31 calibration images")


def test_duplicates(pixels):
    only(np.concatenate([pixels, pixels[:7]]), "7 calibration images show the same", "leaves 60")


@pytest.mark.parametrize("count", [40, 10])
def test_one_colour(pixels, count):
    """Counted once, also where all images serve both ends."""
    planted = pixels[:count].copy()
    for place in range(3):
        planted[place] = 40 * place + 20
    assert f"3 of {count} calibration images are one colour" in " ".join(warnings(planted))


def test_scaled_before_saving(pixels):
    found = warnings((pixels / 255.0 + 0.5).astype(np.uint8))
    assert any("of 60 calibration images are almost black" in line for line in found), found


def test_almost_white(pixels):
    found = warnings(np.uint8(250) + pixels // 64)
    assert any("60 of 60 calibration images are almost white" in line for line in found), found


@pytest.mark.parametrize(("channel", "name"), [(0, "red"), (1, "green"), (2, "blue")])
def test_a_lost_channel(pixels, channel, name):
    planted = pixels.copy()
    planted[..., channel] = 0
    only(planted, f"{name} channel is 0 everywhere")


@pytest.mark.parametrize("mean", [0.0, 1.9])
def test_normalization_plainly_off(pixels, mean):
    std = 0.05 if mean == 0.0 else 0.25
    spec = InputSpec(32, 32, mean=(mean,) * 3, std=(std,) * 3)
    real = (pixels / 255.0 - mean) / std
    only(pixels, "near 0 and 1", f"check mean {mean:g},", spec=spec)
    said = re.search(r"mean (\S+) and standard deviation (\S+);", warnings(pixels, spec)[0])
    # Two digits are shown; the deviation is the channels' own, on average.
    assert [float(number) for number in said.groups()] == pytest.approx([real.mean(), real.std()], rel=0.06)


@pytest.mark.parametrize(
    ("normalization", "words"),
    [
        ({"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}, "mean must be .*got 123.7,116.3,103.5"),
        ({"mean": (127.5,) * 3, "std": (0.5,) * 3}, "--mean 0.5,0.5,0.5"),
        ({"mean": (0.5,) * 3, "std": (127.5,) * 3}, "std must be .*got 127.5"),
    ],
)
def test_a_mean_or_std_for_pixels_up_to_255_is_refused(normalization, words):
    with pytest.raises(InputError) as caught:
        check_normalization(InputSpec(32, 32, **normalization))
    assert re.search(words, f"{caught.value.message} {caught.value.remedy}")


@pytest.mark.parametrize("normalization", [{}, IMAGENET, {"mean": (0.0,) * 3, "std": (1 / 255,) * 3}])
def test_usual_normalizations_pass(normalization):
    check_normalization(InputSpec(32, 32, **normalization))
