"""What `edgekit train --dry-run` says of images, and images that are in both sets."""

import shutil
import time

import cv2
import numpy as np
import pytest
from support.photos import CLASSES, write_folder

from edgekit.cli import run
from edgekit.errors import InputError
from edgekit.images import ArraySet, labelled_folder
from edgekit.train import dry_run
from edgekit.train.augment import Augmentation
from edgekit.train.data import for_training, open_folder
from edgekit.train.dry_run import images_per_second
from edgekit.train.loop import train
from edgekit.train.options import Options
from edgekit.train.survey import digests, first_copies, leaked, refuse_leaked, survey
from edgekit.train.world import World

SMALL = ["--size", "32", "--stem-stride", "1", "--width", "0.25", "--weights", "none", "--batch", "16"]


@pytest.fixture
def folder(tmp_path):
    """train/ and val/ of different pictures."""
    write_folder(tmp_path / "data" / "train", per_class=10, seed=1)
    write_folder(tmp_path / "data" / "val", per_class=4, seed=2)
    return tmp_path / "data"


def plant_leak(folder):
    """Two training images in validation, one of them in another class."""
    shutil.copy(folder / "train" / "blobs" / "000.png", folder / "val" / "blobs" / "new.png")
    shutil.copy(folder / "train" / "stripes" / "003.png", folder / "val" / "gradients" / "other.png")


def test_a_survey_counts_what_was_planted(folder):
    train_folder = folder / "train"
    (train_folder / "blobs" / "000.png").write_bytes(b"no image")
    shutil.copy(train_folder / "stripes" / "001.png", train_folder / "stripes" / "copy.png")
    cv2.imwrite(str(train_folder / "stripes" / "large.png"), np.zeros((3000, 2100, 3), np.uint8))
    cv2.imwrite(str(train_folder / "stripes" / "flat.png"), np.zeros((20, 900, 3), np.uint8))
    found = survey(labelled_folder(train_folder), "Reading")
    assert found.counts == {"blobs": 9, "gradients": 10, "stripes": 13}
    assert len(found.unreadable) == 1 and "000.png" in found.unreadable[0]
    assert found.copies == 1
    assert sum(found.sizes.values()) == 32
    assert found.sizes[0] == 1 and found.sizes[32] == 1


def test_images_in_both_sets_are_found_by_content(folder):
    train_set, val_set = open_folder(folder, 0.2)
    assert leaked(train_set, val_set) == []
    refuse_leaked(leaked(train_set, val_set))
    plant_leak(folder)
    train_set, val_set = open_folder(folder, 0.2)
    pairs = {(train.rpartition("/train/")[2], val.rpartition("/val/")[2]) for train, val in leaked(train_set, val_set)}
    assert pairs == {("blobs/000.png", "blobs/new.png"), ("stripes/003.png", "gradients/other.png")}
    with pytest.raises(InputError, match="got 2 that are in both"):
        refuse_leaked(leaked(train_set, val_set))


def test_leakage_is_refused_unless_allowed(folder, tmp_path, capsys):
    plant_leak(folder)
    out = tmp_path / "model.pt"
    words = ["train", str(folder), "--out", str(out), *SMALL, "--epochs", "1"]
    assert run(words) == 2
    assert "in both" in capsys.readouterr().err
    assert not out.exists()
    assert run([*words, "--allow-leakage"]) == 0
    assert out.exists()


def test_a_split_of_ours_keeps_copies_on_one_side(tmp_path):
    folder = write_folder(tmp_path / "photos", per_class=20, seed=3)
    for number in range(20):
        shutil.copy(folder / "blobs" / f"{number:03}.png", folder / "blobs" / f"copy{number}.png")
    train_set, val_set = open_folder(folder, 0.2)
    assert leaked(train_set, val_set) == []
    assert len(train_set.paths) + len(val_set.paths) == 80
    assert sorted((*train_set.paths, *val_set.paths)) == sorted(labelled_folder(folder).paths)
    for images in (train_set, val_set):
        assert [path.parent.name for path in images.paths] == [images.labels[target] for target in images.targets]
    assert for_training(train_set, Options(size=32).spec, Augmentation()).labels == CLASSES


def test_a_class_of_copies_alone_is_refused(tmp_path):
    folder = write_folder(tmp_path / "photos", per_class=6, seed=3)
    for path in (folder / "blobs").iterdir():
        shutil.copy(folder / "stripes" / "000.png", path)
    with pytest.raises(InputError, match=r"Class blobs must have .* images of its own to be split, got 1"):
        open_folder(folder, 0.3)


@pytest.mark.parametrize("seed", range(4))
def test_a_class_with_every_picture_twice_is_split_by_its_share(tmp_path, seed):
    folder = write_folder(tmp_path / "photos", per_class=20, seed=seed)
    for path in sorted((folder / "blobs").iterdir()):
        shutil.copy(path, path.with_name(f"copy_{path.name}"))
    train_set, val_set = open_folder(folder, 0.2)
    assert leaked(train_set, val_set) == []
    assert np.bincount(val_set.targets).tolist() == [8, 4, 4]
    assert np.bincount(train_set.targets).tolist() == [32, 16, 16]


