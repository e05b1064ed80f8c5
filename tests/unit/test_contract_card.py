"""The card: round trip, strictness at every level."""

import json

import numpy as np
import pytest
from support import tiny_model

from edgekit.card import (
    SCHEMA_VERSION,
    Card,
    GoldenSample,
    InputSpec,
    Measurement,
    OutputSpec,
    Quantization,
    Resize,
)
from edgekit.errors import InputError

LABELS = ("red", "vert", "синий", "日", "e")


def full_card() -> Card:
    return tiny_model.card_for(
        tiny_model.input_spec(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), crop_fraction=0.875),
        measurements=(Measurement("logits SQNR", 31.25, "dB", 100),),
        golden=(GoldenSample("golden/0.png", b"\x80\x7f\x00\x01\x02", b"\x81\x7e\x00\x01\x03"),),
        builtin_bound=3,
        labels=LABELS,
    )


def parse(text: str | bytes) -> Card:
    return Card.from_json(text, LABELS)


def test_round_trip_and_canonical_form():
    card = full_card()
    text = card.to_json()
    assert parse(text) == card
    assert parse(text.encode()) == card
    assert parse(text).to_json() == text
    assert text.endswith("}\n")
    plain = json.loads(text)
    assert list(plain) == sorted(plain)
    assert plain["input"]["resize"] == "area_linear"
    assert plain["golden"][0]["xnnpack"] == "gH8AAQI="


def test_types_come_back():
    card = parse(full_card().to_json())
    assert isinstance(card.input.resize, Resize)
    assert isinstance(card.labels, tuple)
    assert list(np.frombuffer(card.golden[0].xnnpack, np.int8)) == [-128, 127, 0, 1, 2]


PLACES = [
    (),
    ("architecture",),
    ("input",),
    ("input", "quantization"),
    ("output",),
    ("output", "quantization"),
    ("provenance",),
    ("measurements", 0),
    ("golden", 0),
]


def _at(plain, place):
    for key in place:
        plain = plain[key]
    return plain


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)) or "card")
def test_unknown_key_is_refused_at_every_level(place):
    plain = json.loads(full_card().to_json())
    _at(plain, place)["surprise"] = 1
    with pytest.raises(InputError, match="surprise"):
        parse(json.dumps(plain))


@pytest.mark.parametrize("place", PLACES[1:], ids=lambda place: ".".join(map(str, place)))
def test_missing_key_is_named(place):
    plain = json.loads(full_card().to_json())
    level = _at(plain, place)
    required = {"architecture": "name", "input": "height", "output": "classes", "provenance": "seed"}
    key = required.get(place[-1]) or ("scale" if place[-1] == "quantization" else next(iter(level)))
    del level[key]
    with pytest.raises(InputError, match=key):
        parse(json.dumps(plain))


@pytest.mark.parametrize(
    ("place", "key", "value"),
    [
        ((), "labels", list(LABELS)),
        ((), "builtin_bound", 1.5),
        ((), "builtin_bound", True),
        ((), "golden", {}),
        (("input",), "height", "32"),
        (("input",), "height", 0),
        (("input",), "mean", [0.5, 0.5]),
        (("input",), "std", [0.5, 0.0, 0.5]),
        (("input",), "crop_fraction", 0),
        (("input",), "crop_fraction", 1.01),
        (("input",), "resize", "nearest"),
        (("input",), "quantization", 3),
        (("output",), "classes", 4),
        (("provenance",), "tools", []),
        (("provenance",), "tools", {"torch": 2}),
        (("golden", 0), "xnnpack", [1, 2]),
        (("golden", 0), "xnnpack", "gH8AAQI"),
        (("golden", 0), "xnnpack", "gH8A*QI="),
        (("golden", 0), "builtin", "日"),
    ],
)
def test_wrong_values_are_input_errors(place, key, value):
    plain = json.loads(full_card().to_json())
    _at(plain, place)[key] = value
    with pytest.raises(InputError):
        parse(json.dumps(plain))


@pytest.mark.parametrize("text", ["", "[]", "null", "3", "{", '{"schema_version": 3}', b"\xff\xfe\x00", "{}"])
def test_other_texts_are_input_errors(text):
    with pytest.raises(InputError):
        parse(text)


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION - 1, SCHEMA_VERSION + 1, str(SCHEMA_VERSION), None])
def test_another_schema_version_is_refused(version):
    plain = json.loads(full_card().to_json())
    plain["schema_version"] = version
    with pytest.raises(InputError, match="schema_version"):
        parse(json.dumps(plain))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("a",), "one label per class, got 1 labels for 5"),
        (("a", "b", "c", "d\ne", "f"), r"one line of text, got 'd\\ne'"),
        ((1, 2, 3, 4, 5), "labels.0. must be str, got 1"),
    ],
)
def test_labels_are_a_line_for_each_class(labels, expected):
    with pytest.raises(InputError, match=expected):
        Card.from_json(full_card().to_json(), labels)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        (InputSpec, {"height": 0, "width": 8}, "at least 1×1, got 8×0"),
        (InputSpec, {"height": 8, "width": 8, "crop_fraction": 0.0}, r"crop must be in \(0, 1\], got 0"),
        (InputSpec, {"height": 8, "width": 8, "crop_fraction": NAN}, "crop must be in"),
        (InputSpec, {"height": 8, "width": 8, "mean": (0.5, NAN, 0.5)}, "mean must be finite"),
        (InputSpec, {"height": 8, "width": 8, "std": (0.5, -1.0, 0.5)}, "std must be positive"),
        (InputSpec, {"height": 8, "width": 8, "std": (INF, 0.5, 0.5)}, "std must be positive and finite"),
        (OutputSpec, {"classes": 0}, "at least one class, got 0"),
        (Quantization, {"scale": 0.0, "zero_point": 0}, "scale must be positive"),
        (Quantization, {"scale": INF, "zero_point": 0}, "scale must be positive and finite"),
        (Quantization, {"scale": 1.0, "zero_point": 128}, r"in \[-128, 127\], got 128"),
    ],
)
def test_impossible_numbers_are_refused_where_they_arise(kind, values, expected):
    with pytest.raises(InputError, match=expected):
        kind(**values)
