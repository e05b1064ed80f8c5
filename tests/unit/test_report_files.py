"""What `edgekit report` writes and says: the HTML page, the JSON file, exit codes, errors."""

import os
import shutil
import subprocess
import sys

import pytest
import report_samples as samples
import torch
from support.report_files import run_report, write_files

from edgekit.bundle import seal
from edgekit.files import sha256
from edgekit.images import FileSet
from edgekit.models import MODELS
from edgekit.train.checkpoint import save
from edgekit_quantize.report import labels, verdict
from edgekit_quantize.report.document import Document


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "colour", samples.ColourNet)
    return write_files(tmp_path)


def test_the_command_writes_both_files_and_prints_the_verdict(files, capsys):
    assert run_report(files, "--max-drop", "50", "--min-agreement", "50") == 0
    document = Document.from_json((files / "out/r.json").read_bytes())
    assert document.data.images == 45
    assert document.model.reference_sha256 == sha256(files / "model.pt")
    printed = " ".join(capsys.readouterr().out.split())
    assert verdict.headline(document) in printed
    assert "gate 50 points: passed" in printed
    assert sorted(path.name for path in (files / "out").iterdir()) == ["r.html", "r.json", "r.md"]


def test_a_failed_gate_exits_1_and_the_files_are_there(files, capsys):
    assert run_report(files, "--max-drop", "-50", "--json", str(files / "other.json")) == 1
    assert (files / "out/r.html").is_file()
    assert (files / "other.json").is_file()
    assert "must be at most -50 points" in capsys.readouterr().err


def test_the_command_line_stands_in_the_report_as_it_was_typed(files):
    assert run_report(files, "--max-drop", "50") == 0
    document = Document.from_json((files / "out/r.json").read_bytes())
    assert document.command.startswith(f"edgekit report {files / 'model.tflite'} --reference ")
    assert document.command.endswith("--processes 1 --max-drop 50")


def test_a_worse_model_fails_against_the_baseline(files, capsys):
    samples.write_folder(files / "many", samples.colour_images(300, seed=6, noise=15))
    assert run_report(files, data="many", out="old/r.html") == 0
    weights = samples.WEIGHTS.copy()
    weights[1] = -weights[1]
    worse = samples.make_bundle(weights, reference=sha256(files / "model.pt"))
    (files / "worse.tflite").write_bytes(worse.data)
    baseline = ["--baseline", str(files / "old/r.json")]
    assert run_report(files, *baseline, data="many") == 0
    capsys.readouterr()
    assert run_report(files, *baseline, data="many", model="worse.tflite") == 1
    captured = capsys.readouterr()
    assert "Nothing must be worse than in the baseline, got top-1: " in captured.err
    assert "Collapsed: green" in captured.out
    samples.write_folder(files / "others", samples.colour_images(300, seed=7))
    for data, message in (("data", "got 300 there"), ("others", "cropped alike, got others")):
        assert run_report(files, *baseline, data=data, out="new/r.html") == 2
        assert message in " ".join(capsys.readouterr().err.split())
    # What was answered is not thrown away for it.
    assert [path.name for path in (files / "new").iterdir()] == ["r.html.answers"]
    assert run_report(files, "--resume", data="others", out="new/r.html") == 0
    assert sorted(path.name for path in (files / "new").iterdir()) == ["r.html", "r.json", "r.md"]


def test_names_of_files_may_be_any_bytes(files):
    """As Linux allows; what shows them is text, where such a byte stands as its number."""
    odd = os.fsdecode(b"caf\xe9.png")
    (files / "data" / "red" / odd).write_bytes(b"no image")
    for number, path in enumerate(sorted((files / "data" / "green").iterdir())):
        path.rename(path.with_name(os.fsdecode(b"\xe9%d.png" % number)))
    weights = samples.WEIGHTS[[1, 0, 2]]
    swapped = samples.make_bundle(weights, reference=sha256(files / "model.pt"))
    (files / "swapped.tflite").write_bytes(swapped.data)
    assert run_report(files, "--allow-unreadable", model="swapped.tflite") == 0
    document = Document.from_json((files / "out/r.json").read_bytes())
    assert any(odd in line for line in document.data.skipped)
    assert any(os.fsencode(flip.image).startswith(b"green/\xe9") for flip in document.flips)
    assert "caf\\udce9.png" in (files / "out/r.html").read_text(encoding="utf-8")


