"""What a step learns from (labels, a teacher, blends, averages), and which weights do; each against its formula."""

import itertools
import math
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.checkpoints import write
from support.photos import CLASSES
from support.training import TINY
from torch import nn
from torch.nn import functional as F

from edgekit.card import InputSpec
from edgekit.errors import InputError
from edgekit.images import labelled_folder
from edgekit.models import create
from edgekit.train import checkpoint as checkpoints
from edgekit.train import loop
from edgekit.train.augment import NONE, Augmentation
from edgekit.train.data import PixelSet, for_evaluation, for_training
from edgekit.train.evaluate import predict
from edgekit.train.feed import PixelFeed, seed_of
from edgekit.train.loop import train
from edgekit.train.mixing import mix, soft_targets
from edgekit.train.objective import load_teacher, loss_of, range_penalty
from edgekit.train.optimizer import make_optimizer, set_rates
from edgekit.train.run import move_average, start
from edgekit.train.step import begin_epoch, frozen_blocks, one_step
from edgekit.train.world import World


@pytest.fixture(scope="module")
def images(photos):
    return labelled_folder(photos)


# The loss


def test_distillation_is_hintons_formula():
    generator = torch.Generator().manual_seed(0)
    logits, answers = torch.randn(5, 4, generator=generator), torch.randn(5, 4, generator=generator)
    targets = soft_targets(torch.tensor([0, 1, 2, 3, 0]), 4)
    options = replace(TINY, distill=0.7, temperature=3.0, smoothing=0.0)
    p = np.exp(answers.double().numpy() / 3.0)
    p /= p.sum(1, keepdims=True)
    q = np.exp(logits.double().numpy() / 3.0)
    q /= q.sum(1, keepdims=True)
    apart = (p * np.log(p / q)).sum(1).mean()
    hard = -torch.log_softmax(logits.double(), 1)[torch.arange(5), [0, 1, 2, 3, 0]].mean().item()
    result = loss_of(logits, targets, answers, nn.Identity(), options).item()
    assert result == pytest.approx(0.3 * hard + 0.7 * 9.0 * apart, rel=1e-5)
    assert loss_of(answers, targets, answers, nn.Identity(), replace(options, distill=1.0)).item() == pytest.approx(
        0, abs=1e-6
    )


def test_hard_and_soft_targets_are_the_same_loss():
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([0, 1, 2, 0, 1, 2])
    expected = F.cross_entropy(logits, targets, label_smoothing=0.1)
    result = loss_of(logits, soft_targets(targets, 3), None, nn.Identity(), replace(TINY, smoothing=0.1))
    torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-6)


