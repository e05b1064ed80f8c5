"""What a run leaves behind: the best epoch, logs, and the last good state when something goes wrong."""

import math
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.training import LONGER, SMALL

from edgekit.cli import run
from edgekit.errors import InputError, MissingError
from edgekit.images import labelled_folder
from edgekit.train import checkpoint as checkpoints
from edgekit.train import loop, pixel_cache, quantization_aware, validation
from edgekit.train import run as run_module
from edgekit.train.data import for_evaluation
from edgekit.train.evaluate import ClassScore
from edgekit.train.feed import PixelFeed
from edgekit.train.find_rate import find_rate
from edgekit.train.log import Log
from edgekit.train.loop import train
from edgekit.train.resume import Partial, best_path, last_path
from edgekit.train.run import start
from edgekit.train.stop import Stop
from edgekit.train.tally import Tally
from edgekit.train.world import World, choose_device


@pytest.fixture(scope="module")
def images(photos):
    return labelled_folder(photos)


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_best_epoch_stays_if_it_is_not_the_last(images, tmp_path, monkeypatch):
    out, best = tmp_path / "model.pt", tmp_path / "model.best.pt"
    scores, states = [0.2, 0.6, 0.4], []

    def judged(run, *_):
        states.append({name: value.clone() for name, value in run.network.state_dict().items()})
        run.classes = {"blobs": ClassScore(1, 2, "stripes")}
        return scores[len(states) - 1], 1.0

    monkeypatch.setattr(loop, "validate", judged)
    result = train(LONGER, images, images, out=out)
    assert result.best == 1
    assert same(checkpoints.load(best).state, states[1])
    assert same(checkpoints.load(out).state, states[2])
    # Equal: the later one, which is the last; nothing else is left.
    states.clear()
    scores[:] = [0.2, 0.6, 0.6]
    train(LONGER, images, images, out=tmp_path / "other.pt")
    assert not (tmp_path / "other.best.pt").exists()


def test_a_loss_that_is_not_finite_leaves_the_last_good_epoch(images, tmp_path, monkeypatch):
    out, steps, one_step = tmp_path / "model.pt", 0, loop.one_step

    def step(run, *arguments):
        nonlocal steps
        steps += 1
        loss, hits = one_step(run, *arguments)
        return (loss * float("nan"), hits) if steps == 7 else (loss, hits)

    monkeypatch.setattr(loop, "one_step", step)
    with pytest.raises(
        InputError, match=r"got nan in step 3 of epoch 2, at a rate of 0\.00\d+ \(losses before: \d"
    ) as found:
        train(LONGER, images, out=out)
    assert f"after epoch 1 of 3: --weights {last_path(out)} and another --out begin from it." in found.value.remedy
    monkeypatch.undo()
    other = replace(LONGER, epochs=1, lr=1e-9, head_lr=1e-9, weights=str(last_path(out)))
    begun = train(other, images, out=tmp_path / "other.pt").checkpoint.state["classifier.1.weight"]
    kept = checkpoints.load(last_path(out))
    torch.testing.assert_close(begun, kept.state["classifier.1.weight"], rtol=1e-4, atol=1e-6)
    assert len(kept.resume["epochs"]) == 1
    assert all(bool(value.isfinite().all()) for value in kept.state.values())


def spoil_after(steps, monkeypatch, spoil):
    """Change the network after so many steps: the loss, which is of before a step, does not show it yet."""
    done, one_step = 0, loop.one_step

    def step(run, *arguments):
        nonlocal done
        done += 1
        given = one_step(run, *arguments)
        if done == steps:
            with torch.no_grad():
                spoil(run.network)
        return given

    monkeypatch.setattr(loop, "one_step", step)


def first_weight(network):
    return next(network.parameters())


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda network: first_weight(network).fill_(math.inf), "weights must stay finite, got others in step 4 of"),
        (lambda network: network.classifier[-1].weight.fill_(3e38), "answers must stay finite, got others in valida"),
    ],
)
def test_a_last_step_that_diverges_leaves_the_epoch_before_it(images, tmp_path, monkeypatch, spoil, said):
    out = tmp_path / "model.pt"
    spoil_after(8, monkeypatch, spoil)
    with pytest.raises(InputError, match=said):
        train(LONGER, images, images, out=out)
    for path in (last_path(out), best_path(out)):
        assert all(bool(value.isfinite().all()) for value in checkpoints.load(path).state.values())
    assert len(checkpoints.load(last_path(out)).resume["epochs"]) == 1
    assert not out.exists()


