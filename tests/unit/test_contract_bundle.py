"""The model file: readable by zip tools, reproducible, and robust against every kind of damage."""

import io
import json
import random
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from support import tiny_model

from edgekit import bundle
from edgekit.errors import InputError
from edgekit.files import write_whole
from edgekit.runtime import Network

FUZZ_SEED = 20261122


def test_zip_tail_is_readable_by_the_standard_library(tmp_path):
    path = tmp_path / "model.tflite"
    write_whole(path, tiny_model.sealed())
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == {"edgekit.json", "labels.txt"} | {f"golden/{i}.png" for i in range(3)}
        assert json.loads(archive.read("edgekit.json"))["output"]["classes"] == 5
        assert archive.read("labels.txt").decode().split("\n")[:3] == ["red", "green", "blue"]
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())


def test_interpreter_takes_the_sealed_bytes_as_they_are():
    front = tiny_model.flatbuffer(tiny_model.input_spec())
    codes = np.random.default_rng(1).integers(-128, 128, (32, 32, 3)).astype(np.int8)
    np.testing.assert_array_equal(Network(front).run(codes), Network(tiny_model.sealed()).run(codes))


def test_sealing_is_byte_identical():
    spec = tiny_model.input_spec()
    model = tiny_model.parsed()
    front = tiny_model.flatbuffer(spec)
    once = bundle.seal(front, model.card, model.images)
    assert once == bundle.seal(front, model.card, model.images)
    assert once == tiny_model.sealed()
    assert once.startswith(front)


def test_parse_gives_back_what_was_sealed():
    model = tiny_model.parsed()
    assert model.data == tiny_model.sealed()
    assert set(model.images) == {sample.image for sample in model.card.golden}
    assert all(png.startswith(b"\x89PNG") for png in model.images.values())


def test_write_then_read(tmp_path):
    path = tmp_path / "sub" / "model.tflite"
    write_whole(path, tiny_model.sealed())
    assert bundle.read(path).data == tiny_model.sealed()
    assert [entry.name for entry in path.parent.iterdir()] == ["model.tflite"]


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(InputError, match="readable"):
        bundle.read(tmp_path / "nothing.tflite")
    with pytest.raises(InputError, match="readable"):
        bundle.read(tmp_path)
    for content in (b"", b"abc", b"PK\x03\x04" * 10, b"\x00" * 100):
        with pytest.raises(InputError, match="TFL3"):
            bundle.parse(content)
    with pytest.raises(InputError, match="edgekit convert"):
        bundle.parse(tiny_model.flatbuffer(tiny_model.input_spec()))


def test_altered_network_is_detected():
    data = bytearray(tiny_model.sealed())
    data[200] ^= 1
    with pytest.raises(InputError, match="hash"):
        bundle.parse(bytes(data))


def test_every_truncation_is_an_input_error():
    data = tiny_model.sealed()
    rng = random.Random(FUZZ_SEED)
    for cut in [0, 1, 7, 8, len(data) - 1, len(data) - 22] + [rng.randrange(len(data)) for _ in range(300)]:
        with pytest.raises(InputError):
            bundle.parse(data[:cut])


def test_bit_flips_never_raise_anything_else():
    """Of every damaged file, either the damage is found or nothing that matters was hit."""
    data = tiny_model.sealed()
    good = tiny_model.parsed()
    front = len(tiny_model.flatbuffer(tiny_model.input_spec()))
    rng = random.Random(FUZZ_SEED)
    refused = 0
    for _ in range(1500):
        damaged = bytearray(data)
        for _ in range(rng.choice([1, 1, 2, 8])):
            # The network's bytes are covered by one hash: look rather at the tail, where the structure is.
            position = rng.randrange(front, len(data)) if rng.random() < 0.9 else rng.randrange(front)
            damaged[position] ^= 1 << rng.randrange(8)
        try:
            model = bundle.parse(bytes(damaged))
        except InputError:
            refused += 1
        else:
            assert model.card == good.card
    assert refused > 1000


def test_central_directory_fuzz_never_raises_anything_else():
    data = tiny_model.sealed()
    start = data.index(b"PK\x01\x02")
    rng = random.Random(FUZZ_SEED)
    for _ in range(3000):
        damaged = bytearray(data)
        for _ in range(rng.choice([1, 2, 4])):
            damaged[rng.randrange(start, len(data))] = rng.randrange(256)
        try:
            bundle.parse(bytes(damaged))
        except InputError:
            continue


def with_tail(members):
    """The tiny network with other members behind it."""
    buffer = io.BytesIO()
    buffer.write(tiny_model.flatbuffer(tiny_model.input_spec()))
    with zipfile.ZipFile(buffer, "a") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"edgekit.json": "[1, 2]", "labels.txt": "a\n"}, "schema_version"),
        ({"edgekit.json": "{}"}, "edgekit card"),
        ({"labels.txt": "a\n"}, "edgekit card"),
    ],
)
def test_a_tail_without_a_card(members, expected):
    with pytest.raises(InputError, match=expected):
        bundle.parse(with_tail(members))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (b"red\n", "got 1 labels for 5"),
        (b"a\nb\nc\nd\ne\n\n", "got 6 labels for 5"),
        (b"a\r\nb\r\nc\r\nd\r\ne\r\n", "one line of text, got 'a\\\\r'"),
        (b"\xff\n", "must be UTF-8"),
    ],
)
def test_labels_that_are_not_the_networks(labels, expected):
    with pytest.raises(InputError, match=expected):
        bundle.parse(with_tail({"edgekit.json": tiny_model.parsed().card.to_json(), "labels.txt": labels}))


@pytest.mark.parametrize("names", [("",) * 5, ("red", "vert", "синий", "日", " e\u2028")])
def test_labels_come_back_as_they_were(names):
    card = replace(tiny_model.parsed().card, labels=names, golden=())
    assert bundle.parse(bundle.seal(tiny_model.flatbuffer(card.input), card, {})).card.labels == names
