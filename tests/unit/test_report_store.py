"""Answers kept on disk: used where they are whole, computed again where not."""

import os
from dataclasses import replace

import numpy as np
import pytest
import report_samples as samples
from support.report_work import make_task, make_worker

from edgekit.images import labelled_folder
from edgekit_quantize.report.store import Store


def _same(one, other) -> bool:
    pairs = zip(one.answers, other.answers, strict=True)
    return one.pixels.tobytes() == other.pixels.tobytes() and all(
        values.tobytes() == getattr(b, name).tobytes() for a, b in pairs for name, values in vars(a).items()
    )


@pytest.fixture
def folder(tmp_path):
    folder = samples.write_folder(tmp_path / "data", samples.colour_images(20, seed=1))
    (folder / "red" / "broken.png").write_bytes(b"broken")
    return folder


def test_arrays_come_back_as_they_were(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.int32).reshape(2, 3), "b": np.asarray([np.pi])}
    store = Store(tmp_path)
    assert store.read("kind", "abcdef") is None
    store.write("kind", "abcdef", arrays)
    found = store.read("kind", "abcdef")
    assert found is not None
    assert all(found[name].tobytes() == values.tobytes() for name, values in arrays.items())


def test_objects_are_never_unpickled(tmp_path):
    target = tmp_path / "kind" / "ab" / "cdef.npz"
    target.parent.mkdir(parents=True)
    np.savez(target, a=np.asarray([{"code": 1}], object))
    assert Store(tmp_path).read("kind", "abcdef") is None


def test_what_is_known_is_not_decoded_again(folder, tmp_path, monkeypatch):
    cache, task = tmp_path / "cache", make_task(labelled_folder(folder))
    first = make_worker(tmp_path, cache)(task)
    assert len(first.skipped) == 1
    tried = []

    def refuse(path):
        tried.append(path.name)
        return read(path)

    from edgekit import images

    read = images.read_image
    monkeypatch.setattr(images, "read_image", refuse)
    second = make_worker(tmp_path, cache)(task)
    # Why an image could not be read is looked up anew.
    assert tried == ["broken.png"]
    assert _same(first, second)
    assert second.skipped == first.skipped


@pytest.mark.parametrize("damage", ["empty", "truncated", "altered", "other arrays", "other shapes"])
def test_damaged_entries_are_computed_again(folder, tmp_path, damage):
    cache, task = tmp_path / "cache", make_task(labelled_folder(folder))
    first = make_worker(tmp_path, cache)(task)
    paths = sorted(cache.rglob("*.npz"))
    assert len(paths) == 3
    for path in paths:
        data = bytearray(path.read_bytes())
        if damage == "empty":
            data = bytearray()
        elif damage == "truncated":
            data = data[: len(data) // 2]
        elif damage == "altered":
            data[len(data) // 3] ^= 0xFF
        else:
            np.savez(path, **({"x": np.zeros(3)} if damage == "other arrays" else _shortened(path)))
            continue
        path.write_bytes(data)
    damaged = {path: path.read_bytes() for path in paths}
    assert _same(make_worker(tmp_path, cache)(task), first)
    assert all(path.read_bytes() != damaged[path] for path in paths), "it must be written anew"
    assert _same(make_worker(tmp_path, cache)(task), first)


def _shortened(path) -> dict:
    with np.load(path) as archive:
        return {name: archive[name][1:] for name in archive.files}


def test_another_picture_under_the_same_name_is_another_picture(folder, tmp_path):
    cache, images = tmp_path / "cache", labelled_folder(folder)
    first = make_worker(tmp_path, cache)(make_task(images))
    one, other = sorted((folder / "green").iterdir())[0], sorted((folder / "blue").iterdir())[0]
    times = one.stat()
    one.write_bytes(other.read_bytes())
    os.utime(one, ns=(times.st_atime_ns, times.st_mtime_ns))
    second = make_worker(tmp_path, cache)(make_task(images))
    assert not _same(first, second)
    assert _same(second, make_worker(tmp_path)(make_task(images)))


def test_another_class_is_another_answer(folder, tmp_path):
    cache, images = tmp_path / "cache", labelled_folder(folder)
    make_worker(tmp_path, cache)(make_task(images))
    moved = make_task(replace(images, targets=(images.targets + 1) % 3))
    assert _same(make_worker(tmp_path, cache)(moved), make_worker(tmp_path)(moved))


def test_another_crop_has_other_pixels(folder, tmp_path):
    cache, task = tmp_path / "cache", make_task(labelled_folder(folder))
    whole = make_worker(tmp_path, cache)
    half = replace(whole, crop=replace(whole.crop, crop_fraction=0.5))
    first, second = whole(task), half(task)
    assert (first.pixels != second.pixels).any(axis=1).all()
    assert _same(second, replace(half, store=Store(None))(task))
