"""The two networks, counted and probed."""

import copy
import itertools

import pytest
import torch
from torch import nn

from edgekit.errors import InputError
from edgekit.models import create
from edgekit.models.layers import ConvBNReLU6, folded
from edgekit.models.mobilenet_v1 import MobileNetV1
from edgekit.models.mobilenet_v2 import InvertedResidual, MobileNetV2, round_channels


def parameters(network):
    return sum(value.numel() for value in network.parameters())


def multiply_adds(network, size):
    """MACs of convolutions and linear layers for one image, counted by hooks."""
    total = 0

    def count(module, _inputs, output):
        nonlocal total
        if isinstance(module, nn.Conv2d):
            fan_in = module.in_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
            total += fan_in * output.numel()
        elif isinstance(module, nn.Linear):
            total += module.in_features * module.out_features

    for module in network.modules():
        module.register_forward_hook(count)
    with torch.inference_mode():
        network.eval()(torch.zeros(1, 3, size, size))
    return total


@pytest.mark.parametrize(
    ("name", "expected", "mega_macs"), [("mobilenet_v1", 4_231_976, 569), ("mobilenet_v2", 3_504_872, 301)]
)
def test_published_parameter_and_mac_counts(name, expected, mega_macs):
    network = create(name, classes=1000)
    assert parameters(network) == expected
    assert round(multiply_adds(network, 224) / 1e6) == mega_macs


