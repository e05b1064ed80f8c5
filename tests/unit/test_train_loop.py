"""The loop: it learns, it repeats bit for bit, and it goes on after an interruption as if there had been none."""

import math
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.photos import tinted
from support.training import LONGER

from edgekit.card import InputSpec
from edgekit.errors import InputError
from edgekit.images import ArraySet, labelled_folder
from edgekit.train import checkpoint as checkpoints
from edgekit.train import loop
from edgekit.train.data import for_evaluation
from edgekit.train.evaluate import predict
from edgekit.train.feed import PixelFeed, even_batch
from edgekit.train.loop import train
from edgekit.train.optimizer import set_rates
from edgekit.train.recipes import LEAST_STEPS, MOST_EPOCHS, SCRATCH, TRANSFER, for_folder
from edgekit.train.resume import Data, Partial, Progress, last_path
from edgekit.train.stop import Stop


@pytest.fixture(scope="module")
def images(photos):
    return labelled_folder(photos)


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def unbroken(images):
    return train(LONGER, images)


def test_it_learns(images):
    pixels = np.stack([tinted(images.image(index), target) for index, target in enumerate(images.targets)])
    images = ArraySet(pixels, np.asarray(images.targets), images.labels)
    result = train(replace(LONGER, epochs=12, batch=10, dropout=0.0), images, images)
    assert result.epochs[-1].loss < result.epochs[0].loss
    assert result.epochs[-1].validation > 0.9
    assert result.images_per_second > 0
    pixels = for_evaluation(images, result.checkpoint.input, progress=False)
    hits = predict(result.checkpoint.network(), pixels.pixels, result.checkpoint.input).argmax(1) == pixels.targets
    assert hits.float().mean().item() == pytest.approx(result.epochs[-1].validation)


def test_a_short_run_is_judged_by_what_it_has_seen(images):
    """Not by the variance of 1 that normalizations begin with: then validation stays at 33 % instead of 80 %."""
    pixels = np.stack([tinted(images.image(index), target) for index, target in enumerate(images.targets)])
    easy = ArraySet(pixels, images.targets, images.labels)
    options = replace(LONGER, size=64, stem_stride=2, epochs=4, dropout=0.0)
    result = train(options, easy, easy)
    assert result.epochs[-1].accuracy > 0.6
    assert result.epochs[-1].validation > 0.6


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(images, unbroken):
    assert same(train(LONGER, images).checkpoint.state, unbroken.checkpoint.state)
    assert not same(train(replace(LONGER, seed=1), images).checkpoint.state, unbroken.checkpoint.state)


def test_the_global_random_state_is_left_alone(images):
    before = torch.random.get_rng_state()
    train(replace(LONGER, epochs=1), images)
    assert torch.equal(torch.random.get_rng_state(), before)


