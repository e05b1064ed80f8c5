"""Prepared images on disk: the same pixels, made once, shared, and no burden on memory."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from support.photos import write_folder

from edgekit.card import InputSpec
from edgekit.errors import InputError
from edgekit.images import Prepared, labelled_folder
from edgekit.preprocess import crop_and_resize
from edgekit.train import pixel_cache

SPEC = InputSpec(32, 32)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pixels"


@pytest.fixture
def images(tmp_path):
    return labelled_folder(write_folder(tmp_path / "photos", per_class=30, seed=4))


def failing_at(bad):
    """As a disk that fails for once."""

    def prepared(image, spec):
        if np.array_equal(image, bad):
            raise InputError("000.png must be readable, got: Input/output error.")
        return crop_and_resize(image, spec)

    return prepared


def test_the_pixels_are_those_of_the_plain_preparation(images):
    found = pixel_cache.prepare(images, SPEC, False)
    assert np.array_equal(found.pixels, np.stack([image for _, image in Prepared(images, SPEC)]))
    assert found.kept.tolist() == list(range(90))


def test_files_are_decoded_once_for_each_size(images, monkeypatch):
    first = pixel_cache.prepare(images, SPEC, False)
    monkeypatch.setattr(pixel_cache, "crop_and_resize", lambda *words: pytest.fail("decoded again"))
    assert np.array_equal(pixel_cache.prepare(images, SPEC, False).pixels, first.pixels)
    with pytest.raises(BaseException, match="decoded again"):
        pixel_cache.prepare(images, replace(SPEC, height=64, width=64), False)


def test_a_file_that_changed_is_decoded_again(images):
    before = pixel_cache.prepare(images, SPEC, False)
    cv2.imwrite(str(images.paths[5]), np.full((40, 40, 3), 200, np.uint8))
    after = pixel_cache.prepare(images, SPEC, False)
    assert not np.array_equal(before.pixels[5], after.pixels[5])
    assert (after.pixels[5] == 200).all()
    assert np.array_equal(before.pixels[6:], after.pixels[6:])


def test_unreadable_files_are_left_out_and_named_the_second_time_too(images):
    images.paths[3].write_bytes(b"")
    for _ in range(2):
        found = pixel_cache.prepare(images, SPEC, False)
        assert found.kept.tolist() == [*range(3), *range(4, 90)]
        assert len(found.skipped) == 1 and "got 0 bytes" in found.skipped[0]


def test_what_can_be_read_by_now_is(images, monkeypatch):
    """Permissions, OpenCV's limit or a disk that failed are not in a file's size and time."""
    with monkeypatch.context() as patch:
        patch.setattr(pixel_cache, "crop_and_resize", failing_at(images.image(3)))
        assert len(pixel_cache.prepare(images, SPEC, False).skipped) == 1
    found = pixel_cache.prepare(images, SPEC, False)
    assert found.kept.tolist() == list(range(90)) and not found.skipped


@pytest.mark.parametrize("left", [None, "", '{"kept": [0, 1'])
def test_what_a_power_cut_has_left_is_made_anew(images, cache, left):
    first = np.array(pixel_cache.prepare(images, SPEC, False).pixels)
    (folder,) = cache.iterdir()
    (folder / "what.json").unlink()
    if left is not None:
        (folder / "what.json").write_text(left)
    assert np.array_equal(pixel_cache.prepare(images, SPEC, False).pixels, first)


def test_two_runs_at_once_make_one_cache(images, cache):
    found = []
    runs = [threading.Thread(target=lambda: found.append(pixel_cache.prepare(images, SPEC, False))) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert np.array_equal(found[0].pixels, found[1].pixels)
    assert len(list(cache.iterdir())) == 1


def test_the_oldest_is_forgotten(images, cache, monkeypatch):
    sizes = [replace(SPEC, height=size, width=size) for size in (32, 64, 96)]
    known = set()
    for number, spec in enumerate(sizes[:2]):
        pixel_cache.prepare(images, spec, False)
        (new,) = set(cache.iterdir()) - known
        os.utime(new, (number, number))
        known.add(new)
    # Room for the second and the third, not for the first as well.
    monkeypatch.setattr(pixel_cache, "MOST_BYTES", 90 * 3 * (64**2 + 96**2) + 5000)
    pixel_cache.prepare(images, sizes[2], False)
    kept = {np.load(folder / "pixels.npy", mmap_mode="r").shape[1] for folder in cache.iterdir()}
    assert kept == {64, 96}


def test_sets_of_one_run_do_not_push_each_other_out(images, cache, monkeypatch):
    monkeypatch.setattr(pixel_cache, "MOST_BYTES", 1)
    for size in (32, 64):
        pixel_cache.prepare(images, replace(SPEC, height=size, width=size), False)
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize(
    # Total, used, free: some of a disk is left to others, at most a gibibyte.
    "usage",
    [(10**6, 0, 1000), (10**8, 0, 10**6), (10**12, 0, 2**30)],
)
def test_a_disk_without_room_is_told_before_anything_is_read(images, monkeypatch, usage):
    monkeypatch.setattr(pixel_cache.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(InputError, match="EDGEKIT_CACHE"):
        pixel_cache.prepare(images, SPEC, False)


def test_more_pixels_than_memory_can_be_mapped(images):
    """Linux grants no writable mapping of more than there is; a sparse file of that size takes no disk."""
    found = pixel_cache.prepare(images, SPEC, False)
    kept = Path(found.pixels.filename)
    rows = 2 * (psutil.virtual_memory().total + psutil.swap_memory().total) // found.pixels[0].nbytes
    np.lib.format.open_memmap(kept, mode="w+", dtype=np.uint8, shape=(rows, *found.pixels.shape[1:]))
    again = pixel_cache.prepare(images, SPEC, False)
    assert len(again.pixels) == 90
    # And nothing can spoil what later runs will read.
    with pytest.raises(ValueError, match="read-only"):
        again.pixels[0] = 1


MEASURE = """
import json, sys
from pathlib import Path
from edgekit.card import InputSpec
from edgekit.images import labelled_folder
from edgekit.train.augment import Augmentation
from edgekit.train.data import for_training

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

