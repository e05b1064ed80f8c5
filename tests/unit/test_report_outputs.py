"""What `edgekit report` replaces, keeps and throws away."""

from dataclasses import replace

import pytest
import report_samples as samples
from support.report_files import run_report, write_files

from edgekit.images import FileSet
from edgekit.models import MODELS
from edgekit_quantize.report import make
from edgekit_quantize.report.document import Document


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "colour", samples.ColourNet)
    return write_files(tmp_path)


def test_a_run_leaves_nothing_but_its_files_and_a_second_one_gives_the_same(files):
    assert run_report(files) == 0
    first = {path.name: path.read_bytes() for path in (files / "out").iterdir()}
    assert run_report(files) == 0
    assert {path.name: path.read_bytes() for path in (files / "out").iterdir()} == first
    assert sorted(first) == ["r.html", "r.json", "r.md"]


def _interrupted(files, monkeypatch) -> None:
    """A run that Ctrl-C stops when all answers are there."""

    def stop(*paths):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(make, "write_report", stop)
        assert run_report(files) == 130
    assert [path.name for path in (files / "out").iterdir()] == ["r.html.answers"]


def test_resume_takes_the_answers_that_a_run_left_behind(files, monkeypatch):
    """The second run decodes no image whose answers are known, but the few that it shows."""
    assert run_report(files, out="whole/r.html") == 0
    _interrupted(files, monkeypatch)
    decoded = []
    read = FileSet.image
    monkeypatch.setattr(FileSet, "image", lambda self, index: decoded.append(index) or read(self, index))
    assert run_report(files, "--resume") == 0
    document, whole = (Document.from_json((files / name / "r.json").read_bytes()) for name in ("out", "whole"))
    assert replace(document, command="") == replace(whole, command="")
    assert len(decoded) <= len(document.flips) < 45
    assert not (files / "out/r.html.answers").exists()


def test_without_resume_an_unfinished_run_is_thrown_away_and_it_is_said(files, monkeypatch, capsys):
    _interrupted(files, monkeypatch)
    capsys.readouterr()
    decoded = []
    read = FileSet.image
    monkeypatch.setattr(FileSet, "image", lambda self, index: decoded.append(index) or read(self, index))
    assert run_report(files) == 0
    assert "r.html.answers is thrown away; with --resume" in " ".join(capsys.readouterr().err.split())
    assert len(decoded) >= 45
    assert not (files / "out/r.html.answers").exists()


@pytest.mark.parametrize("more", [[], ["--resume"]])
def test_a_folder_of_the_users_is_never_taken_for_answers(files, capsys, more):
    mine = files / "out/r.html.answers/mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert run_report(files, *more) == 2
    assert "must be free or hold the answers of an unfinished report" in capsys.readouterr().err
    assert [path.name for path in mine.parent.iterdir()] == ["mine.txt"]
    assert mine.read_text() == "mine"


def test_an_output_never_replaces_an_input(files, capsys):
    before = (files / "model.tflite").read_bytes()
    assert run_report(files, out="model.tflite") == 2
    assert "must not be an input" in capsys.readouterr().err
    assert run_report(files, "--json", str(files / "out/r.html")) == 2
    assert (files / "model.tflite").read_bytes() == before


def test_an_output_never_replaces_the_list_of_images(files, capsys):
    listing = files / "labels.csv"
    rows = [f"{path.relative_to(files)},{path.parent.name}" for path in sorted((files / "data").rglob("*.png"))]
    listing.write_text("\n".join(["file,label", *rows]))
    before = listing.read_bytes()
    assert run_report(files, "--json", str(listing), data="labels.csv") == 2
    assert "must not be an input" in capsys.readouterr().err
    assert listing.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "text", "option"),
    [
        ("r.md", "# My project\n", "--markdown"),
        ("r.md", "\u00e9".encode("latin-1"), "--markdown"),
        ("r.json", '{"schema_version": 1}', "--json"),
        ("r.json", "[1, 2]", "--json"),
    ],
)
def test_a_file_beside_the_page_that_is_no_report_is_kept_unless_named(files, capsys, name, text, option):
    (files / "out").mkdir()
    mine = files / "out" / name
    mine.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = mine.read_bytes()
    assert run_report(files) == 2
    assert f"{option}, or choose another --out" in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in (files / "out").iterdir()] == [name]
    assert mine.read_bytes() == before
    assert run_report(files, option, str(mine)) == 0
    assert mine.read_bytes() != before


def test_ctrl_c_leaves_no_file(files, monkeypatch):
    def interrupted(self, index):
        raise KeyboardInterrupt

    monkeypatch.setattr(FileSet, "image", interrupted)
    assert run_report(files) == 130
    assert not list((files / "out").iterdir())
