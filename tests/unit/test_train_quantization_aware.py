"""Training with int8's rounding: what is rounded, by how much, and when; each against its formula."""

from dataclasses import replace

import pytest
import torch
from support.training import TINY

from edgekit.images import labelled_folder
from edgekit.models import create
from edgekit.train.data import for_training
from edgekit.train.feed import PixelFeed
from edgekit.train.quantization_aware import keep_statistics, make_aware, round_activation, round_weight
from edgekit.train.run import start
from edgekit.train.step import begin_epoch


@pytest.fixture(scope="module")
def images(photos):
    return labelled_folder(photos)


def test_weights_are_rounded_per_channel():
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1, 10, 0.1, 0]).view(
        4, 1, 1, 1
    )
    rounded = round_weight(weight)
    scales = weight.abs().amax((1, 2, 3), keepdim=True) / 127
    expected = torch.where(scales > 0, torch.round(weight / scales.clamp(min=1e-30)) * scales, torch.zeros(()))
    torch.testing.assert_close(rounded, expected, rtol=1e-6, atol=1e-8)


def test_activations_are_rounded_to_256_codes_and_zero_is_one_of_them():
    values = torch.randn(4, 5, 6, 6, generator=torch.Generator().manual_seed(0)) * 3 + 1
    rounded = round_activation(values)
    step = (values.max() - min(values.min(), 0)) / 255
    assert (rounded - values).abs().max() <= 0.51 * step + 1e-6
    assert len(rounded.unique()) <= 256
    assert round_activation(torch.zeros(1, 2, 2, 2)).abs().max() == 0


def test_what_a_residual_adds_is_rounded_too():
    """As TFLite does before its ADD."""
    torch.manual_seed(0)
    network = create("mobilenet_v2", classes=3, width=0.25).train()
    make_aware(network)
    found = {}
    for name, block in network.named_modules():
        if getattr(block, "has_residual", False):
            block.conv.register_forward_hook(lambda _m, _i, output, name=name: found.update({name: output}))
    network(torch.randn(8, 3, 64, 64))
    assert len(found) == 11  # at this width the first block has one too
    assert all(len(output.unique()) <= 256 for output in found.values())


def test_awareness_rounds_in_training_only_and_keeps_names_and_statistics():
    network = create("mobilenet_v2", classes=3, width=0.25, stem_stride=1)
    names, views = list(network.state_dict()), torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    network.classifier[0].p = 0.0
    network.eval()
    with torch.no_grad():
        plain = network(views)
    make_aware(network)
    make_aware(network)
    network.train()
    keep_statistics(network)
    with torch.no_grad():
        rounded = network(views)
    assert list(network.state_dict()) == names
    assert 0 < (rounded - plain).abs().max() < 0.5 * plain.std() + 0.1
    assert not torch.equal(rounded, plain)
    with torch.no_grad():
        assert torch.equal(network.eval()(views), plain)


def test_frozen_blocks_round_too_and_keep_their_statistics(images):
    """What follows them learns with what int8 will give it: ReLU6's outputs are multiples of 6/255."""
    options = replace(TINY, epochs=2, qat_epochs=1, freeze=3)
    run = start(options, PixelFeed(for_training(images, options.spec, options.augmentation, progress=False)), None)
    views = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for epoch, is_rounded in ((0, False), (1, True)):
        begin_epoch(run, epoch)
        before = {name: value.clone() for name, value in run.network.features[:3].state_dict().items()}
        with torch.no_grad():
            stem = run.network.features[0](views)
            answers = run.network.features[:3](views)
        codes = stem * 255.0 / 6.0
        assert torch.allclose(codes, codes.round(), atol=1e-3) == is_rounded
        assert (len(answers.unique()) <= 256) == is_rounded
        after = run.network.features[:3].state_dict()
        assert all(torch.equal(value, after[name]) for name, value in before.items())
