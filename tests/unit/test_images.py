"""Folders of images: what is a class, and what is said when there is none."""

import pytest
from support.photos import write_folder

from edgekit.card import InputSpec
from edgekit.errors import InputError
from edgekit.images import Prepared, labelled_folder, unlabelled_folder


def test_a_split_under_another_name_is_no_set_of_classes(tmp_path):
    write_folder(tmp_path / "train", per_class=2, seed=0)
    write_folder(tmp_path / "vall", per_class=2, seed=1)
    with pytest.raises(
        InputError, match=r"train must hold images directly, got only folders: blobs, gradients"
    ) as caught:
        labelled_folder(tmp_path)
    assert caught.value.remedy == "For a split, name the folders train/ and val/."


def test_a_class_may_have_folders_beside_its_images(tmp_path):
    folder = write_folder(tmp_path / "photos", per_class=2, seed=0)
    (folder / "blobs" / "more").mkdir()
    (folder / "blobs" / "001.png").rename(folder / "blobs" / "more" / "001.png")
    assert len(labelled_folder(folder).paths) == 6


def test_nothing_readable_names_the_first_reason(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"")
    prepared = Prepared(unlabelled_folder(tmp_path), InputSpec(8, 8))
    with pytest.raises(InputError, match=r"got none of 2 \(the first: .*a\.png must be an image, got 0 bytes .*\)\.$"):
        list(prepared)
