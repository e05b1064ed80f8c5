"""Checkpoint files: what they keep, and what is refused without being executed."""

import os
import pickle
import zipfile

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
    """torch writes to a path whose every write fails with ENOSPC."""
    from edgekit.train import checkpoint as module

    real_save = torch.save
    monkeypatch.setattr(module.torch, "save", lambda content, _path: real_save(content, "/dev/full"))
    with pytest.raises(InputError, match="is full"):
        save(tmp_path / "model.pt", checkpoint)
    assert list(tmp_path.iterdir()) == []