def interrupt_after(epochs, monkeypatch):
    """Ctrl-C in the middle of the epoch after `epochs`."""
    steps = 0
    one_step = loop.one_step

    def step(run, *arguments):
        nonlocal steps
        steps += 1
        if steps == epochs * run.steps + 2:
            raise KeyboardInterrupt
        return one_step(run, *arguments)

    monkeypatch.setattr(loop, "one_step", step)


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_resumed_run_ends_with_the_bits_of_an_unbroken_one(images, unbroken, tmp_path, monkeypatch, epochs):
    out = tmp_path / "model.pt"
    with monkeypatch.context() as patch:
        interrupt_after(epochs, patch)
        with pytest.raises(KeyboardInterrupt):
            train(LONGER, images, out=out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.last.pt"]
    torch.rand(7)  # whatever happened to the global state in between must not matter
    result = train(LONGER, images, out=out, resume=True)
    assert same(result.checkpoint.state, unbroken.checkpoint.state)
    assert [epoch.loss for epoch in result.epochs] == [epoch.loss for epoch in unbroken.epochs]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt"]
    assert same(checkpoints.load(out).state, unbroken.checkpoint.state)
    assert checkpoints.load(out).resume is None


@pytest.mark.parametrize(("number", "at"), [(signal.SIGINT, 2), (signal.SIGTERM, 8), (signal.SIGHUP, 2)])
def test_a_signal_waits_for_the_step_and_the_run_goes_on_from_it(images, unbroken, tmp_path, monkeypatch, number, at):
    """A real signal, in the first epoch and in the last step of the second: the same loss curve, the same bits."""
    out, steps, one_step = tmp_path / "model.pt", [], loop.one_step

    def step(run, *arguments):
        steps.append(run.steps)
        if len(steps) == at:
            signal.raise_signal(number)
        return one_step(run, *arguments)

    before = {each: signal.signal(each, signal.default_int_handler) for each in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with monkeypatch.context() as patch:
            patch.setattr(loop, "one_step", step)
            with pytest.raises(KeyboardInterrupt):
                train(LONGER, images, out=out)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    partial = checkpoints.load(last_path(out)).resume["partial"]
    assert steps[0] == 4 and len(steps) == at
    assert partial["steps"] == (at - 1) % 4 + 1
    torch.rand(7)
    result = train(LONGER, images, out=out, resume=True)
    assert same(result.checkpoint.state, unbroken.checkpoint.state)
    assert [epoch.loss for epoch in result.epochs] == [epoch.loss for epoch in unbroken.epochs]
    assert [epoch.accuracy for epoch in result.epochs] == [epoch.accuracy for epoch in unbroken.epochs]


def test_a_second_signal_acts_at_once():
    with pytest.raises(KeyboardInterrupt), Stop() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.is_wanted()
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second one must act")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_interrupted_before_the_first_epoch_leaves_nothing(images, tmp_path, monkeypatch):
    interrupt_after(0, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(LONGER, images, out=tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == []


def test_resuming_refuses_what_is_not_the_same_run(images, tmp_path, monkeypatch):
    out = tmp_path / "model.pt"
    with pytest.raises(InputError, match=r"must find .*model\.last\.pt, got nothing"):
        train(LONGER, images, out=out, resume=True)
    with monkeypatch.context() as patch:
        interrupt_after(1, patch)
        with pytest.raises(KeyboardInterrupt):
            train(LONGER, images, out=out)
    with pytest.raises(InputError, match=r"same options, got lr 0\.005 → 0\.001"):
        train(replace(LONGER, lr=1e-3), images, out=out, resume=True)
    with pytest.raises(InputError, match="same images, got others"):
        train(LONGER, images.subset(np.arange(90)), out=out, resume=True)
    with pytest.raises(InputError, match="same images, got others"):
        train(LONGER, images, images, out=out, resume=True)
    assert last_path(out).exists()
    checkpoints.save(last_path(out), train(replace(LONGER, epochs=1), images).checkpoint)
    with pytest.raises(InputError, match="unfinished run, got a finished checkpoint"):
        train(LONGER, images, out=out, resume=True)


@pytest.mark.parametrize("shares", [(30, 2), (28, 2, 2, 2, 2), (30, 2, 1), (30, 4)])
def test_an_epoch_is_finished_by_steps_as_it_began(shares):
    """Otherwise images between the two would be seen twice, or not at all."""
    data, partial = Data(("a", "b"), "training", "validation"), Partial(1, 30, 10, 30.0, 1.0)
    before = Progress(LONGER, data, {}, None, {}, {}, [], (30, 2), partial)
    replace(before, partial=None).check_same(data, shares)
    if shares == (30, 2):
        before.check_same(data, shares)
        return
    workers = ", ".join(map(str, shares[1:]))
    got = rf"got {shares[0]} images a step in {len(shares) - 1} process(es)? with {workers} workers\. Use as many"
    said = rf"by 30 images a step in 1 process with 2 workers, {got}"
    with pytest.raises(InputError, match=said):
        before.check_same(data, shares)


def unreadable(*_arguments):
    raise AssertionError("the images were read")


@pytest.fixture
def unfinished(images, tmp_path, monkeypatch):
    """The --out of a run that was stopped in its second epoch."""
    out = tmp_path / "model.pt"
    with monkeypatch.context() as patch:
        interrupt_after(1, patch)
        with pytest.raises(KeyboardInterrupt):
            train(LONGER, images, out=out)
    return out


def test_what_keeps_a_run_from_going_on_is_found_before_images_are_read(images, unfinished, monkeypatch):
    monkeypatch.setattr(loop, "for_training", unreadable)
    with pytest.raises(InputError, match=r"same options, got lr .*model\.last\.pt to start anew"):
        train(replace(LONGER, lr=1e-3), images, out=unfinished, resume=True)
    last_path(unfinished).unlink()
    with pytest.raises(InputError, match="must find"):
        train(LONGER, images, out=unfinished, resume=True)


def test_an_unfinished_run_is_never_lost_silently(images, unfinished, monkeypatch):
    before = last_path(unfinished).read_bytes()
    monkeypatch.setattr(loop, "for_training", unreadable)
    with pytest.raises(InputError, match=r"got .*model\.last\.pt\. Add --resume, or delete it to start anew\."):
        train(LONGER, images, out=unfinished)
    assert last_path(unfinished).read_bytes() == before


def test_a_finished_run_says_so_when_it_is_resumed(images, tmp_path):
    out = tmp_path / "model.pt"
    train(replace(LONGER, epochs=1), images, out=out)
    with pytest.raises(InputError, match=r"model\.pt, which is already finished"):
        train(replace(LONGER, epochs=1), images, out=out, resume=True)


def test_two_runs_write_the_same_bytes(images, tmp_path):
    for name in ("one.pt", "another.pt"):
        train(replace(LONGER, epochs=1), images, out=tmp_path / name)
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "another.pt").read_bytes()


def test_a_loss_that_is_not_finite_names_the_step(images, tmp_path):
    with pytest.raises(
        InputError, match=r"must stay finite, got (nan|inf) in step \d+ of epoch 1, at a rate of .* use a lower --lr"
    ):
        train(replace(LONGER, lr=1e30, head_lr=1e30, warmup=0.01), images, out=tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == []


def test_frozen_blocks_keep_weights_and_statistics(images):
    start = train(replace(LONGER, epochs=1, lr=1e-9, head_lr=1e-9, freeze=19), images).checkpoint.state
    result = train(replace(LONGER, freeze=3), images).checkpoint.state
    frozen = tuple(f"features.{index}." for index in range(3))
    assert all(torch.equal(result[name], start[name]) for name in result if name.startswith(frozen))
    changed = {name for name in result if not torch.equal(result[name], start[name])}
    assert {name.split(".")[1] for name in changed if name.startswith("features.")} == {str(i) for i in range(3, 19)}


def test_rates_rise_and_then_fall_to_nothing(images):
    run = loop.start(replace(LONGER, epochs=10), PixelFeed(for_evaluation(images, InputSpec(32, 32), False)), None)
    total = run.steps * 10
    rates = []
    for step in range(total):
        set_rates(run.optimizer, LONGER.warmup, step / total)
        rates.append(run.optimizer.param_groups[0]["lr"])
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(LONGER.lr)
    assert top == math.ceil(0.2 * total)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 0.01 * LONGER.lr


def test_a_set_smaller_than_a_batch_is_one_batch(images):
    result = train(replace(LONGER, epochs=1, batch=512), images)
    assert result.epochs[0].images == len(images.paths)


@pytest.mark.parametrize(
    ("count", "batch", "processes", "expected"),
    [
        (50_000, 128, 1, 128),  # 80 of 50,000 wait for the next epoch
        (60, 32, 1, 30),  # instead of 28 of 60
        (60, 32, 2, 30),
        (225, 32, 1, 32),
        (100, 64, 4, 48),
        (383, 72, 8, 72),  # 23 of 383 are left over, of batches of 56 it were 47
        (20, 32, 1, 20),
        (3, 2, 1, 2),  # one image cannot be normalized over a batch
    ],
)
def test_a_batch_leaves_few_images_out(count, batch, processes, expected):
    assert even_batch(count, batch, processes) == expected


@pytest.mark.parametrize("images", range(2, 200, 7))
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_a_batch_fits_its_processes_and_never_grows(images, processes):
    for batch in range(2 * processes, 40):
        if min(images, batch) < 2 * processes:
            continue
        found, plain = even_batch(images, batch, processes), min(batch, images) // processes * processes
        assert 2 * processes <= found <= batch and found % processes == 0
        assert images % found <= images % plain


def test_predictions_do_not_depend_on_the_batch(images, unbroken):
    pixels = for_evaluation(images, unbroken.checkpoint.input, progress=False).pixels
    network = unbroken.checkpoint.network()
    alone = torch.cat([predict(network, pixels[index : index + 1], unbroken.checkpoint.input) for index in range(4)])
    torch.testing.assert_close(predict(network, pixels, unbroken.checkpoint.input)[:4], alone, rtol=1e-4, atol=1e-5)


def test_options_follow_the_weights_and_the_number_of_images():
    assert for_folder(6000, weights="imagenet") == TRANSFER
    assert for_folder(100_000, weights="none", width=0.5) == replace(SCRATCH, width=0.5)
    small = for_folder(200, weights="imagenet")
    assert LEAST_STEPS <= small.epochs * (200 // small.batch) < LEAST_STEPS + 10
    assert for_folder(200, weights="imagenet", epochs=3).epochs == 3
    # 60 images are two steps of 30 each.
    assert for_folder(60, weights="none", batch=32).epochs == MOST_EPOCHS
    aware = for_folder(225, weights="imagenet", qat_epochs=12)
    assert [epoch for epoch in range(aware.epochs) if aware.is_aware(epoch)] == list(range(58 - 12, 58))
    with pytest.raises(InputError, match="fewer than all 58 epochs"):
        for_folder(225, weights="imagenet", qat_epochs=58)
    assert for_folder(225, weights="model.pt", epochs=2, qat_epochs=2).is_aware(0)