def test_a_teacher_sees_what_the_student_sees_in_its_own_normalization(tmp_path):
    spec = InputSpec(64, 64, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    path = write(tmp_path / "teacher.pt", spec=spec)
    teacher = load_teacher(str(path), CLASSES, torch.device("cpu"))
    views = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
    with torch.no_grad():
        expected = checkpoints.load(path).network()((views / 255 - mean) / std)
    torch.testing.assert_close(teacher.answers(views), expected, rtol=1e-4, atol=1e-5)
    assert teacher.answers(F.interpolate(views, (32, 32))).shape == (2, 3)


def test_a_teacher_of_other_classes_is_refused(tmp_path):
    path = write(tmp_path / "teacher.pt", labels=("a", "b", "c"))
    with pytest.raises(InputError, match=r"same classes in the same order, got 3 \(a, b, c\) instead of 3 \(blobs"):
        load_teacher(str(path), CLASSES, torch.device("cpu"))


def test_a_student_comes_closer_to_its_teacher(images, tmp_path):
    """With the teacher's answers alone: the labels say nothing, and it still learns them."""
    taught = train(replace(TINY, epochs=12, batch=10), images, out=tmp_path / "teacher.pt").checkpoint
    options = replace(TINY, epochs=16, batch=10, teacher=str(tmp_path / "teacher.pt"), distill=1.0, seed=5)
    lies = replace(images, targets=np.random.default_rng(0).permutation(images.targets))
    student = train(options, lies).checkpoint
    pixels = for_evaluation(images, TINY.spec, progress=False).pixels
    answers = [predict(each.network(), pixels, TINY.spec).argmax(1) for each in (taught, student)]
    assert (answers[0] == answers[1]).float().mean() > 0.6  # chance: 0.33


def test_the_range_penalty_is_the_sum_of_the_largest_weights():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
    network[0].weight.data[:] = torch.tensor([0.5, -2.0]).view(2, 1, 1, 1)
    network[3].weight.data[:] = torch.tensor([[1.0, 0.25], [-0.5, 0.125]])
    assert range_penalty(network).item() == 3.0
    range_penalty(network).backward()
    assert network[0].weight.grad.flatten().tolist() == [0.0, -1.0]


# Blends


def test_mixup_blends_images_and_classes_alike():
    images = torch.stack([torch.full((3, 8, 8), float(value)) for value in range(4)])
    mixed, targets = mix(images, torch.eye(4), Augmentation(mixup=0.5), torch.Generator().manual_seed(3))
    # An image's grey is the mean of the classes' numbers, weighted as its targets are.
    torch.testing.assert_close(mixed[:, 0, 0, 0], targets @ torch.arange(4.0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(targets.sum(1), torch.ones(4))
    assert not torch.equal(targets, torch.eye(4))


@pytest.mark.parametrize("seed", range(8))
def test_cutmix_counts_the_pixels(seed):
    images = torch.stack([torch.full((3, 16, 12), float(value)) for value in range(4)])
    mixed, targets = mix(images, torch.eye(4), Augmentation(cutmix=1.0), torch.Generator().manual_seed(seed))
    shares = torch.stack([(mixed[:, 0] == value).float().mean((1, 2)) for value in range(4)], 1)
    torch.testing.assert_close(shares, targets, rtol=1e-5, atol=1e-5)
    assert torch.equal(images, torch.stack([torch.full((3, 16, 12), float(value)) for value in range(4)]))


def test_without_either_nothing_changes():
    images, targets = torch.rand(2, 3, 4, 4), torch.eye(2)
    assert mix(images, targets, NONE, torch.Generator()) == (images, targets)


# Order


def test_every_step_has_a_seed_of_its_own():
    """An epoch's order is drawn from (seed, epoch), its steps from (seed, epoch, step, rank)."""
    numbers = [(0,), (0, 0), (0, 3), (0, 3, 0), (0, 3, 0, 0), (0, 3, 1, 0), (0, 3, 0, 1), (3, 0)]
    assert len({seed_of(*each) for each in numbers}) == len(numbers)


def test_every_image_comes_once_whatever_the_number_of_processes(images):
    count = 50
    pixels = PixelSet(
        torch.arange(count).view(count, 1, 1, 1).expand(-1, 2, 2, 3).to(torch.uint8),
        torch.arange(count) % 5,
        tuple("abcde"),
    )
    feed, seed = PixelFeed(pixels), seed_of(0, 3)
    alone = [part for part, _ in feed.epoch(seed, 12, 0, World())]
    shared = [[part for part, _ in feed.epoch(seed, 12, 0, World(rank, 3))] for rank in range(3)]
    seen = [int(image[0, 0, 0]) for part in alone for image in part]
    assert len(set(seen)) == 48
    for step, whole in enumerate(alone):
        parts = [shared[rank][step] for rank in range(3)]
        assert [len(part) for part in parts] == [4, 4, 4]
        assert sorted(torch.cat(parts)[:, 0, 0, 0].tolist()) == sorted(whole[:, 0, 0, 0].tolist())
    rest = [part for part, _ in feed.epoch(seed, 12, 2, World())]
    assert all(torch.equal(one, other) for one, other in zip(rest, alone[2:], strict=True))


def test_a_balanced_epoch_has_as_many_of_each_class():
    targets = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
    pixels = PixelSet(torch.zeros(1000, 1, 1, 3, dtype=torch.uint8), targets, tuple("abc"))
    drawn = torch.bincount(targets[PixelFeed(pixels, balanced=True).order(7)])
    # Binomial: a standard deviation of 15.
    assert all(abs(int(count) - 333) < 60 for count in drawn)


def test_fewer_blocks_are_frozen_in_each_epoch():
    options = replace(TINY, freeze=6, unfreeze=3, epochs=5)
    assert [frozen_blocks(options, epoch) for epoch in range(5)] == [6, 4, 2, 0, 0]
    assert [frozen_blocks(replace(options, unfreeze=0), epoch) for epoch in range(2)] == [6, 6]


# Averaged weights


def test_averages_follow_their_formula_and_short_runs_forget_their_beginning():
    """m ← d m + (1 − d) v with d = min(decay, (1 + n) / (10 + n)), in float64 beside it."""
    mean, counter, expected = torch.zeros(1), torch.zeros(1, dtype=torch.int64), 0.0
    for n in range(1, 401):
        value = float(np.sin(n)) + 5.0
        move_average(0.999, torch.tensor(n), [mean], [torch.tensor([value])], None)
        move_average(0.999, torch.tensor(n), [counter], [torch.tensor([n])], None)
        decay = min(0.999, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * value
    assert float(mean) == pytest.approx(expected, rel=1e-5)
    # With 0.999 from the first step two thirds of the zero would be left.
    assert expected > 4.9
    assert int(counter) == 400


def test_a_run_averages_so(images):
    feed = PixelFeed(for_training(images, TINY.spec, TINY.augmentation, progress=False))
    run = start(replace(TINY, ema=0.999), feed, None)
    expected = None
    for n in range(5):
        with torch.no_grad():
            for parameter in run.network.parameters():
                parameter.fill_(float(n))
        run.average.update_parameters(run.network)
        decay = min(0.999, (1 + n) / (10 + n))
        expected = 0.0 if n == 0 else decay * expected + (1 - decay) * n
    for parameter in run.judged.parameters():
        torch.testing.assert_close(parameter, torch.full_like(parameter, expected))


def test_a_run_with_everything_on_is_repeatable_and_goes_on(images, tmp_path, monkeypatch):
    """Averaged weights, teacher, blends, thawing, awareness: resumed, it ends with the same bits."""
    teacher = write(tmp_path / "teacher.pt")
    options = replace(
        TINY,
        epochs=4,
        qat_epochs=1,
        ema=0.9,
        freeze=4,
        unfreeze=2,
        balanced=True,
        teacher=str(teacher),
        range_penalty=1e-4,
        optimizer="sgd",
        lr=0.02,
        head_lr=0.02,
        augmentation=Augmentation(mixup=0.2, cutmix=1.0, randaugment=1),
    )
    whole = train(options, images, images).checkpoint.state
    for stop in (3, 14):
        steps, one_step = 0, loop.one_step

        def step(run, *arguments, stop=stop, one_step=one_step):
            nonlocal steps
            steps += 1
            if steps == stop:
                signal.raise_signal(signal.SIGINT)
            return one_step(run, *arguments)

        out = tmp_path / f"model{stop}.pt"
        with monkeypatch.context() as patch:
            patch.setattr(loop, "one_step", step)
            with pytest.raises(KeyboardInterrupt):
                train(options, images, images, out=out)
        again = train(options, images, images, out=out, resume=True).checkpoint.state
        assert whole.keys() == again.keys()
        assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert all(math.isfinite(float(value.double().sum())) for value in whole.values())


def test_only_kernels_decay_and_the_classifier_has_a_rate_of_its_own():
    network, options = (
        create("mobilenet_v2", classes=3, width=0.25),
        replace(TINY, lr=0.1, head_lr=0.3, weight_decay=0.2),
    )
    named = {id(value): name for name, value in network.named_parameters()}
    modules = dict(network.named_modules())
    optimizer = make_optimizer(network, options)
    set_rates(optimizer, 0.5, 0.5)  # the peak
    found = {}
    for group in optimizer.param_groups:
        for value in group["params"]:
            name = named[id(value)]
            module, kind = name.rsplit(".", 1)
            decays = kind == "weight" and isinstance(modules[module], nn.Conv2d | nn.Linear)
            assert group["weight_decay"] == (0.2 if decays else 0.0), name
            assert group["lr"] == pytest.approx(0.3 if name.startswith("classifier.") else 0.1), name
            found[name] = True
    assert sorted(found) == sorted(named.values())


def test_blocks_are_let_go_the_last_ones_first(images):
    options = replace(TINY, epochs=3, freeze=4, unfreeze=2)
    seen = []

    def remember(run):
        seen.append({name: value.detach().clone() for name, value in run.network.named_parameters()})

    run = start(options, PixelFeed(for_training(images, options.spec, options.augmentation, progress=False)), None)
    set_rates(run.optimizer, 0.5, 0.5)
    remember(run)
    for epoch in range(3):
        begin_epoch(run, epoch)
        pixels, targets = next(iter(run.train_set.epoch(0, 30, 0, run.world)))
        one_step(run, pixels, targets, epoch, 0)
        remember(run)
    changed = [
        {
            int(name.split(".")[1])
            for name in after
            if name.startswith("features.") and not torch.equal(before[name], after[name])
        }
        for before, after in itertools.pairwise(seen)
    ]
    assert changed == [set(range(4, 19)), set(range(2, 19)), set(range(19))]
