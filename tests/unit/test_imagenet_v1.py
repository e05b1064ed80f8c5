"""Batch normalization put back where it was folded away: the same answers, and statistics that hold."""

import torch
from torch import nn
from torch.nn import functional

from benchmarks.imagenet_v1 import unfolded
from edgekit.models import create

CLASSES = 1000


def folded_weights():
    """Convolutions and classifier as `foreign_networks` holds them, of random numbers."""
    torch.manual_seed(0)
    network, folded = create("mobilenet_v1", classes=CLASSES), nn.Module()
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    for number, layer in enumerate(layers):
        weight = torch.randn_like(layer.weight) * (2 / layer.weight[0].numel()) ** 0.5
        folded.register_buffer(f"weight{number}", weight[..., None, None] if weight.ndim == 2 else weight)
        folded.register_buffer(f"bias{number}", torch.randn(len(weight)))
    return folded, [(layer.stride[0], layer.groups) for layer in layers[:-1]]


def test_the_network_answers_as_its_folded_weights_do():
    folded, shapes = folded_weights()
    images = torch.rand(8, 3, 64, 64) * 2 - 1
    network = unfolded(folded, images)
    others = torch.rand(4, 3, 64, 64) * 2 - 1
    values = others
    for number, (stride, groups) in enumerate(shapes):
        weight, bias = folded.get_buffer(f"weight{number}"), folded.get_buffer(f"bias{number}")
        values = functional.conv2d(values, weight, bias, stride, weight.shape[-1] // 2, groups=groups).clamp(0, 6)
    last = len(shapes)
    expected = values.mean((2, 3)) @ folded.get_buffer(f"weight{last}").flatten(1).T + folded.get_buffer(f"bias{last}")
    with torch.inference_mode():
        # Float32 over 28 layers; logits are of the order of 1.
        torch.testing.assert_close(network(others), expected, rtol=1e-3, atol=1e-3)


def test_its_statistics_are_those_of_the_images():
    folded, _ = folded_weights()
    images = torch.rand(8, 3, 64, 64) * 2 - 1
    network = unfolded(folded, images)
    with torch.inference_mode():
        before = network(images)
        # Statistics of the batch instead of those that are kept.
        after = network.train().requires_grad_(False)(images)
    # Dropout, of one in a thousand, is in between.
    assert torch.corrcoef(torch.stack([before.flatten(), after.flatten()]))[0, 1] > 0.999