images = labelled_folder(sys.argv[1])
before = anonymous()
pixels = for_training(images, InputSpec(160, 160), Augmentation(), progress=False)
fingerprint = pixels.fingerprint()
print(json.dumps([len(pixels), anonymous() - before, pixels.pixels.numel() / 2**20]))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
def test_memory_does_not_grow_with_the_images(tmp_path):
    folder = tmp_path / "many"
    picture = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8))[1].tobytes()
    for kind in ("a", "b"):
        (folder / kind).mkdir(parents=True)
        for number in range(1000):
            (folder / kind / f"{number}.jpg").write_bytes(picture)
    done = subprocess.run([sys.executable, "-c", MEASURE, str(folder)], capture_output=True, text=True, timeout=120)
    count, grown, megabytes = json.loads(done.stdout)
    assert count == 2000 and megabytes > 200
    # What threads and decoders hold, whatever the number of images.
    assert grown < 60


def test_the_room_is_taken_at_once(images, cache, monkeypatch):
    """A mapped file whose blocks are not there yet is a bus error when another program fills the disk."""
    calls, reserve = [], os.posix_fallocate

    def full(number, start, length):
        calls.append(length)
        if len(calls) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        reserve(number, start, length)

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(
        InputError, match=r"must fit into .*pixels, got: No space left on device\. Use a smaller --size"
    ):
        pixel_cache.prepare(images, SPEC, False)
    assert list(cache.iterdir()) == []
    assert len(pixel_cache.prepare(images, SPEC, False).pixels) == 90
    assert calls[1] >= 90 * 32 * 32 * 3


def test_what_a_killed_run_has_left_is_forgotten(images, cache):
    old, new = cache / ".part-old", cache / ".part-new"
    for path in (old, new):
        (path / "whole").mkdir(parents=True)
    os.utime(old, (time.time() - 2 * 24 * 3600,) * 2)
    pixel_cache.prepare(images, SPEC, False)
    assert not old.exists() and new.exists()