def test_a_single_step_that_diverges_leaves_nothing(images, tmp_path):
    options = replace(LONGER, batch=120, epochs=1, lr=1e30, head_lr=1e30, warmup=0.01)
    with pytest.raises(InputError, match="must stay finite, got others"):
        train(options, images, images, out=tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_validation_ends_it_and_going_on_begins_with_it(images, tmp_path, monkeypatch, number):
    unbroken = train(LONGER, images, images)
    out, calls, predict = tmp_path / "model.pt", [], validation.predict

    def predicted(*arguments, **more):
        calls.append(more["batch"])
        if len(calls) == 2:
            signal.raise_signal(number)
        found = predict(*arguments, **more)
        assert len(found) == (more["batch"] if len(calls) == 2 else len(images.names))
        return found

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(validation, "predict", predicted)
            train(LONGER, images, images, out=out)
    finally:
        signal.signal(signal.SIGTERM, before)
    # No more at a time than a step has.
    assert calls == [30, 30]
    kept = checkpoints.load(last_path(out)).resume
    assert (len(kept["epochs"]), kept["partial"]["steps"]) == (1, 4)
    result = train(LONGER, images, images, out=out, resume=True)
    assert same(result.checkpoint.state, unbroken.checkpoint.state)
    key = ("loss", "accuracy", "validation")
    curves = [[[getattr(epoch, name) for name in key] for epoch in each.epochs] for each in (result, unbroken)]
    assert curves[0] == curves[1]


def test_another_process_may_have_had_the_signal():
    """What obey() is for there: this one had none."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), Stop() as stop:
            assert not stop.is_wanted()
            stop.obey()
            pytest.fail("it must end")
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_lower_precision_goes_on_to_the_same_bits(images, tmp_path, monkeypatch, amp):
    options, out, dtypes = replace(LONGER, amp=amp), tmp_path / "model.pt", set()

    def look(_module, _inputs, output):
        dtypes.add(output.dtype)

    create = run_module.create

    def watched(*arguments, **more):
        network = create(*arguments, **more)
        network.features[0][0].register_forward_hook(look)
        return network

    monkeypatch.setattr(run_module, "create", watched)
    unbroken = train(options, images)
    assert dtypes == {torch.bfloat16 if amp == "bf16" else torch.float16}
    spoil_after(6, monkeypatch, lambda _network: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(options, images, out=out)
    monkeypatch.undo()
    result = train(options, images, out=out, resume=True)
    assert same(result.checkpoint.state, unbroken.checkpoint.state)
    assert result.epochs[-1].loss < result.epochs[0].loss


@pytest.mark.parametrize("arch", ["mobilenet_v1", "mobilenet_v2"])
def test_rounding_to_int8_is_of_float32_in_lower_precision_too(images, monkeypatch, arch):
    """Bf16 has seven bits behind the first one: near 6 its own steps are larger than int8's."""
    rounded, round_weight = set(), quantization_aware.round_weight

    def watched(weight):
        rounded.add((weight.dtype, torch.is_autocast_enabled("cpu")))
        return round_weight(weight)

    monkeypatch.setattr(quantization_aware, "round_weight", watched)
    result = train(replace(LONGER, arch=arch, epochs=2, qat_epochs=1, amp="bf16"), images)
    assert rounded == {(torch.float32, False)}
    assert len(result.epochs) == 2


def test_too_small_a_batch_for_its_processes_is_refused(images):
    feed = PixelFeed(for_evaluation(images, LONGER.spec))
    with pytest.raises(InputError, match="two images for each of 16 processes, got 30"):
        start(LONGER, feed, None, world=World(size=16))
    assert start(LONGER, feed, None, world=World(size=15)).batch == 30


def test_one_image_is_no_batch(images):
    """A normalization has nothing to divide by."""
    pixels = for_evaluation(images, LONGER.spec).share(World(size=len(images.paths)))
    with pytest.raises(InputError, match=r"A step must have two images, got 1\. Use a larger --batch or more images"):
        start(LONGER, PixelFeed(pixels), None)


def test_tensorboard_reads_what_each_epoch_gave(images, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Log(tmp_path) as log:
        result = train(LONGER, images, images, log=log)
    events = EventAccumulator(str(tmp_path)).Reload()
    for name, of in (
        ("loss/training", "loss"),
        ("top-1/training", "accuracy"),
        ("top-1/validation", "validation"),
        ("loss/validation", "validation_loss"),
    ):
        written = [(event.step, event.value) for event in events.Scalars(name)]
        expected = [(number, getattr(epoch, of)) for number, epoch in enumerate(result.epochs, 1)]
        assert written == [(step, pytest.approx(value, rel=1e-6)) for step, value in expected]


def test_the_rate_finder_refuses_weights_that_are_no_numbers(images, tmp_path):
    train(replace(LONGER, epochs=1), images, out=tmp_path / "m.pt")
    kept = checkpoints.load(tmp_path / "m.pt")
    state = {
        name: torch.full_like(value, float("nan")) if value.is_floating_point() else value
        for name, value in kept.state.items()
    }
    checkpoints.save(tmp_path / "nan.pt", replace(kept, state=state))
    damaged = replace(LONGER, weights=str(tmp_path / "nan.pt"))
    with pytest.raises(InputError, match="The loss must be finite at the lowest rate"):
        find_rate(damaged, images, None, World())
    # Nor does training blame a rate that nothing was learned by.
    with pytest.raises(InputError, match=r"in step 1 of epoch 1.* Nothing was learned yet: .*nan\.pt may be damaged\."):
        train(damaged, images)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(MissingError, match=r"a GPU of its own, got 1 for 2 or more\. Use --nproc-per-node 1"):
        choose_device("auto", 1)


def test_the_bar_of_a_run_that_goes_on_counts_what_its_sums_count():
    """The first process takes over the sums of all: 288 of 320 are 90 %, not 180 % of its half."""
    assert Tally(Partial(10, 320, 288, 100.0, 1.0), 2).texts()["accuracy"] == "accuracy 90.0 %"


def test_a_record_that_cannot_be_written_leaves_what_going_on_needs(images, tmp_path):
    """As where the disk is full at the very end, or someone presses Ctrl-C there."""
    out, kept = tmp_path / "model.pt", []

    def full(result):
        raise InputError("No room.")

    with pytest.raises(InputError, match="No room"):
        train(LONGER, images, images, out=out, kept=full)
    assert last_path(out).exists()
    result = train(LONGER, images, images, out=out, resume=True, kept=kept.append)
    assert kept == [result] and len(result.epochs) == 3 and result.classes
    assert not last_path(out).exists()
    assert same(result.checkpoint.state, train(LONGER, images, images).checkpoint.state)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--teacher", "other.pt"], "--teacher must know the same classes"),
        (["--weights", "other.pt", "--arch", "mobilenet_v1", "--width", "0.5"], "--weights must fit mobilenet_v1"),
        (["--freeze", "100"], "--freeze must be at most 19"),
        (["--batch", "1"], "--batch must be at least 2"),
    ],
)
def test_mistakes_are_found_before_an_image_is_read(images, photos, tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    other = train(replace(LONGER, epochs=1), images).checkpoint
    checkpoints.save(tmp_path / "other.pt", replace(other, labels=("a", "b", "c")))
    monkeypatch.setattr(pixel_cache, "prepare", lambda *_: pytest.fail("images were read"))
    assert run(["train", str(photos), "--out", "m.pt", *SMALL, *words]) == 2
    assert said in capsys.readouterr().err


def test_a_dry_run_without_memory_proposes_a_batch(photos, monkeypatch, capsys):
    def too_large(*_arguments):
        raise torch.OutOfMemoryError("no more")

    monkeypatch.setattr("edgekit.train.step._step", too_large)
    assert run(["train", str(photos), "--dry-run", "--weights", "none", "--size", "32", "--batch", "24"]) == 2
    assert "A step with 24 images must fit into memory" in capsys.readouterr().err


def test_the_rate_finder_proposes_a_rate_that_trains(images, tmp_path, capsys):
    proposed = find_rate(replace(LONGER, head_lr=1e-2), images, tmp_path / "m.pt", World())
    lines = (tmp_path / "m.lr.csv").read_text().splitlines()
    assert lines[0] == "lr,loss"
    rates, losses = np.array([line.split(",") for line in lines[1:]], float).T
    assert np.allclose(np.diff(np.log(rates)), math.log(1e6) / 99, rtol=1e-3)
    assert proposed == pytest.approx(rates[losses.argmin()] / 10, rel=1e-4)
    assert f"Try --lr {proposed:.2g} --head-lr {2 * proposed:.2g}" in capsys.readouterr().err
    assert 1e-5 < proposed < 0.1
    trained = train(replace(LONGER, lr=proposed, head_lr=2 * proposed, dropout=0.0), images)
    assert trained.epochs[-1].loss < trained.epochs[0].loss


@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="there is no C++ compiler here")
def test_a_compiled_network_takes_the_same_step(images):
    options = replace(LONGER, arch="mobilenet_v1", batch=120, epochs=1, dropout=0.0)
    plain, compiled = (train(replace(options, compile=flag), images) for flag in (False, True))
    # The loss is of before the step, whose kernels sum in another order; statistics are of its forward pass.
    assert compiled.epochs[0].loss == pytest.approx(plain.epochs[0].loss, rel=1e-4)
    name = "features.0.1.running_var"
    torch.testing.assert_close(compiled.checkpoint.state[name], plain.checkpoint.state[name], rtol=1e-4, atol=1e-6)
    assert compiled.checkpoint.state.keys() == plain.checkpoint.state.keys()
