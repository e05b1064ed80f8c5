"""WebDataset's tar shards: each sample once, to one process; what is not right is named."""

import io
import os
import tarfile
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import psutil
import pytest
import torch
import webdataset
from support.photos import tinted
from support.shards import write_shard

from edgekit.card import InputSpec
from edgekit.cli import run
from edgekit.errors import InputError
from edgekit.train import loop
from edgekit.train.augment import Augmentation
from edgekit.train.feed import seed_of
from edgekit.train.loop import train
from edgekit.train.options import Options
from edgekit.train.shards import SHUFFLED, has_shards, living_workers, open_shards
from edgekit.train.world import World

SPEC, ZOOM = InputSpec(32, 32), Augmentation()


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """Seven shards of different sizes; every image is one colour, which is its number."""
    folder, number = tmp_path_factory.mktemp("shards"), 0
    (folder / "labels.txt").write_text("a\nb\nc\n")
    for shard, count in enumerate((9, 4, 7, 5, 8, 3, 6)):
        numbers = np.arange(number, number + count)
        images = [np.full((40, 40, 3), 5 * value, np.uint8) for value in numbers]
        write_shard(folder / "train" / f"{shard:03}.tar", images, numbers % 3, number)
        number += count
    write_shard(
        folder / "val" / "0.tar", [np.full((40, 40, 3), 5 * value, np.uint8) for value in range(4)], [0, 1, 2, 0]
    )
    return folder


