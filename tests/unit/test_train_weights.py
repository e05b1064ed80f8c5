"""ImageNet weights: the tests that need the real file run where it is in the cache."""

import numpy as np
import pytest
import torch

from edgekit.card import Architecture, InputSpec
from edgekit.errors import InputError
from edgekit.models import create
from edgekit.preprocess import crop_and_resize, normalize, read_image
from edgekit.train import weights
from edgekit.train.fetch import cached

real = pytest.mark.skipif(
    cached(weights.ARTEFACT) is None, reason="the ImageNet weights are not in the cache; edgekit demo fetches them"
)


@pytest.mark.data
@real
def test_the_official_file_loads_strictly():
    state = weights.imagenet_state()
    network = create("mobilenet_v2", classes=1000)
    assert list(state) == list(network.state_dict())
    network.load_state_dict(state, strict=True)


@pytest.mark.data
@real
def test_a_real_photo_is_classified_right():
    """Grace Hopper in uniform, from matplotlib's sample data; the whole height of the photo."""
    cbook = pytest.importorskip("matplotlib.cbook")
    checkpoint = weights.imagenet_checkpoint()
    spec = InputSpec(224, 224, weights.MEAN, weights.STD)
    photo = read_image(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    images = torch.from_numpy(normalize(crop_and_resize(photo, spec), spec)[None]).permute(0, 3, 1, 2)
    with torch.inference_mode():
        answer = checkpoint.network()(images).argmax(1).item()
    assert checkpoint.labels[answer] == "military uniform"


@pytest.mark.data
@real
def test_fine_tuning_starts_from_everything_but_the_classifier():
    network = create("mobilenet_v2", classes=5)
    head = network.classifier[1].weight.clone()
    weights.load_imagenet(network, "mobilenet_v2", InputSpec(96, 96), torch.empty)
    official = weights.imagenet_state()
    assert torch.equal(network.classifier[1].weight, head)
    assert torch.equal(network.features[18][0].weight, official["features.18.0.weight"])


def test_labels_are_the_thousand_classes_in_order():
    labels = weights.imagenet_labels()
    assert len(labels) == 1000
    assert labels[0] == "tench"
    assert labels[281] == "tabby cat"
    assert labels[652] == "military uniform"


@pytest.mark.parametrize("architecture", [Architecture("mobilenet_v1", 0.5), Architecture("mobilenet_v2", 0.35)])
def test_there_are_no_weights_for_other_networks(architecture):
    with pytest.raises(InputError, match=r"for mobilenet_v1 and mobilenet_v2 at width 1\.0, got .*--weights none"):
        weights.check_available(architecture)


def test_another_normalization_gives_the_same_features_inside_the_border():
    torch.manual_seed(0)
    spec = InputSpec(32, 32)
    stem = create("mobilenet_v2", classes=2, width=0.25).features[0].eval()
    stem[1].running_mean.uniform_(-1, 1)
    stem[1].running_var.uniform_(0.5, 2)
    adapted = {f"features.0.{name}": value.clone() for name, value in stem.state_dict().items()}
    weights.adapt_normalization(adapted, InputSpec(32, 32, weights.MEAN, weights.STD), spec)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    with torch.inference_mode():
        expected = stem(_input(pixels, InputSpec(32, 32, weights.MEAN, weights.STD)))
        stem.load_state_dict({name.removeprefix("features.0."): value for name, value in adapted.items()})
        result = stem(_input(pixels, spec))
    torch.testing.assert_close(result[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], rtol=0, atol=1e-5)
    assert expected[..., 1:-1, 1:-1].std() > 0.1


def _input(pixels, spec):
    return torch.from_numpy(normalize(pixels, spec)[None]).permute(0, 3, 1, 2)
