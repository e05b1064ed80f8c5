"""Weights from other checkpoints: whole, but for the classifier, or narrowed to the strongest channels."""

import re

import pytest
import torch
from support.checkpoints import write
from support.photos import CLASSES

from edgekit.card import Architecture, InputSpec
from edgekit.errors import InputError
from edgekit.models import create
from edgekit.train import checkpoint as checkpoints
from edgekit.train.narrow import narrow
from edgekit.train.weights import load_fitting


@pytest.mark.parametrize("arch", ["mobilenet_v1", "mobilenet_v2"])
def test_narrowing_to_the_same_width_changes_no_answer(arch, tmp_path):
    wide = checkpoints.load(write(tmp_path / "wide.pt", arch))
    network = create(arch, classes=3, width=0.5, stem_stride=1).eval()
    result = narrow(wide.state, arch, network.state_dict())
    network.load_state_dict({**network.state_dict(), **result})
    views = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(network(views), wide.network()(views), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arch", ["mobilenet_v1", "mobilenet_v2"])
def test_narrowing_drops_channels_that_do_nothing_without_changing_an_answer(arch, tmp_path):
    """A wide network made of a narrow one and dead channels at random places: exactly these must go."""
    small = checkpoints.load(write(tmp_path / "small.pt", arch, 0.25))
    like = create(arch, classes=3, width=0.5, stem_stride=1)
    generator = torch.Generator().manual_seed(4)
    wide = {name: torch.zeros_like(value) for name, value in like.state_dict().items()}
    places = {}

    def place(size, found):
        if (size, found) not in places:
            places[size, found] = torch.randperm(size, generator=generator)[:found].sort().values
        return places[size, found]

    for name, value in small.state.items():
        if name.endswith("num_batches_tracked"):
            continue
        if name.endswith("running_var"):
            wide[name].fill_(1.0)
        target = wide[name]
        rows = place(len(target), len(value))
        if value.ndim > 1 and value.shape[1] != target.shape[1]:
            columns = place(target.shape[1], value.shape[1])
            target[rows[:, None], columns] = value
        else:
            target[rows] = value
    network = create(arch, classes=3, width=0.25, stem_stride=1).eval()
    result = narrow(wide, arch, network.state_dict())
    network.load_state_dict({**network.state_dict(), **result})
    views = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(network(views), small.network()(views), rtol=1e-3, atol=1e-4)


def fitting(path, arch="mobilenet_v2", width=0.25, labels=CLASSES, spec=None):
    network = create(arch, classes=len(labels), width=width, stem_stride=1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    said = load_fitting(network, Architecture(arch, width), spec or InputSpec(32, 32), labels, str(path))
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    return network, said, changed


def test_weights_of_the_same_classes_are_taken_whole(tmp_path):
    path = write(tmp_path / "a.pt", width=0.25)
    network, said, _ = fitting(path)
    views = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(views), checkpoints.load(path).network()(views))
    assert "not taken" not in said


def test_weights_of_other_classes_are_taken_but_for_the_classifier(tmp_path):
    _, said, changed = fitting(write(tmp_path / "a.pt", width=0.25, labels=("x", "y", "z")))
    assert said.endswith("not taken: classifier.1")
    assert changed and not any(name.startswith("classifier") for name in changed)


def test_weights_of_a_wider_network_are_narrowed(tmp_path):
    _, said, changed = fitting(write(tmp_path / "a.pt", width=0.5))
    assert "strongest channels of width 0.5 (smaller steps" in said
    assert len(changed) > 200
    _, said, _ = fitting(write(tmp_path / "b.pt", width=0.3))
    assert "strongest channels of width 0.3" in said
    assert "smaller steps" not in said


def test_of_another_architecture_the_first_layer_is_taken(tmp_path):
    path = write(tmp_path / "a.pt", "mobilenet_v1", 0.25)
    network, said, changed = fitting(path)
    assert re.match(r"5 of \d+ tensors from .*a\.pt, which is mobilenet_v1; not taken: .*features\.1, ", said)
    assert changed and all(name.startswith("features.0.") for name in changed)
    views = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        expected = checkpoints.load(path).network().features[0](views)
        torch.testing.assert_close(network.eval().features[0](views), expected)


@pytest.mark.parametrize(("width", "own"), [(1.0, 0.25), (1.25, 1.0)])
def test_weights_of_which_nothing_fits_are_refused(tmp_path, width, own):
    """Nor is what happens to have a name and a shape of ours taken: V1's classifier at 1.25 is as wide as V2's."""
    path = write(tmp_path / "a.pt", "mobilenet_v1", width)
    said = rf"must fit mobilenet_v2 at width {own:g}, got .*a\.pt, which is mobilenet_v1 at width {width:g}\."
    with pytest.raises(InputError, match=said):
        fitting(path, width=own)


def test_a_narrower_networks_weights_are_taken_where_they_fit(tmp_path):
    """The first layers of widths 0.25 and 0.3 have the same channels."""
    network, said, changed = fitting(write(tmp_path / "a.pt", width=0.25), width=0.3)
    assert "not taken: " in said
    assert 0 < len(changed) < len(network.state_dict())