def seen(shards, world, batch=6, seed=1, done=0):
    parts = list(shards.epoch(seed, batch, done, world))
    return [pixels[:, 0, 0, 0].tolist() for pixels, _ in parts], [targets.tolist() for _, targets in parts]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_each_sample_once_and_each_process_as_many(numbered, size):
    shards, _ = open_shards(numbered, SPEC, ZOOM)
    assert len(shards) == 42
    steps = shards.steps(6, World(0, size))
    everything = []
    for rank in range(size):
        pixels, targets = seen(shards, World(rank, size))
        assert [len(part) for part in pixels] == [6 // size] * steps
        flat = [value // 5 for part in pixels for value in part]
        assert [value % 3 for value in flat] == [value for part in targets for value in part]
        everything += flat
    assert len(set(everything)) == len(everything) == 6 * steps
    assert size > 1 or len(everything) == 42


def test_epochs_differ_and_repeat_and_go_on_in_the_middle(numbered):
    shards, _ = open_shards(numbered, SPEC, ZOOM)
    first = seen(shards, World(), seed=seed_of(0, 0))
    assert first == seen(shards, World(), seed=seed_of(0, 0))
    assert first != seen(shards, World(), seed=seed_of(0, 1))
    rest = seen(shards, World(), seed=seed_of(0, 0), done=3)
    assert (rest[0], rest[1]) == (first[0][3:], first[1][3:])


def test_a_network_learns_from_shards_and_is_judged_by_shards(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue")
    for split, shards in (("train", 4), ("val", 1)):
        for shard in range(shards):
            targets = rng.integers(0, 3, 30)
            images = [tinted(rng.integers(0, 256, (40, 40, 3)), target) for target in targets]
            write_shard(tmp_path / split / f"{shard}.tar", images, targets)
    assert has_shards(tmp_path)
    options = Options(width=0.25, size=32, stem_stride=1, epochs=10, batch=10, lr=5e-3, head_lr=5e-3)
    train_set, val_set = open_shards(tmp_path, options.spec, options.augmentation)
    result = train(options, train_set, val_set, out=tmp_path / "m.pt")
    assert result.epochs[-1].loss < result.epochs[0].loss
    assert result.epochs[-1].validation > 0.9
    again = train(options, train_set, val_set).checkpoint.state
    assert all(torch.equal(again[name], value) for name, value in result.checkpoint.state.items())


def test_what_unequal_shares_leave_out_is_told(tmp_path, capsys):
    (tmp_path / "labels.txt").write_text("a\nb\n")
    for split, count in (("train", 3), ("val", 1)):
        for shard in range(count):
            write_shard(tmp_path / split / f"{shard}.tar", [np.zeros((32, 32, 3), np.uint8)] * 20, [0, 1] * 10)
    shards, _ = open_shards(tmp_path, SPEC, ZOOM)
    for world, batch in ((World(), 10), (World(0, 2), 10)):
        loop._tell_left_out(
            SimpleNamespace(train_set=shards, batch=batch, steps=shards.steps(batch, world), world=world)
        )
    # One process takes all; of two, one has two shards and the other one.
    assert "leaves out 20 of 60 images: 2 processes have" in capsys.readouterr().err.replace("\n", " ")


def test_a_class_that_is_corrected_makes_other_data(tmp_path):
    """Names and sizes of the files stay what they were."""
    (tmp_path / "labels.txt").write_text("a\nb\n")
    found = []
    for target in (0, 1, 0):
        for split in ("train", "val"):
            write_shard(tmp_path / split / "0.tar", [np.zeros((32, 32, 3), np.uint8)] * 3, [0, 1, target])
        found.append(open_shards(tmp_path, SPEC, ZOOM)[0].fingerprint())
    assert found[0] == found[2] != found[1]


def test_the_room_for_shuffling_is_shared_by_the_workers_and_holds_small_images(numbered, monkeypatch):
    shards, _ = open_shards(numbered, SPEC, ZOOM)
    given, shuffle = [], webdataset.shuffle

    def shuffled(most, **more):
        given.append(most)
        inner = shuffle(most, **more)

        def checked(samples):
            for pixels, target in inner(samples):
                assert pixels.shape == (43, 43, 3) and pixels.dtype == np.uint8
                yield pixels, target

        return checked

    monkeypatch.setattr(webdataset, "shuffle", shuffled)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert len(list(shards.epoch(1, 6, 0, World()))) == 7
    assert (given, shards.workers(World()), shards.workers(World(0, 2, 0, 2))) == ([SHUFFLED // 2], 2, 1)


def test_too_few_shards_for_the_processes(numbered):
    shards, _ = open_shards(numbered, SPEC, ZOOM)
    with pytest.raises(InputError, match=r"a shard for each of 8 processes, got 7\. Cut the set into more shards"):
        shards.steps(8, World(0, 8))
    with pytest.raises(InputError, match=r"samples for a batch, got 42\. Use a smaller --batch"):
        shards.steps(64, World())
    with pytest.raises(InputError, match="samples for a batch, got 42"):
        list(replace(shards).epoch(0, 64, 0, World()))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_validation_is_shared_out(numbered, size):
    shards, val_set = open_shards(numbered, SPEC, ZOOM)
    for whole in (replace(shards, spec=SPEC), val_set):
        parts = [whole.share(World(rank, size)) for rank in range(size)]
        colours = sorted(colour for part in parts for colour in part.pixels[:, 0, 0, 0].tolist())
        assert colours == [5 * number for number in range(len(whole))]
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        assert all((part.pixels[:, 0, 0, 0] // 5 % 3 == part.targets).all() for part in parts)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"9", "must be an image of one of 3 classes, got class 9"),
        (b"cat", r"must have a class number \(.cls\), got b'cat'"),
    ],
)
def test_a_sample_that_is_not_right_is_named(numbered, tmp_path, target, expected):
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    for split in ("train", "val"):
        write_shard(tmp_path / split / "0.tar", [np.zeros((4, 4, 3), np.uint8)], [0])
    encoded = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()
    with tarfile.open(tmp_path / "val" / "0.tar", "w") as tar:
        for name, content in (("x.png", encoded), ("x.cls", target)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with pytest.raises(InputError, match=rf"val/0\.tar: x {expected}"):
        open_shards(tmp_path, SPEC, ZOOM)


def add(path, members):
    with tarfile.open(path, "a") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_images_that_cannot_be_read_are_left_out_and_told_once(tmp_path, capsys):
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    for split in ("train", "val"):
        write_shard(tmp_path / split / "0.tar", [np.full((32, 32, 3), 9 * n, np.uint8) for n in range(10)], [0, 1] * 5)
        add(tmp_path / split / "0.tar", {"x.png": b"rubbish", "x.cls": b"0", "y.png": b"", "y.cls": b"1"})
    train_set, val_set = open_shards(tmp_path, SPEC, ZOOM)
    share = val_set.share(World())
    assert share.skipped == val_set.skipped
    assert len(share) == 10 and share.pixels[:, 0, 0, 0].tolist() == [9 * n for n in range(10)]
    assert [line.partition(" must")[0] for line in val_set.skipped] == ["val/0.tar: x", "val/0.tar: y"]
    pixels, _ = seen(train_set, World(), batch=4)
    # Three steps of four, as counted: two images come a second time.
    assert [len(part) for part in pixels] == [4, 4, 4]
    assert {value for part in pixels for value in part} == {9 * n for n in range(10)}
    seen(train_set, World(), batch=4, seed=2)
    assert len(train_set.skipped) == 2
    told = capsys.readouterr().err
    for split in ("train", "val"):
        assert told.count(f"Left out: {split}/0.tar: x must be an image, got 7 bytes") == 1


def test_shards_without_an_image_end_the_run(tmp_path):
    (tmp_path / "labels.txt").write_text("a\nb\n")
    for split in ("train", "val"):
        write_shard(tmp_path / split / "0.tar", [], [])
        add(tmp_path / split / "0.tar", {f"{n}.{end}": b"1" for n in range(8) for end in ("png", "cls")})
    train_set, val_set = open_shards(tmp_path, SPEC, ZOOM)
    with pytest.raises(InputError, match="Shards must hold readable images, got none"):
        seen(train_set, World(), batch=4)
    options = Options(width=0.25, size=32, stem_stride=1, epochs=1, batch=4)
    with pytest.raises(InputError, match="Validation must have images that can be read, got none"):
        train(options, train_set, val_set)


def test_shards_without_samples_are_refused(tmp_path):
    (tmp_path / "labels.txt").write_text("a\nb\n")
    write_shard(tmp_path / "train" / "0.tar", [], [])
    add(tmp_path / "train" / "0.tar", {"000.v1.png": b"1", "000.v1.cls": b"1"})
    with pytest.raises(InputError, match=r"must hold samples such as .*, got none in 1 tar files"):
        open_shards(tmp_path, SPEC, ZOOM)


@pytest.mark.parametrize(
    ("member", "expected"), [("x.cls", "an image, got none"), ("x.png", r"a class number \(\.cls\), got None")]
)
def test_half_a_sample_is_one_line_from_a_worker(tmp_path, member, expected):
    (tmp_path / "labels.txt").write_text("a\nb\n")
    for split in ("train", "val"):
        write_shard(tmp_path / split / "0.tar", [np.zeros((32, 32, 3), np.uint8)] * 4, [0, 1, 1, 0])
        add(tmp_path / split / "0.tar", {member: b"1"})
    train_set, _ = open_shards(tmp_path, SPEC, ZOOM)
    with pytest.raises(InputError, match=rf"^train/0\.tar: x must have {expected}\.$"):
        seen(train_set, World(), batch=4)


def test_a_worker_that_is_killed_is_told_with_what_it_needs(numbered):
    """As Linux does where memory is short, and where /dev/shm is full."""
    shards, _ = open_shards(numbered, SPEC, ZOOM)
    before = set(psutil.Process().children())
    epoch = shards.epoch(1, 2, 0, World())
    next(epoch)
    # Wherever this thread is when the signal comes: here, or in the epoch.
    with pytest.raises(InputError, match=r"must stay alive, got: DataLoader worker .*--shm-size"), living_workers():
        for worker in set(psutil.Process().children()) - before:
            worker.kill()
        list(epoch)


def test_hidden_files_are_not_counted(tmp_path):
    """As macOS's tar leaves them beside each file."""
    (tmp_path / "labels.txt").write_text("a\nb\n")
    for split in ("train", "val"):
        write_shard(tmp_path / split / "0.tar", [np.zeros((32, 32, 3), np.uint8)] * 4, [0, 1, 1, 0])
        add(tmp_path / split / "0.tar", {"._000000.cls": b"x", "._000000.png": b"x", "./000007.CLS": b"1"})
    _, val_set = open_shards(tmp_path, SPEC, ZOOM)
    assert len(val_set) == 5


def test_what_is_missing_is_named(numbered, tmp_path, capsys):
    with pytest.raises(InputError, match=r"a class name per line in labels\.txt, got none"):
        open_shards(tmp_path, SPEC, ZOOM)
    (tmp_path / "labels.txt").write_text("a\na\n")
    with pytest.raises(InputError, match="at least two different names, got a, a"):
        open_shards(tmp_path, SPEC, ZOOM)
    (tmp_path / "labels.txt").write_text("a\nb\n")
    with pytest.raises(InputError, match="train must hold tar files, got none"):
        open_shards(tmp_path, SPEC, ZOOM)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "0.tar").write_bytes(b"no tar")
    with pytest.raises(InputError, match=r"0\.tar must be a tar file"):
        open_shards(tmp_path, SPEC, ZOOM)
    for word in ("--dry-run", "--balanced"):
        assert run(["train", str(numbered), "--out", str(tmp_path / "m.pt"), "--weights", "none", word]) == 2
        assert f"{word} must have folders of images, got shards" in capsys.readouterr().err
