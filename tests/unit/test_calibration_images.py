"""The choice of calibration images follows from what they show, not from names, places or how often they are there."""

import cv2
import numpy as np
import pytest

from edgekit.card import InputSpec
from edgekit.errors import InputError
from edgekit.images import ArraySet, FileSet, labelled_folder, unlabelled_folder
from edgekit_quantize import calibration_images
from edgekit_quantize.calibration_images import read_calibration_images

SPEC = InputSpec(16, 16)
LABELS = ("even", "odd")


@pytest.fixture
def pixels():
    return np.random.default_rng(2).integers(0, 256, (90, 20, 24, 3), np.uint8)


def array_set(pixels, order):
    """Every image's class is the parity of its place in `pixels`."""
    return ArraySet(pixels[order], np.asarray(order) % 2, LABELS)


def file_set(folder, pixels, names):
    folder.mkdir()
    for image, name in zip(pixels, names, strict=True):
        cv2.imwrite(str(folder / f"{name}.png"), image[:, :, ::-1])
    return unlabelled_folder(folder)


def same(first, second):
    assert first.sha256 == second.sha256
    for name in ("fitting", "targets", "verification"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert [o.tobytes() for o in first.originals] == [o.tobytes() for o in second.originals]


@pytest.mark.parametrize("most", [20, 50, 200])
def test_order_in_an_array_does_not_matter(pixels, most):
    shuffled = np.random.default_rng(3).permutation(len(pixels))
    first = read_calibration_images(array_set(pixels, np.arange(len(pixels))), SPEC, LABELS, most, 5)
    same(first, read_calibration_images(array_set(pixels, shuffled), SPEC, LABELS, most, 5))
    assert first.count == min(most, len(pixels))


@pytest.mark.parametrize("most", [40, 200])
def test_file_names_do_not_matter(pixels, most, tmp_path):
    plain = file_set(tmp_path / "plain", pixels, [f"{i:03}" for i in range(len(pixels))])
    shuffled = np.random.default_rng(4).permutation(len(pixels))
    renamed = file_set(tmp_path / "renamed", pixels, [f"x{i}" for i in shuffled])
    sets = [read_calibration_images(images, SPEC, (), most, 0) for images in (plain, renamed)]
    same(*sets)
    assert sets[0].count == min(most, len(pixels))


def test_files_with_the_same_end_are_told_apart_by_what_they_show(pixels, tmp_path):
    """Bitmaps of one size whose last bytes, the top rows, are all black: nothing but the pixels tells them apart."""
    large = np.zeros((60, 80, 80, 3), np.uint8)
    large[:, 30:, :, :] = np.random.default_rng(6).integers(0, 256, (60, 50, 80, 3), np.uint8)
    sets = []
    for name, order in (("plain", np.arange(60)), ("renamed", np.random.default_rng(7).permutation(60))):
        (tmp_path / name).mkdir()
        for image, number in zip(large, order, strict=True):
            cv2.imwrite(str(tmp_path / name / f"{number:02}.bmp"), image)
        sets.append(read_calibration_images(unlabelled_folder(tmp_path / name), SPEC, (), 40, 0))
    same(*sets)
    assert sets[0].count == 40


def test_another_seed_draws_other_images(pixels):
    images = array_set(pixels, np.arange(len(pixels)))
    digests = {read_calibration_images(images, SPEC, LABELS, 40, seed).sha256 for seed in range(3)}
    assert len(digests) == 3


def test_what_is_there_twice_is_used_once(pixels):
    order = np.random.default_rng(8).permutation(np.tile(np.arange(len(pixels)), 3))
    once = read_calibration_images(array_set(pixels, np.arange(len(pixels))), SPEC, LABELS, 500, 0)
    often = read_calibration_images(array_set(pixels, order), SPEC, LABELS, 500, 0)
    same(once, often)
    assert (once.duplicates, often.duplicates) == (0, 2 * len(pixels))
    drawn = [read_calibration_images(array_set(pixels, o), SPEC, LABELS, 40, 0) for o in (np.arange(90), order)]
    same(*drawn)


def test_originals_that_differ_outside_the_crop_only_are_one_image(pixels):
    """Which of the two becomes a golden sample must not depend on their order."""
    wide = []
    for square in pixels[:40, :, :20]:
        wide += [cv2.copyMakeBorder(square, 0, 0, 10, 10, cv2.BORDER_CONSTANT, value=(edge,) * 3) for edge in (0, 9)]
    both = [ArraySet(np.stack(images), np.full(80, -1), ()) for images in (wide, wide[::-1])]
    sets = [read_calibration_images(images, SPEC, (), 100, 0) for images in both]
    same(*sets)
    assert (sets[0].count, sets[0].duplicates) == (40, 40)


def test_nothing_held_back_is_learned_from_and_classes_follow_their_images(pixels):
    images = read_calibration_images(array_set(pixels, np.arange(len(pixels))), SPEC, LABELS, 80, 0)
    fitting, judging = ({image.tobytes() for image in part} for part in (images.fitting, images.verification))
    assert not fitting & judging
    assert (len(fitting), len(judging)) == (64, 16)
    full = InputSpec(20, 24)
    whole = read_calibration_images(array_set(pixels, np.arange(len(pixels))), full, LABELS, 80, 0)
    places = {image.tobytes(): place for place, image in enumerate(pixels)}
    assert [places[image.tobytes()] % 2 for image in whole.fitting] == whole.targets.tolist()


def test_all_classes_are_held_back(photos):
    """Files of one class lie side by side; the order of hashes mixes them."""
    folder = labelled_folder(photos)
    images = read_calibration_images(folder, InputSpec(48, 48), folder.labels, 120, 0)
    held = {image.tobytes() for image in images.verification}
    classes = {int(t) for i, t in enumerate(folder.targets) if folder.image(i).tobytes() in held}
    assert len(held) == 24
    assert classes == {0, 1, 2}


def test_few_images_are_all_judged_by(pixels):
    images = read_calibration_images(array_set(pixels, np.arange(31)), SPEC, LABELS, 500, 0)
    assert images.are_few
    np.testing.assert_array_equal(images.fitting, images.verification)


def test_the_same_image_again_and_again_is_refused(pixels):
    with pytest.raises(InputError, match="must differ, got 50 identical"):
        read_calibration_images(array_set(pixels, [3] * 50), SPEC, LABELS, 500, 0)


def test_uncompressed_pictures_with_the_same_border_are_told_apart(tmp_path):
    """A BMP ends with its first rows."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 64, 64, 3), np.uint8)
    pixels[:, :32] = 255
    paths = [tmp_path / f"{number}.bmp" for number in range(len(pixels))]
    for path, image in zip(paths, pixels, strict=True):
        cv2.imwrite(str(path), image)
    images = FileSet(tuple(paths), np.zeros(len(paths), np.int64), ())
    assert len(calibration_images._draw(images, 20, 0)) == 20


def test_drawing_decodes_what_is_drawn_only(pixels, tmp_path, monkeypatch):
    images = file_set(tmp_path / "all", pixels, range(len(pixels)))
    decoded = []
    original = type(images).image
    monkeypatch.setattr(type(images), "image", lambda self, i: decoded.append(i) or original(self, i))
    read_calibration_images(images, SPEC, (), 20, 0)
    assert len(decoded) == 20 + calibration_images.GOLDEN_IMAGES
