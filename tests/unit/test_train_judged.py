"""What a run says of its validation, and which images that were."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from support.photos import write_folder
from support.training import LONGER, SMALL, refused, train

from edgekit.images import labelled_folder
from edgekit.train import checkpoint as checkpoints
from edgekit.train import loop
from edgekit.train.data import for_evaluation, open_folder
from edgekit.train.evaluate import ClassScore, predict
from edgekit.train.find_rate import STEPS, has_valley
from edgekit.train.result import Result, best_of
from edgekit.train.resume import Epoch
from edgekit_quantize.report.data import open_images


@pytest.fixture(scope="module")
def images(photos):
    return labelled_folder(photos)


def test_the_validation_loss_is_the_labels_cross_entropy(images):
    """By SciPy's log-softmax, in float64."""
    result = loop.train(replace(LONGER, epochs=1), images, images)
    pixels = for_evaluation(images, result.checkpoint.input, progress=False)
    logits = predict(result.checkpoint.network(), pixels.pixels, result.checkpoint.input).double().numpy()
    chosen = log_softmax(logits, axis=1)[np.arange(len(logits)), pixels.targets.numpy()]
    assert result.epochs[0].validation_loss == pytest.approx(-chosen.mean(), rel=1e-5)
    assert f"(loss {-chosen.mean():.3f})" in str(result.epochs[0])


def test_the_best_epoch_is_one_of_those_that_know_int8s_rounding():
    plain, aware = Epoch(1.0, 0.5, 0.9, 60, 1.0), Epoch(1.0, 0.5, 0.8, 60, 1.0, is_aware=True)
    assert best_of([plain, replace(plain, validation=0.95), plain]) == 1
    assert best_of([plain, aware, replace(aware, validation=0.85), aware]) == 2
    assert best_of([replace(plain, validation=None)]) is None


def test_a_finished_network_learns_int8s_rounding_in_all_epochs(images, tmp_path):
    loop.train(replace(LONGER, epochs=2), images, images, out=tmp_path / "m.pt")
    options = replace(LONGER, epochs=1, qat_epochs=1, weights=str(tmp_path / "m.pt"), lr=1e-4, head_lr=1e-4)
    result = loop.train(options, images, images)
    assert result.epochs[0].is_aware and result.best == 0
    before = checkpoints.load(tmp_path / "m.pt").state
    # Statistics rest, weights learn.
    assert torch.equal(result.checkpoint.state["features.0.1.running_mean"], before["features.0.1.running_mean"])
    assert not torch.equal(result.checkpoint.state["features.0.0.weight"], before["features.0.0.weight"])


def test_the_mean_over_classes_counts_each_alike():
    classes = {"many": ClassScore(90, 100, "few"), "few": ClassScore(1, 4, "many"), "none": ClassScore(0, 0, "")}
    assert Result(None, [], 1.0, classes=classes).mean_recall == pytest.approx((0.9 + 0.25) / 2)
    assert Result(None, [], 1.0).mean_recall is None


def test_the_images_kept_for_validation_are_listed_for_the_report(tmp_path, capsys):
    """Others than those trained on, with names that a list could trip over."""
    folder = write_folder(tmp_path / "my photos", per_class=12, seed=4)
    first = sorted((folder / "blobs").iterdir())[0]
    first.rename(first.with_name('a, "b" ü.png'))
    assert train(folder, "--out", tmp_path / "m.pt", *SMALL, "--epochs", "1", "--val-fraction", "0.5") == 0
    assert "m.val.csv, for edgekit report --data" in "".join(capsys.readouterr().err.split("\n"))
    _, val_set = open_folder(folder, 0.5)
    listed = open_images(str(tmp_path / "m.val.csv"), val_set.labels)
    assert sorted(listed.paths) == sorted(val_set.paths)
    assert [path.parent.name for path in listed.paths] == [listed.labels[target] for target in listed.targets]
    with (tmp_path / "m.val.csv").open(newline="") as file:
        assert next(csv.reader(file)) == ["file", "label"]


def test_sets_of_the_users_are_not_listed(tmp_path):
    for name, seed in (("train", 1), ("val", 2)):
        write_folder(tmp_path / "photos" / name, 8, seed)
    assert train(tmp_path / "photos", "--out", tmp_path / "m.pt", *SMALL, "--epochs", "1") == 0
    assert not (tmp_path / "m.val.csv").exists()


@pytest.mark.parametrize("others", [[], ["test"]])
def test_train_without_val_asks_for_it(tmp_path, capsys, others):
    for name in ("train", *others):
        write_folder(tmp_path / name, 8, 1)
    line = refused(capsys, tmp_path, "--out", tmp_path / "m.pt", *SMALL)
    assert f"must have val/ beside train/, got none. Give {tmp_path / 'train'} to split it." in line


def test_memory_that_is_not_enough_any_more_says_how_to_keep_what_was_learned(images, tmp_path, monkeypatch):
    """Since neither another batch nor --resume alone goes on."""
    out, one_step = tmp_path / "m.pt", loop.one_step

    def step(run, pixels, targets, epoch, number):
        if epoch == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return one_step(run, pixels, targets, epoch, number)

    monkeypatch.setattr(loop, "one_step", step)
    with pytest.raises(loop.InputError, match="A step with 30 images must fit") as found:
        loop.train(LONGER, images, out=out)
    assert isinstance(found.value.__cause__, loop.OutOfMemory)
    assert found.value.remedy.startswith("Use --batch 15")
    assert f"--weights {tmp_path / 'm.last.pt'} and another --out begin from it." in found.value.remedy


def test_how_a_run_computes_is_said_before_it_begins(photos, tmp_path, capsys):
    assert train(photos, "--out", tmp_path / "m.pt", *SMALL, "--epochs", "1", "--lr", "0.002") == 0
    said = capsys.readouterr().err
    assert "Steps of 24 images by adamw, rates 0.002 and 0.003 (classifier), 0 blocks frozen, float32\n" in said
    assert "Random weights: ImageNet's are for width 1.0." not in said  # asked for by --weights none
    record = json.loads((tmp_path / "m.run.json").read_text())
    assert record["epochs"][0]["validation_loss"] > 0


def test_a_narrow_network_is_told_to_begin_with_a_wide_one(photos, tmp_path, capsys):
    words = [word for word in SMALL if word not in ("--weights", "none")]
    assert train(photos, "--out", tmp_path / "m.pt", *words, "--epochs", "1") == 0
    assert "Train width 1.0 first, then this one with --weights big.pt" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("lowest", "length", "is_valley"),
    [(50, STEPS, True), (2, STEPS, False), (97, STEPS, False), (60, 62, True), (3, 40, False)],
)
def test_a_rate_is_proposed_with_confidence_where_there_is_a_valley(lowest, length, is_valley):
    losses = [abs(index - lowest) / length + 0.1 for index in range(length)]
    assert has_valley(losses) == is_valley
