"""What `edgekit report` writes and says: the HTML page, the JSON file, exit codes, errors."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import report_samples as samples
import torch

from edgekit import cli
from edgekit.bundle import seal
from edgekit.files import sha256
from edgekit.images import FileSet
from edgekit.models import MODELS
from edgekit.train.checkpoint import save
from edgekit_quantize.report import labels, make, verdict
from edgekit_quantize.report.document import Document


@pytest.fixture(autouse=True)
def colour_net(monkeypatch):
    monkeypatch.setitem(MODELS, "colour", samples.ColourNet)


@pytest.fixture
def files(tmp_path):
    """model.tflite, model.pt and data/<class>/*.png."""
    save(tmp_path / "model.pt", samples.make_checkpoint())
    bundle = samples.make_bundle(reference=sha256(tmp_path / "model.pt"))
    (tmp_path / "model.tflite").write_bytes(bundle.data)
    samples.write_folder(tmp_path / "data", samples.colour_images(45, seed=4))
    return tmp_path


def _run(files: Path, *more: str, model="model.tflite", reference="model.pt", data="data", out="out/r.html") -> int:
    paths = [str(files / model), "--reference", str(files / reference), "--data", str(files / data)]
    # The colour network is known in this process alone; --quick leaves out what needs another.
    return cli.run(["report", *paths, "--out", str(files / out), "--quick", "--processes", "1", *more])


def test_the_command_writes_both_files_and_prints_the_verdict(files, capsys):
    assert _run(files, "--max-drop", "50", "--min-agreement", "50") == 0
    document = Document.from_json((files / "out/r.json").read_bytes())
    assert document.data.images == 45
    assert document.model.reference_sha256 == sha256(files / "model.pt")
    printed = " ".join(capsys.readouterr().out.split())
    assert verdict.headline(document) in printed
    assert "gate 50 points: passed" in printed
    assert sorted(path.name for path in (files / "out").iterdir()) == ["r.html", "r.json", "r.md"]


def test_a_failed_gate_exits_1_and_the_files_are_there(files, capsys):
    assert _run(files, "--max-drop", "-50", "--json", str(files / "other.json")) == 1
    assert (files / "out/r.html").is_file()
    assert (files / "other.json").is_file()
    assert "must be at most -50 points" in capsys.readouterr().err


def test_the_command_line_stands_in_the_report_as_it_was_typed(files):
    assert _run(files, "--max-drop", "50") == 0
    document = Document.from_json((files / "out/r.json").read_bytes())
    assert document.command.startswith(f"edgekit report {files / 'model.tflite'} --reference ")
    assert document.command.endswith("--processes 1 --max-drop 50")


def test_a_run_leaves_nothing_but_its_files_and_a_second_one_gives_the_same(files):
    assert _run(files) == 0
    first = {path.name: path.read_bytes() for path in (files / "out").iterdir()}
    assert _run(files) == 0
    assert {path.name: path.read_bytes() for path in (files / "out").iterdir()} == first
    assert sorted(first) == ["r.html", "r.json", "r.md"]


def _interrupted(files, monkeypatch) -> None:
    """A run that Ctrl-C stops when all answers are there."""

    def stop(*paths):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(make, "write_report", stop)
        assert _run(files) == 130
    assert [path.name for path in (files / "out").iterdir()] == ["r.html.answers"]


def test_resume_takes_the_answers_that_a_run_left_behind(files, monkeypatch):
    """The second run decodes no image whose answers are known, but the few that it shows."""
    assert _run(files, out="whole/r.html") == 0
    _interrupted(files, monkeypatch)
    decoded = []
    read = FileSet.image
    monkeypatch.setattr(FileSet, "image", lambda self, index: decoded.append(index) or read(self, index))
    assert _run(files, "--resume") == 0
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
    assert _run(files) == 0
    assert "r.html.answers is thrown away; with --resume" in " ".join(capsys.readouterr().err.split())
    assert len(decoded) >= 45
    assert not (files / "out/r.html.answers").exists()


@pytest.mark.parametrize("more", [[], ["--resume"]])
def test_a_folder_of_the_users_is_never_taken_for_answers(files, capsys, more):
    mine = files / "out/r.html.answers/mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert _run(files, *more) == 2
    assert "must be free or hold the answers of an unfinished report" in capsys.readouterr().err
    assert [path.name for path in mine.parent.iterdir()] == ["mine.txt"]
    assert mine.read_text() == "mine"


def test_a_worse_model_fails_against_the_baseline(files, capsys):
    samples.write_folder(files / "many", samples.colour_images(300, seed=6, noise=15))
    assert _run(files, data="many", out="old/r.html") == 0
    weights = samples.WEIGHTS.copy()
    weights[1] = -weights[1]
    worse = samples.make_bundle(weights, reference=sha256(files / "model.pt"))
    (files / "worse.tflite").write_bytes(worse.data)
    baseline = ["--baseline", str(files / "old/r.json")]
    assert _run(files, *baseline, data="many") == 0
    capsys.readouterr()
    assert _run(files, *baseline, data="many", model="worse.tflite") == 1
    captured = capsys.readouterr()
    assert "Nothing must be worse than in the baseline, got top-1: " in captured.err
    assert "Collapsed: green" in captured.out
    samples.write_folder(files / "others", samples.colour_images(300, seed=7))
    for data, message in (("data", "got 300 there"), ("others", "cropped alike, got others")):
        assert _run(files, *baseline, data=data, out="new/r.html") == 2
        assert message in " ".join(capsys.readouterr().err.split())
        assert not (files / "new").exists() or not list((files / "new").iterdir())


def test_too_few_images_for_the_baseline_are_refused_before_any_is_decoded(files, monkeypatch, capsys):
    assert _run(files, out="old/r.html") == 0
    next((files / "data").rglob("*.png")).unlink()
    monkeypatch.setattr(FileSet, "image", lambda self, index: pytest.fail("decoded"))
    assert _run(files, "--baseline", str(files / "old/r.json")) == 2
    assert "got 45 there" in capsys.readouterr().err


def test_a_baseline_fits_when_its_unreadable_images_are_gone(files):
    samples.write_folder(files / "data", samples.colour_images(150, seed=4))
    broken = files / "data" / "red" / "broken.png"
    broken.write_bytes(b"broken")
    assert _run(files, out="old/r.html") == 0
    broken.unlink()
    assert _run(files, "--baseline", str(files / "old/r.json")) == 0


def test_other_files_and_tags_stand_in_the_report(files):
    for name in ("second", "int8"):
        (files / f"{name}.tflite").write_bytes((files / "model.tflite").read_bytes())
    names = [path.relative_to(files / "data") for path in sorted((files / "data").rglob("*.png"))]
    lines = [f"{name},{'odd' if index % 2 else 'even'}" for index, name in enumerate(names)]
    (files / "tags.csv").write_text("\n".join(["file,parity", *lines]))
    also = [word for name in ("second", "int8") for word in ("--also", str(files / f"{name}.tflite"))]
    assert _run(files, *also, "--tags", str(files / "tags.csv")) == 0
    document = Document.from_json((files / "out/r.json").read_bytes())
    assert [stage.name for stage in document.files] == ["int8", "second", "int8.tflite"]
    assert [stage.file for stage in document.files] == ["model.tflite", "second.tflite", "int8.tflite"]
    assert document.files[0].top1 == document.files[1].top1
    groups = [(g.column, g.label, g.images) for g in document.subgroups]
    assert groups == [("parity", "even", 23), ("parity", "odd", 22)]


def test_two_other_files_of_one_name_are_refused(files, capsys):
    more = ["--also", str(files / "a" / "x.tflite"), "--also", str(files / "b" / "x.tflite")]
    assert _run(files, *more) == 2
    assert "must have different names, got x twice" in capsys.readouterr().err


def test_a_swap_of_two_labels_is_refused_with_their_names(files, capsys):
    save(files / "model.pt", samples.make_checkpoint(labels=("green", "red", "blue")))
    assert _run(files) == 2
    assert "0: green ≠ red, 1: red ≠ green" in capsys.readouterr().err
    assert not (files / "out/r.html").exists()


def test_another_checkpoint_than_the_models_own_is_refused(files, capsys):
    save(files / "tuned.pt", samples.make_checkpoint(samples.WEIGHTS * 1.01))
    assert _run(files, reference="tuned.pt") == 2
    assert "must be the network that the model was converted from" in capsys.readouterr().err
    assert not (files / "out/r.html").exists()


def test_val_is_taken_before_test_before_the_folder_itself(tmp_path):
    for part, count in (("train", 9), ("test", 6), ("val", 3)):
        samples.write_folder(tmp_path / part, samples.colour_images(count, seed=1))
    assert len(labels.held_out_folder(tmp_path).paths) == 3
    shutil.rmtree(tmp_path / "val")
    assert len(labels.held_out_folder(tmp_path).paths) == 6
    assert len(labels.held_out_folder(tmp_path / "train").paths) == 9


class _Evil:
    def __reduce__(self):
        return (print, ("code was run",))


def _one_class(files):
    for name in ("green", "blue"):
        shutil.rmtree(files / "data" / name)


def _unreadable(files):
    for path in (files / "data").rglob("*.png"):
        path.write_bytes(b"")


def _plain_tflite(files):
    (files / "model.tflite").write_bytes(samples.int8_flatbuffer())


def _truncated(files):
    data = (files / "model.tflite").read_bytes()
    (files / "model.tflite").write_bytes(data[: len(data) // 3])


def _other_network(files):
    (files / "model.tflite").write_bytes(seal(samples.float_flatbuffer(), samples.make_card(), {}))


def _foreign_folder(files):
    (files / "data" / "green").rename(files / "data" / "violet")


MISTAKES = {
    "missing folder": (lambda f: shutil.rmtree(f / "data"), "data must be a folder"),
    "empty folder": (lambda f: (shutil.rmtree(f / "data"), (f / "data").mkdir()), "one sub-folder per class"),
    "one class": (_one_class, "one sub-folder per class"),
    "empty class": (lambda f: (f / "data" / "aqua").mkdir(), "got aqua"),
    "unknown class": (_foreign_folder, "got violet"),
    "all unreadable": (_unreadable, "At most 1 % of the 45 images may be unreadable"),
    "no model": (lambda f: (f / "model.tflite").unlink(), "must be a readable file"),
    "no card": (_plain_tflite, "must carry an edgekit card"),
    "truncated": (_truncated, "model.tflite must"),
    "other network": (_other_network, "card's input type must be"),
    "no checkpoint": (lambda f: (f / "model.pt").unlink(), "nothing there"),
    "not a checkpoint": (lambda f: (f / "model.pt").write_text("hello"), "must be an edgekit checkpoint"),
    "a checkpoint with code": (lambda f: torch.save({"x": _Evil()}, f / "model.pt"), "pickle with code"),
    "unwritable": (lambda f: (f / "out").write_text("a file, not a folder"), "must be writable"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_exit_2_and_no_file(files, capsys, mistake):
    spoil, message = MISTAKES[mistake]
    spoil(files)
    assert _run(files) == 2
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("Error:")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in captured.err
    assert "code was run" not in captured.out + captured.err
    assert not (files / "out").is_dir() or not list((files / "out").iterdir())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--max-drop", "nan"], "between −100 and 100"),
        (["--max-drop", "101"], "between −100 and 100"),
        (["--min-agreement", "nan"], "between 0 and 100"),
        (["--min-agreement", "-1"], "between 0 and 100"),
        (["--processes", "0"], "--processes"),
        (["--baseline", "none.json"], "must be a readable report.json"),
        (["--tags", "none.csv"], "none.csv"),
        (["--also", "none.tflite"], "none.tflite"),
    ],
)
def test_options_out_of_range(files, capsys, more, message):
    assert _run(files, *more) == 2
    assert message in capsys.readouterr().err
    assert not (files / "out").exists()


def test_an_output_never_replaces_an_input(files, capsys):
    before = (files / "model.tflite").read_bytes()
    assert _run(files, out="model.tflite") == 2
    assert "must not be an input" in capsys.readouterr().err
    assert _run(files, "--json", str(files / "out/r.html")) == 2
    assert (files / "model.tflite").read_bytes() == before


def test_an_output_never_replaces_the_list_of_images(files, capsys):
    listing = files / "labels.csv"
    rows = [f"{path.relative_to(files)},{path.parent.name}" for path in sorted((files / "data").rglob("*.png"))]
    listing.write_text("\n".join(["file,label", *rows]))
    before = listing.read_bytes()
    assert _run(files, "--json", str(listing), data="labels.csv") == 2
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
    assert _run(files) == 2
    assert f"{option}, or choose another --out" in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in (files / "out").iterdir()] == [name]
    assert mine.read_bytes() == before
    assert _run(files, option, str(mine)) == 0
    assert mine.read_bytes() != before


def test_ctrl_c_leaves_no_file(files, monkeypatch):
    def interrupted(self, index):
        raise KeyboardInterrupt

    monkeypatch.setattr(FileSet, "image", interrupted)
    assert _run(files) == 130
    assert not list((files / "out").iterdir())


def test_help_is_quick_and_has_examples():
    code = (
        "import sys; from edgekit.cli import run; run(['report', '--help']); "
        "heavy = {'torch', 'scipy', 'matplotlib', 'jinja2', 'cv2', 'numpy', 'ai_edge_litert'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "edgekit report model.tflite --reference model.pt --data" in done.stdout