def test_files_that_are_no_images_by_their_suffix_are_counted(folder, capsys):
    for name in ("a.HEIC", "b.heic", "c.txt", ".hidden.heic"):
        (folder / "train" / "blobs" / name).write_bytes(b"x")
    assert run(["train", str(folder), *SMALL, "--dry-run"]) == 0
    assert "not looked at: 2 .heic, 1 .txt\n" in capsys.readouterr().err


def test_the_same_picture_in_two_classes_is_named(folder, capsys):
    shutil.copy(folder / "train" / "blobs" / "003.png", folder / "train" / "stripes" / "odd.png")
    images = labelled_folder(folder / "train")
    first = first_copies(digests(images, "Reading"))
    assert (first != np.arange(len(first))).sum() == 1
    ((here, there),) = survey(images, "Reading").conflicts
    assert here.endswith("blobs/003.png") and there.endswith("stripes/odd.png")
    assert run(["train", str(folder), *SMALL, "--dry-run"]) == 0
    assert "In two classes: " in capsys.readouterr().err


def test_a_dry_run_says_what_there_is_and_writes_nothing(folder, tmp_path, capsys):
    (folder / "val" / "blobs" / "000.png").write_bytes(b"")
    for path in sorted((folder / "train" / "gradients").iterdir())[1:]:
        path.unlink()
    words = ["train", str(folder), *SMALL, "--dry-run"]
    assert run(words) == 0
    said = capsys.readouterr().err
    assert "gradients" in said and "Uneven: gradients" in said and "Few images: gradients (1)" in said
    assert "Unreadable:" in said and "got 0 bytes" in said
    assert "images/s on this machine" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
    plant_leak(folder)
    assert run(words) == 2
    assert "In both:" in capsys.readouterr().err
    assert run([*words, "--allow-leakage"]) == 0
    # It is asked for the output's sake only where there is one.
    assert run([*words, "--out", str(tmp_path / "model.tflite")]) == 2
    assert run(["train", str(folder), *SMALL]) == 2
    assert "Missing option '--out'" in capsys.readouterr().err


def test_a_split_is_not_compared_again(photos, tmp_path, capsys):
    assert run(["train", str(photos), "--out", str(tmp_path / "model.pt"), *SMALL, "--epochs", "1"]) == 0
    said = capsys.readouterr().err
    assert "Looking for copies" in said and "Comparing" not in said


def test_the_estimate_is_that_of_a_run(photos, monkeypatch):
    # Of this process alone: a shared machine's other work does not count.
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    options = Options(size=32, stem_stride=1, width=0.25, batch=16, epochs=3)
    result = train(options, labelled_folder(photos))
    # Steps of the first epoch make kernels, and the estimate has no validation or saving: within a factor of four.
    rates = images_per_second(options, CLASSES, World())
    assert len(rates) == 3
    assert 0.25 < rates[0] / result.images_per_second < 4.0


def test_the_estimate_knows_that_epochs_differ(monkeypatch):
    """Seven blocks, then four, then none frozen; the last epoch rounds."""
    given = iter([1.0, 2.0, 4.0, 8.0])
    monkeypatch.setattr(dry_run, "_seconds_per_step", lambda *_: next(given))
    options = Options(size=32, stem_stride=1, width=0.25, batch=16, epochs=6, freeze=7, unfreeze=2, qat_epochs=1)
    assert images_per_second(options, CLASSES, World()) == [16.0, 8.0, 4.0, 4.0, 4.0, 2.0]


def test_names_are_made_a_fixed_number_of_times_however_many_copies_there_are():
    """A set makes a list of all its names whenever it is asked: once per image would be a square."""
    asked = []

    class Counting(ArraySet):
        @property
        def names(self):
            asked.append(1)
            return super().names

    pixels = np.arange(200, dtype=np.uint8).reshape(200, 1, 1, 1).repeat(3, 3)
    images = Counting(pixels, np.zeros(200, np.int64), ("a",))
    assert len(leaked(images, images)) == 200
    assert len(asked) < 10


def test_a_dry_run_has_a_teacher_too(folder, tmp_path, capsys):
    teacher = str(tmp_path / "teacher.pt")
    assert run(["train", str(folder), *SMALL, "--epochs", "1", "--out", teacher]) == 0
    assert run(["train", str(folder), *SMALL, "--teacher", teacher, "--dry-run"]) == 0
    assert "images/s on this machine" in capsys.readouterr().err


def test_a_dry_run_of_damaged_files_alone_says_so(folder, capsys):
    for path in (folder / "train").rglob("*.png"):
        path.write_bytes(b"no image")
    assert run(["train", str(folder), "--dry-run", *SMALL]) == 2
    said = capsys.readouterr().err
    assert "At least one image to train on must be readable, got none. See the lines above." in said
    assert said.count("Unreadable: ") == dry_run.LISTED