def test_too_few_images_for_the_baseline_are_refused_before_any_is_decoded(files, monkeypatch, capsys):
    assert run_report(files, out="old/r.html") == 0
    next((files / "data").rglob("*.png")).unlink()
    monkeypatch.setattr(FileSet, "image", lambda self, index: pytest.fail("decoded"))
    assert run_report(files, "--baseline", str(files / "old/r.json")) == 2
    assert "got 45 there" in capsys.readouterr().err


def test_a_baseline_fits_when_its_unreadable_images_are_gone(files):
    samples.write_folder(files / "data", samples.colour_images(150, seed=4))
    broken = files / "data" / "red" / "broken.png"
    broken.write_bytes(b"broken")
    assert run_report(files, out="old/r.html") == 0
    broken.unlink()
    assert run_report(files, "--baseline", str(files / "old/r.json")) == 0


def test_other_files_and_tags_stand_in_the_report(files):
    for name in ("second", "int8"):
        (files / f"{name}.tflite").write_bytes((files / "model.tflite").read_bytes())
    names = [path.relative_to(files / "data") for path in sorted((files / "data").rglob("*.png"))]
    lines = [f"{name},{'odd' if index % 2 else 'even'}" for index, name in enumerate(names)]
    (files / "tags.csv").write_text("\n".join(["file,parity", *lines]))
    also = [word for name in ("second", "int8") for word in ("--also", str(files / f"{name}.tflite"))]
    assert run_report(files, *also, "--tags", str(files / "tags.csv")) == 0
    document = Document.from_json((files / "out/r.json").read_bytes())
    assert [stage.name for stage in document.files] == ["int8", "second", "int8.tflite"]
    assert [stage.file for stage in document.files] == ["model.tflite", "second.tflite", "int8.tflite"]
    assert document.files[0].top1 == document.files[1].top1
    groups = [(g.column, g.label, g.images) for g in document.subgroups]
    assert groups == [("parity", "even", 23), ("parity", "odd", 22)]


def test_two_other_files_of_one_name_are_refused(files, capsys):
    more = ["--also", str(files / "a" / "x.tflite"), "--also", str(files / "b" / "x.tflite")]
    assert run_report(files, *more) == 2
    assert "must have different names, got x twice" in capsys.readouterr().err


def test_a_swap_of_two_labels_is_refused_with_their_names(files, capsys):
    save(files / "model.pt", samples.make_checkpoint(labels=("green", "red", "blue")))
    assert run_report(files) == 2
    assert "0: green ≠ red, 1: red ≠ green" in capsys.readouterr().err
    assert not (files / "out/r.html").exists()


def test_another_checkpoint_than_the_models_own_is_refused(files, capsys):
    save(files / "tuned.pt", samples.make_checkpoint(samples.WEIGHTS * 1.01))
    assert run_report(files, reference="tuned.pt") == 2
    assert "must be the network that the model was converted from" in capsys.readouterr().err
    assert not (files / "out/r.html").exists()


def test_val_is_taken_before_test_before_the_folder_itself(tmp_path):
    for part, count in (("train", 9), ("test", 6), ("val", 3)):
        samples.write_folder(tmp_path / part, samples.colour_images(count, seed=1))
    assert len(labels.held_out_folder(tmp_path).paths) == 3
    # The report's are others: val has chosen the epoch and the recipe.
    assert labels.held_out(tmp_path, ("test", "val")) == tmp_path / "test"
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
    assert run_report(files) == 2
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
    assert run_report(files, *more) == 2
    assert message in capsys.readouterr().err
    assert not (files / "out").exists()


def test_help_is_quick_and_has_examples():
    code = (
        "import sys; from edgekit.cli import run; run(['report', '--help']); "
        "heavy = {'torch', 'scipy', 'matplotlib', 'jinja2', 'cv2', 'numpy', 'ai_edge_litert'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "edgekit report model.tflite --reference model.pt --data" in done.stdout
