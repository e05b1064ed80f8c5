"""What a run leaves behind: the best epoch, logs, and the last good state when something goes wrong."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from edgekit.cli import run
from edgekit.errors import InputError, MissingError
from edgekit.images import labelled_folder
from edgekit.train import checkpoint as checkpoints
from edgekit.train import loop
from edgekit.train.allocator import enough_memory
from edgekit.train.data import for_evaluation
from edgekit.train.evaluate import ClassScore
from edgekit.train.feed import PixelFeed
from edgekit.train.find_rate import find_rate
from edgekit.train.log import Log
from edgekit.train.loop import train
from edgekit.train.options import Options
from edgekit.train.resume import Partial, last_path
from edgekit.train.run import start
from edgekit.train.tally import Tally
from edgekit.train.world import World, choose_device

TINY = Options(width=0.25, size=32, stem_stride=1, epochs=3, batch=30, lr=5e-3, head_lr=5e-3, dropout=0.2)


@pytest.fixture(scope="module")
def images(photos):
    return labelled_folder(photos)


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_best_epoch_stays_if_it_is_not_the_last(images, tmp_path, monkeypatch):
    out, best = tmp_path / "model.pt", tmp_path / "model.best.pt"
    scores, states = [0.2, 0.6, 0.4], []

    def judged(run):
        states.append({name: value.clone() for name, value in run.network.state_dict().items()})
        run.classes = {"blobs": ClassScore(1, 2, "stripes")}
        return scores[len(states) - 1]

    monkeypatch.setattr(loop, "validate", judged)
    result = train(TINY, images, images, out=out)
    assert result.best == 1
    assert same(checkpoints.load(best).state, states[1])
    assert same(checkpoints.load(out).state, states[2])
    # Equal: the later one, which is the last; nothing else is left.
    states.clear()
    scores[:] = [0.2, 0.6, 0.6]
    train(TINY, images, images, out=tmp_path / "other.pt")
    assert not (tmp_path / "other.best.pt").exists()


def test_a_loss_that_is_not_finite_leaves_the_last_good_epoch(images, tmp_path, monkeypatch):
    out, steps, one_step = tmp_path / "model.pt", 0, loop.one_step

    def step(run, *arguments):
        nonlocal steps
        steps += 1
        loss, hits = one_step(run, *arguments)
        return (loss * float("nan"), hits) if steps == 7 else (loss, hits)

    monkeypatch.setattr(loop, "one_step", step)
    with pytest.raises(InputError, match=r"got nan in step 3 of epoch 2, at a rate of 0\.00\d+ \(before it: \d"):
        train(TINY, images, out=out)
    kept = checkpoints.load(last_path(out))
    assert len(kept.resume["epochs"]) == 1
    assert all(bool(value.isfinite().all()) for value in kept.state.values())


def test_too_little_memory_names_a_batch(images, monkeypatch):
    """A real allocation that no machine has room for."""
    monkeypatch.setattr(loop, "one_step", lambda *_: torch.empty(2**62, dtype=torch.uint8))
    said = r"A step with 30 images must fit into memory, got: [a-z' :]+ \d+ bytes\. Use --batch 15, or"
    with pytest.raises(InputError, match=said):
        train(TINY, images)


@pytest.mark.parametrize(("processes", "said"), [(1, "--batch 8,"), (4, "--batch 8,"), (8, "smaller network,")])
def test_the_batch_that_is_proposed_counts_all_processes(processes, said):
    with pytest.raises(InputError, match=said), enough_memory(16, processes):
        raise MemoryError


def test_too_small_a_batch_for_its_processes_is_refused(images):
    feed = PixelFeed(for_evaluation(images, TINY.spec))
    with pytest.raises(InputError, match="two images for each of 16 processes, got 30"):
        start(TINY, feed, None, world=World(size=16))
    assert start(TINY, feed, None, world=World(size=15)).batch == 30


def test_tensorboard_reads_what_each_epoch_gave(images, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Log(tmp_path) as log:
        result = train(TINY, images, images, log=log)
    events = EventAccumulator(str(tmp_path)).Reload()
    for name, of in (("loss/training", "loss"), ("top-1/training", "accuracy"), ("top-1/validation", "validation")):
        written = [(event.step, event.value) for event in events.Scalars(name)]
        expected = [(number, getattr(epoch, of)) for number, epoch in enumerate(result.epochs, 1)]
        assert written == [(step, pytest.approx(value, rel=1e-6)) for step, value in expected]


def test_the_rate_finder_refuses_weights_that_are_no_numbers(images, tmp_path):
    train(replace(TINY, epochs=1), images, out=tmp_path / "m.pt")
    kept = checkpoints.load(tmp_path / "m.pt")
    state = {
        name: torch.full_like(value, float("nan")) if value.is_floating_point() else value
        for name, value in kept.state.items()
    }
    checkpoints.save(tmp_path / "nan.pt", replace(kept, state=state))
    with pytest.raises(InputError, match="The loss must be finite at the lowest rate"):
        find_rate(replace(TINY, weights=str(tmp_path / "nan.pt")), images, None, World())


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(MissingError, match=r"a GPU of its own, got 1 for 2 or more\. Use --nproc-per-node 1"):
        choose_device("auto", 1)


def test_the_bar_of_a_run_that_goes_on_counts_what_its_sums_count():
    """The first process takes over the sums of all: 288 of 320 are 90 %, not 180 % of its half."""
    assert Tally(Partial(10, 320, 288, 100.0, 1.0), 2).texts()["accuracy"] == "accuracy 90.0 %"


def test_a_dry_run_without_memory_proposes_a_batch(photos, monkeypatch, capsys):
    def too_large(*_arguments):
        raise torch.OutOfMemoryError("no more")

    monkeypatch.setattr("edgekit.train.dry_run.images_per_second", too_large)
    assert run(["train", str(photos), "--dry-run", "--weights", "none", "--size", "32", "--batch", "24"]) == 2
    assert "A step with 24 images must fit into memory" in capsys.readouterr().err


def test_the_rate_finder_proposes_a_rate_that_trains(images, tmp_path, capsys):
    proposed = find_rate(replace(TINY, head_lr=1e-2), images, tmp_path / "m.pt", World())
    lines = (tmp_path / "m.lr.csv").read_text().splitlines()
    assert lines[0] == "lr,loss"
    rates, losses = np.array([line.split(",") for line in lines[1:]], float).T
    assert np.allclose(np.diff(np.log(rates)), math.log(1e6) / 99, rtol=1e-3)
    assert proposed == pytest.approx(rates[losses.argmin()] / 10, rel=1e-4)
    assert f"Try --lr {proposed:.2g} --head-lr {2 * proposed:.2g}" in capsys.readouterr().err
    assert 1e-5 < proposed < 0.1
