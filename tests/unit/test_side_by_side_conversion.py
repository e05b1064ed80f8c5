"""Routes to int8 beside each other: what everyone is given, what is kept, and how a row is judged."""

import json
import os
import sys
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from support import tiny_model

from benchmarks.side_by_side import conversion, environments, everything, inputs, routes
from benchmarks.side_by_side.routes import OURS, QUICK, Route
from edgekit import bundle
from edgekit.cli import run
from edgekit.errors import InputError
from edgekit.models import create


def test_peers_see_nothing_of_ours(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/ours")
    monkeypatch.setenv("PATH", os.pathsep.join([os.path.dirname(sys.executable), "/usr/bin"]))
    found = routes.peers_environment(["/peer/bin/python", "x.py"])
    assert "PYTHONPATH" not in found
    assert found["PATH"] == "/peer/bin:/usr/bin"


def test_calibration_images_must_not_judge():
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), np.uint8)
    inputs.check_apart(images[:3], images[3:])
    with pytest.raises(InputError, match="got 1 that are in both"):
        inputs.check_apart(images[:4], images[3:])


@pytest.fixture
def photos(tmp_path):
    """Folders of one picture per class, ImageNet's names."""
    for number, name in enumerate(("zebra", "Persian cat")):
        folder = tmp_path / "labelled" / name
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "1.png"), np.full((8, 8, 3), 40 * number, np.uint8))
    return tmp_path


def test_classes_of_folders_are_matched_by_name(photos):
    found = inputs.imagenet_targets(inputs.read_evaluation(photos / "labelled"))
    assert sorted(found.tolist()) == [283, 340]


def test_folders_are_looked_at_before_anything_is_installed(photos, monkeypatch):
    monkeypatch.setattr(everything, "make_all", lambda: pytest.fail("installs"))

    def said(*words):
        with pytest.raises(InputError) as error:
            everything.main.main(words, standalone_mode=False)
        return str(error.value)

    labelled, lost = str(photos / "labelled"), str(photos / "lost")
    assert "lost must be a folder" in said("--calibration", lost, "--evaluation", labelled)
    assert "lost must be a folder" in said("--calibration", labelled, "--evaluation", lost)
    assert "must go together, got one of them" in said("--calibration", labelled)
    (photos / "labelled" / "zebra").rename(photos / "labelled" / "kittens")
    assert "kittens" in said("--calibration", labelled, "--evaluation", labelled)


def test_when_an_installation_fails_the_others_are_not_begun(monkeypatch):
    begun = []

    class Slow:
        def is_made(self):
            return False

        def make(self):
            begun.append(self)
            time.sleep(0.2)
            raise environments.InstallError("no network")

    monkeypatch.setattr(environments, "ENVIRONMENTS", {str(number): Slow() for number in range(20)})
    with pytest.raises(environments.InstallError, match="no network"):
        environments.make_all()
    assert len(begun) < 20


def test_a_foreign_network_is_cropped_for_edgekit_too(tmp_path):
    """What the others are given as cropped pixels, edgekit is given as files."""
    (tmp_path / "input.json").write_text(json.dumps({"mean": [0.5] * 3, "std": [0.25] * 3, "crop": 0.875}))
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(4):
        picture = np.random.default_rng(number).integers(0, 256, (48, 48, 3), np.uint8)
        cv2.imwrite(str(photos / f"{number}.png"), picture)
    torch.manual_seed(0)
    network = create("mobilenet_v2", classes=4, width=0.25)
    # Batch normalization as after training: without, the signal dies away.
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(8, 3, 32, 32) * 4.0 - 2.0)
    network.eval()
    example = (torch.zeros(1, 3, 32, 32),)
    torch.onnx.export(network, example, str(tmp_path / "net.onnx"), dynamo=True, external_data=False, verbose=False)
    words = Route(QUICK, "", "edgekit", "int8-minmax", ".tflite").convert(tmp_path, tmp_path / "out.tflite")
    assert run([str(word) for word in words[3:]]) == 0
    spec = bundle.read(tmp_path / "out.tflite").card.input
    assert (spec.crop_fraction, spec.mean, spec.std) == (0.875, (0.5,) * 3, (0.25,) * 3)
    assert conversion.is_int8(tmp_path / "out.tflite") == "yes"
    assert conversion.carries(tmp_path / "out.tflite") == "yes"