@pytest.mark.parametrize(("stride", "inputs", "outputs"), list(itertools.product((1, 2), (8, 16, 24), (8, 16, 24))))
@pytest.mark.parametrize("expansion", [1, 6])
def test_residual_only_where_stride_is_one_and_channels_match(stride, inputs, outputs, expansion):
    """By behaviour: with a projection that gives zero, only the skip connection is left."""
    block = InvertedResidual(inputs, outputs, stride, expansion).eval()
    nn.init.zeros_(block.conv[-1].weight)
    images = torch.randn(2, inputs, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        result = block(images)
    assert result.shape == (2, outputs, 8 // stride, 8 // stride)
    if stride == 1 and inputs == outputs:
        assert torch.equal(result, images)
    else:
        assert not result.any()


def test_no_expansion_at_ratio_one():
    plain, expanded = InvertedResidual(16, 16, 1, 1), InvertedResidual(16, 16, 1, 6)
    assert [module.out_channels for module in plain.modules() if isinstance(module, nn.Conv2d)] == [16, 16]
    assert [module.out_channels for module in expanded.modules() if isinstance(module, nn.Conv2d)] == [96, 96, 16]


def test_projection_is_linear_and_everything_else_ends_in_relu6():
    network = MobileNetV2()
    blocks = [module for module in network.modules() if isinstance(module, InvertedResidual)]
    assert len(blocks) == 17
    for block in blocks:
        *activated, projection, norm = block.conv
        assert isinstance(projection, nn.Conv2d)
        assert projection.kernel_size == (1, 1)
        assert isinstance(norm, nn.BatchNorm2d)
        assert all(isinstance(layer, ConvBNReLU6) for layer in activated)
    convolutions = sum(isinstance(module, nn.Conv2d) for module in network.modules())
    activations = [module for module in network.modules() if isinstance(module, nn.ReLU6)]
    assert len(activations) == convolutions - len(blocks)
    assert not [module for module in network.modules() if type(module) in (nn.ReLU, nn.SiLU, nn.Hardswish)]


def test_projection_can_give_negative_values_and_the_last_layer_cannot():
    network = MobileNetV2(classes=3, width=0.35).eval()
    images = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        projected = network.features[:-1](images)
        last = network.features(images)
    assert projected.min() < 0
    assert last.min() >= 0
    assert last.max() <= 6


def test_every_v1_convolution_is_followed_by_normalization_and_relu6():
    network = MobileNetV1(classes=2, width=0.25)
    kinds = [type(module) for module in network.features.modules() if not list(module.children())]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU6] * 27
    depthwise = [module for module in network.modules() if isinstance(module, nn.Conv2d) and module.groups > 1]
    assert len(depthwise) == 13
    assert all(module.groups == module.in_channels == module.out_channels for module in depthwise)


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
@pytest.mark.parametrize("width", [0.25, 0.35, 1.4])
@pytest.mark.parametrize(("size", "stem_stride"), [(32, 1), (64, 2), (96, 2)])
def test_shapes_over_widths_and_resolutions(name, width, size, stem_stride):
    network = create(name, classes=7, width=width, stem_stride=stem_stride).eval()
    with torch.inference_mode():
        images = torch.zeros(2, 3, size, size)
        features = network.features(images)
        assert network(images).shape == (2, 7)
    assert features.shape[2:] == (size // (16 * stem_stride),) * 2


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_a_step_of_training_changes_every_parameter_and_lowers_the_loss(name):
    torch.manual_seed(0)
    network = create(name, classes=2, width=0.25, stem_stride=1).train()
    before = {key: value.clone() for key, value in network.named_parameters()}
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    images, targets = torch.randn(8, 3, 32, 32), torch.tensor([0, 1] * 4)
    losses = []
    for _ in range(4):
        loss = nn.functional.cross_entropy(network(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    unchanged = [key for key, value in network.named_parameters() if torch.equal(value, before[key])]
    assert not unchanged


def test_state_dict_keys_follow_torchvisions_pattern():
    """Written out from torchvision's naming: features.N.conv.M, an inner (conv, bn) pair per ConvBNReLU6."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

    def pair(prefix, conv, bn):
        return [f"{prefix}{conv}.weight", *(f"{prefix}{bn}.{name}" for name in norm)]

    expected = pair("features.0.", 0, 1)
    expected += pair("features.1.conv.0.", 0, 1) + pair("features.1.conv.", 1, 2)
    for index in range(2, 18):
        prefix = f"features.{index}.conv."
        expected += pair(f"{prefix}0.", 0, 1) + pair(f"{prefix}1.", 0, 1) + pair(prefix, 2, 3)
    expected += [*pair("features.18.", 0, 1), "classifier.1.weight", "classifier.1.bias"]
    assert list(MobileNetV2().state_dict()) == expected


def test_state_dict_keys_of_v1_number_the_layers_of_a_block():
    keys = list(MobileNetV1().state_dict())
    weights = [f"features.{block}.{index}.weight" for block in range(1, 14) for index in (0, 1, 3, 4)]
    expected = ["features.0.0.weight", "features.0.1.weight", *weights, "classifier.1.weight"]
    assert [key for key in keys if key.endswith("weight")] == expected


@pytest.mark.parametrize(
    ("channels", "expected"), [(32 * 0.35, 16), (24 * 0.35, 8), (16 * 1.4, 24), (96 * 0.75, 72), (3, 8)]
)
def test_channels_round_as_in_the_papers_code(channels, expected):
    assert round_channels(channels) == expected


def test_channels_never_lose_more_than_a_tenth():
    assert all(round_channels(value / 10) >= 0.9 * value / 10 for value in range(1, 5000))


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "resnet"},
        {"name": "mobilenet_v2", "classes": 0},
        {"name": "mobilenet_v2", "width": 0.0},
        {"name": "mobilenet_v1", "stem_stride": 3},
    ],
)
def test_impossible_networks_are_refused(arguments):
    with pytest.raises(InputError, match="must be"):
        create(**{"classes": 2, **arguments})


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_folding_keeps_the_answers(name):
    torch.manual_seed(4)
    network = create(name, classes=3, width=0.25)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean, module.running_var):
                nn.init.uniform_(values, 0.5, 1.5)
    images, network = torch.randn(4, 3, 64, 64), network.eval()
    with torch.no_grad():
        expected, found = network(images), folded(copy.deepcopy(network))
        torch.testing.assert_close(found(images), expected, rtol=1e-4, atol=1e-4)
    assert expected.abs().max() > 0.01
    assert not any(isinstance(module, nn.BatchNorm2d) for module in found.modules())
