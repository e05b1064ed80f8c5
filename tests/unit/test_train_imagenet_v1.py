"""Batch normalization put back where it was folded away: the same answers, and statistics that hold."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgekit.card import InputSpec
from edgekit.images import labelled_folder
from edgekit.models import create
from edgekit.preprocess import crop_and_resize, normalize, read_image
from edgekit.train import imagenet_v1
from edgekit.train.fetch import cached
from edgekit.train.imagenet_v1 import fill_with
from edgekit.train.loop import train
from edgekit.train.options import Options
from edgekit.train.weights import imagenet_labels

CLASSES = 1000


def folded_weights():
    """Convolutions and classifier as TensorFlow's file holds them, of random numbers; and strides and groups."""
    torch.manual_seed(0)
    layers = [
        module
        for module in create("mobilenet_v1", classes=CLASSES).modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    folded = []
    for layer in layers:
        weight = torch.randn_like(layer.weight) * (2 / layer.weight[0].numel()) ** 0.5
        folded.append((weight[..., None, None] if weight.ndim == 2 else weight, torch.randn(len(weight))))
    return folded, [(layer.stride[0], layer.groups) for layer in layers[:-1]]


def unfolded(folded, images, classes=CLASSES):
    network = create("mobilenet_v1", classes=classes)
    fill_with(network, folded, images)
    return network


def test_the_network_answers_as_its_folded_weights_do():
    folded, shapes = folded_weights()
    images = torch.rand(8, 3, 64, 64) * 2 - 1
    network = unfolded(folded, images)
    others = torch.rand(4, 3, 64, 64) * 2 - 1
    values = others
    for (weight, bias), (stride, groups) in zip(folded, shapes, strict=False):
        values = functional.conv2d(values, weight, bias, stride, weight.shape[-1] // 2, groups=groups).clamp(0, 6)
    expected = values.mean((2, 3)) @ folded[-1][0].flatten(1).T + folded[-1][1]
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


def test_another_number_of_classes_keeps_its_own_classifier():
    (folded, _), images = folded_weights(), torch.rand(2, 3, 32, 32)
    torch.manual_seed(1)
    expected = create("mobilenet_v1", classes=3).classifier[1].weight
    torch.manual_seed(1)
    network = unfolded(folded, images, classes=3)
    assert torch.equal(network.classifier[1].weight, expected)
    assert torch.equal(network.features[0][0].weight, folded[0][0])


def test_training_begins_with_them_and_with_statistics_of_its_own_images(photos, monkeypatch):
    folded, _ = folded_weights()
    monkeypatch.setattr(imagenet_v1, "folded_layers", lambda: folded)
    images = labelled_folder(photos)
    options = Options(arch="mobilenet_v1", size=32, weights="imagenet", epochs=1, lr=1e-9, head_lr=1e-9, batch=30)
    state = train(options, images).checkpoint.state
    torch.testing.assert_close(state["features.0.0.weight"], folded[0][0], rtol=0, atol=1e-6)
    # Of the first convolution's answers to photos of this set, by hand; steps move them by what batches differ.
    pixels = np.stack([crop_and_resize(images.image(index), options.spec) for index in range(120)])
    values = torch.from_numpy(normalize(pixels, options.spec)).permute(0, 3, 1, 2)
    answers = functional.conv2d(values, folded[0][0], None, 2, 1)
    mean, spread = answers.mean((0, 2, 3)), answers.std((0, 2, 3))
    assert ((state["features.0.1.running_mean"] - mean).abs() < 0.2 * spread).all()
    again = train(options, images).checkpoint.state
    assert all(torch.equal(again[name], value) for name, value in state.items())


@pytest.mark.data
@pytest.mark.skipif(cached(imagenet_v1.ARTEFACT) is None, reason="the weights are not in the cache; see make test-data")
def test_the_real_weights_answer_as_the_file_does():
    """The file under LiteRT: what differs is padding."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(cached(imagenet_v1.ARTEFACT)))
    interpreter.allocate_tensors()
    before, after = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    cbook = pytest.importorskip("matplotlib.cbook")
    spec = InputSpec(224, 224)
    photo = crop_and_resize(read_image(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)), spec)
    image = normalize(photo[None], spec)
    interpreter.set_tensor(before, image)
    interpreter.invoke()
    expected = interpreter.get_tensor(after)[0, 1:]
    network = create("mobilenet_v1", classes=CLASSES)
    values = torch.from_numpy(image).permute(0, 3, 1, 2)
    imagenet_v1.fill(network, values)
    with torch.inference_mode():
        found = network(values).softmax(1)[0].numpy()
    labels = imagenet_labels()
    for answer in (expected, found):
        assert [labels[index] for index in answer.argsort()[:-3:-1]] == ["bow tie", "military uniform"]
    # Of 1,000 probabilities; 0.99 was measured.
    assert np.corrcoef(expected, found)[0, 1] > 0.95


@pytest.mark.parametrize(("side", "expected"), [(96, 128), (224, 128), (256, 98), (512, 24), (1024, 16)])
def test_larger_images_give_the_statistics_by_fewer(side, expected):
    """All of them are in memory at once, with what the first layers make of them."""
    assert imagenet_v1.most_images(side) == expected