class Copying(Route):
    """A route whose file is a copy of another, and whose answers are given."""

    def convert(self, folder, target):
        return [sys.executable, "-c", f"import shutil; shutil.copyfile({str(folder / 'from')!r}, {str(target)!r})"]

    def answers(self, folder, logits, count):
        code = f"import numpy as np; np.save({str(logits)!r}, np.load({str(folder / 'logits.npy')!r})[:{count}])"
        return [sys.executable, "-c", code]


@pytest.fixture
def judged(tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "from").write_bytes(tiny_model.sealed())
    reference = np.eye(4, dtype=np.float32)[np.arange(400) % 4]
    answers = reference.copy()
    # 1 % other answers.
    answers[:4] = np.roll(answers[:4], 1, axis=1)
    np.save(tmp_path / "logits.npy", answers)
    return inputs.Inputs(tmp_path, "mark", reference, np.arange(400) % 4)


def test_a_file_that_answers_as_float_is_no_int8_file(judged):
    np.save(judged.folder / "logits.npy", judged.logits * (1.0 + 1e-4))
    row = conversion.judged(Copying("x", "", "edgekit", "v", ".tflite"), judged)
    # 20 · log10(1e4) = 80 dB.
    assert row == {"failed": "its file must be quantized, got the float network's answers (SQNR 80 dB)."}


def test_a_row_is_judged_on_all_images(judged):
    row = conversion.judged(Copying("x", "", "edgekit", "v", ".tflite"), judged)
    assert row["drop"]["value"] == pytest.approx(1.0)
    assert row["same"]["value"] == pytest.approx(99.0)
    # 4 of 400 rows differ by 2 squared units of 1 each.
    assert row["sqnr_db"] == pytest.approx(10 * np.log10(400 / 8))
    assert row["bytes"] == len(tiny_model.sealed())
    # It has a card of ours, but no TFLite Metadata, which others read too.
    assert (row["verified"], row["carries"]) == ("yes", "no")


def test_a_route_that_fails_in_any_way_is_a_row(judged):
    (judged.folder / "logits.npy").write_bytes(b"not an array")
    row = conversion.judged(Copying("x", "", "edgekit", "v", ".tflite"), judged)
    assert "failed" in row
    (judged.folder / "from").unlink()
    assert "No such file" in conversion.judged(Copying("y", "", "edgekit", "v", ".tflite"), judged)["failed"]
    lost = Route("TinyNeuralNetwork", "no such environment", "none", "", ".tflite")
    assert "no such environment" in conversion.judged(lost, judged)["failed"]


def test_nothing_is_made_twice_unless_it_depends_on_what_changed(judged):
    route = Copying("x", "", "edgekit", "v", ".tflite")
    first = conversion.judged(route, judged)
    other = tiny_model.sealed(seed=5)
    (judged.folder / "from").write_bytes(other)
    assert conversion.judged(route, judged) == first
    again = conversion.judged(route, replace(judged, mark="other images"))
    assert again["bytes"] == len(other) != first["bytes"]


def test_a_float_file_must_be_the_float_network(judged):
    route = Copying("x", "", "edgekit", "float", ".tflite")
    # As half precision may be: 4 of 200 images.
    assert conversion.float_file(route, judged) == {"same": 98.0}
    np.save(judged.folder / "logits.npy", np.roll(judged.logits, 1, axis=1))
    assert "got 0.0 %" in conversion.float_file(route, replace(judged, mark="b"))["failed"]


def test_every_other_is_set_beside_ours_image_by_image(judged, monkeypatch):
    both = (Copying(OURS, "", "edgekit", "v", ".tflite"), Copying("worse", "", "edgekit", "w", ".tflite"))
    monkeypatch.setattr(conversion, "INT8", both)
    rows = {both[0].title: conversion.judged(both[0], judged)}
    worse = judged.logits.copy()
    worse[:12] = np.roll(worse[:12], 1, axis=1)
    np.save(judged.folder / "logits.npy", worse)
    rows[both[1].title] = conversion.judged(both[1], judged)
    conversion.beside_ours(rows, judged)
    assert rows["worse"]["behind_edgekit"]["value"] == pytest.approx(2.0)
    assert rows["worse"]["behind_edgekit"]["low"] > 0.0
    assert rows[OURS]["behind_edgekit"]["value"] == 0.0
