"""Truth files."""

import pytest

from edgekit.errors import InputError
from edgekit_deploy.truth import Truth

LABELS = ("cat", "dog", "élan")


def test_read_and_look_up(tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text("frame,label\n5,dog\n\n12,cat\n13,élan\n", encoding="utf-8")
    truth = Truth.read(path, LABELS)
    assert truth == Truth((5, 12, 13), (1, 0, 2))
    assert [truth.at(frame) for frame in (0, 4, 5, 11, 12, 13, 10**9)] == [None, None, 1, 1, 0, 2, 2]


def test_the_mark_that_spreadsheets_put_in_front_is_no_harm(tmp_path):
    (tmp_path / "truth.csv").write_bytes(b"\xef\xbb\xbfframe,label\r\n0,cat\r\n")
    assert Truth.read(tmp_path / "truth.csv", LABELS) == Truth((0,), (0,))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "header"),
        ("frame,label\n", "at least one row"),
        ("0,cat\n", "header"),
        ("frame,label\n0,horse\n", "horse"),
        ("frame,label\nx,cat\n", "frame number"),
        ("frame,label\n-1,cat\n", "frame number"),
        ("frame,label\n1\n", "frame number"),
        ("frame,label\n5,cat\n5,dog\n", "rise"),
        ("frame,label\n5,cat\n4,dog\n", "rise"),
    ],
)
def test_bad_files_say_what_is_wrong(tmp_path, text, word):
    path = tmp_path / "truth.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=word):
        Truth.read(path, LABELS)


def test_unreadable_files(tmp_path):
    with pytest.raises(InputError, match="readable"):
        Truth.read(tmp_path / "nothing.csv", LABELS)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="readable"):
        Truth.read(tmp_path / "binary.csv", LABELS)
