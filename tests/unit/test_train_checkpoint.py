"""Checkpoint files: what they keep, and what is refused without being executed."""

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from edgekit.card import Architecture, InputSpec
from edgekit.errors import InputError
from edgekit.models import create
from edgekit.train.checkpoint import FORMAT, Checkpoint, load, save


@pytest.fixture
def checkpoint():
    torch.manual_seed(0)
    network = create("mobilenet_v1", classes=2, width=0.25, stem_stride=1)
    return Checkpoint(
        Architecture("mobilenet_v1", 0.25), InputSpec(64, 64), ("cat", "dog"), network.state_dict(), stem_stride=1
    )


def test_round_trip(checkpoint, tmp_path):
    path = tmp_path / "model.pt"
    save(path, checkpoint)
    loaded = load(path)
    assert (loaded.architecture, loaded.input, loaded.labels) == (
        checkpoint.architecture,
        checkpoint.input,
        checkpoint.labels,
    )
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(loaded.network()(images), checkpoint.network()(images))
    assert not loaded.network().training


class Payload:
    """Unpickling it would make a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_code_in_a_checkpoint_is_refused_and_never_runs(tmp_path):
    target = tmp_path / "made-by-the-payload"
    path = tmp_path / "evil.pt"
    torch.save({"format": FORMAT, "state": Payload(target)}, path)
    with pytest.raises(InputError, match="pickle with code in it; it was not executed"):
        load(path)
    assert not target.exists()
    torch.load(path, weights_only=False)
    assert target.exists(), "the payload would have worked"


def test_a_plain_pickle_is_refused_and_never_runs(tmp_path):
    target = tmp_path / "made-by-the-payload"
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps(Payload(target)))
    with pytest.raises(InputError, match="must be an edgekit checkpoint"):
        load(path)
    assert not target.exists()


def test_other_files_are_refused(checkpoint, tmp_path):
    whole = tmp_path / "whole.pt"
    save(whole, checkpoint)
    data = whole.read_bytes()
    (tmp_path / "truncated.pt").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "foreign.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"format": FORMAT}, tmp_path / "bare.pt")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "hello")
    for name in ("truncated.pt", "empty.pt", "foreign.pt", "list.pt", "bare.pt", "other.zip"):
        with pytest.raises(InputError, match=r"must be an edgekit checkpoint, got .*edgekit train"):
            load(tmp_path / name)
    with pytest.raises(InputError, match="got nothing there"):
        load(tmp_path / "none.pt")
    with pytest.raises(InputError, match="got a folder"):
        load(tmp_path)


def test_a_flipped_byte_is_noticed(checkpoint, tmp_path):
    path = tmp_path / "model.pt"
    save(path, checkpoint)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(InputError, match="must be an edgekit checkpoint, got a damaged file"):
        load(path)


def test_weights_of_another_architecture_are_refused(checkpoint, tmp_path):
    from dataclasses import replace

    wrong = replace(checkpoint, architecture=Architecture("mobilenet_v2", 0.25))
    with pytest.raises(InputError, match="weights must fit mobilenet_v2"):
        wrong.network()


def test_a_folder_that_cannot_be_written(checkpoint, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="must be writable"):
        save(tmp_path / "file" / "model.pt", checkpoint)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_full_disk_is_said_and_nothing_is_left(checkpoint, tmp_path, monkeypatch):
    """Every write fails with ENOSPC."""
    write = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", lambda _path, data: write(Path("/dev/full"), data))
    with pytest.raises(InputError, match="is full"):
        save(tmp_path / "model.pt", checkpoint)
    assert list(tmp_path.iterdir()) == []


def test_the_same_checkpoint_is_the_same_bytes_whatever_its_name(checkpoint, tmp_path):
    save(tmp_path / "one.pt", checkpoint)
    save(tmp_path / "another.pt", checkpoint)
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "another.pt").read_bytes()


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("state", [1, 2], "state must be an object, got list"),
        ("state", {"features.0.0.weight": 3}, "state must hold named tensors only, got 'features.0.0.weight': int"),
        ("state", {1: torch.zeros(2)}, "state must hold named tensors only, got 1"),
        ("labels", 3, "labels must be a list, got 3"),
        ("labels", "ab", "labels must be a list"),
        ("stem_stride", "x", "stem_stride must be int, got 'x'"),
        ("stem_stride", None, "stem_stride must be int"),
        ("input", {"height": 64, "width": 64, "std": [0.5, 0.0, 0.5]}, "std must be positive"),
        ("architecture", 3, "architecture must be an object"),
    ],
)
def test_malformed_content_is_an_input_error(checkpoint, tmp_path, key, value, expected):
    path = tmp_path / "model.pt"
    save(path, checkpoint)
    content = torch.load(path, weights_only=True)
    torch.save(content | {key: value}, path)
    with pytest.raises(InputError, match=f"model.pt must be an edgekit checkpoint, got one with a fault: .*{expected}"):
        load(path)


def test_weights_that_torch_stumbles_over_are_an_input_error(checkpoint, monkeypatch):
    def stumble(*_arguments, **_options):
        raise AttributeError("no shape")

    monkeypatch.setattr(torch.nn.Module, "load_state_dict", stumble)
    with pytest.raises(InputError, match="weights must fit mobilenet_v1, got: no shape"):
        checkpoint.network()


def test_other_archives_and_models_are_named_for_what_they_are(tmp_path):
    """A converted model has a zip tail: no reason to speak of code in it."""
    other, model = tmp_path / "other.pt", tmp_path / "model.tflite"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("a.txt", "hello")
    model.write_bytes(b"\x1c\0\0\0TFL3" + bytes(8) + other.read_bytes())
    with pytest.raises(InputError, match=r"must be an edgekit checkpoint, got another file\."):
        load(other)
    with pytest.raises(InputError, match=r"got a \.tflite model: it is already converted"):
        load(model)
