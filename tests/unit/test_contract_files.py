"""Whole or absent."""

import errno
import os
import stat
from pathlib import Path

import pytest

from edgekit.errors import InputError
from edgekit.files import check_writable, sha256, whole_file, write_all, write_whole


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_write_and_replace(tmp_path):
    target = tmp_path / "deep" / "file.txt"
    write_whole(target, "one")
    write_whole(target, b"two")
    assert target.read_bytes() == b"two"
    assert names(target.parent) == ["file.txt"]
    assert sha256(target) == "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_after_an_exception(tmp_path, error):
    target = tmp_path / "file.bin"
    target.write_bytes(b"old")
    with pytest.raises(error), whole_file(target) as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["file.bin"]


def test_suffix_and_permissions(tmp_path):
    target = tmp_path / "clip.mp4"
    with whole_file(target) as temporary:
        assert temporary.suffix == ".mp4"
        assert temporary.parent == tmp_path
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~mask


def test_full_disk_is_said_plainly(tmp_path):
    with pytest.raises(InputError, match="full"), whole_file(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert names(tmp_path) == []


def test_unusable_targets(tmp_path):
    with pytest.raises(InputError, match="folder"):
        check_writable(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="writable"):
        check_writable(tmp_path / "file" / "inside")


def test_the_remedy_names_no_option_that_the_command_may_not_have(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError) as caught:
        check_writable(tmp_path / "file" / "inside")
    assert caught.value.remedy == "Choose another place."


def test_several_files_or_none(tmp_path, monkeypatch):
    first, second = tmp_path / "a.tflite", tmp_path / "b.onnx"
    first.write_bytes(b"old")
    real = Path.write_bytes

    def full(path, data):
        if path.suffix == ".onnx":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, data)

    with monkeypatch.context() as patch, pytest.raises(InputError, match="full"):
        patch.setattr(Path, "write_bytes", full)
        write_all({first: b"new", second: b"new"})
    assert first.read_bytes() == b"old"
    assert names(tmp_path) == ["a.tflite"]
    write_all({first: b"new", second: "text"})
    assert (first.read_bytes(), second.read_bytes()) == (b"new", b"text")
