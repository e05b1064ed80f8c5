"""What `edgekit report` writes and says: the HTML page, the JSON file, exit codes, errors."""

import base64
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
import report_samples as samples
import torch
from support.browser import shown

from edgekit import cli
from edgekit.bundle import seal
from edgekit.errors import InputError
from edgekit.files import sha256
from edgekit.images import FileSet
from edgekit.models import MODELS
from edgekit.preprocess import crop_and_resize
from edgekit.train.checkpoint import save
from edgekit_quantize.report import labels, wording
from edgekit_quantize.report.document import Document
from edgekit_quantize.report.make import make_report, write_report


@pytest.fixture(autouse=True)
def colour_net(monkeypatch):
    monkeypatch.setitem(MODELS, "colour", samples.ColourNet)


class _Page(HTMLParser):
    """Collects everything that a browser would fetch, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links, self.words, self.tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "srcset", "data", "poster")]

    def handle_data(self, data):
        self.words.append(data)


def _page(folder: Path, **options) -> tuple[str, Document]:
    images = options.pop("images", samples.colour_images(120, seed=1))
    checkpoint, bundle = options.pop("models", (samples.make_checkpoint(), samples.make_bundle()))
    report = make_report(checkpoint, bundle, images, data_name="colours", **options)
    write_report(report, folder / "r.html", folder / "r.json")
    return (folder / "r.html").read_text("utf-8"), report.document


def test_the_page_asks_nobody_for_anything(tmp_path):
    text, _ = _page(tmp_path, max_drop=0.5)
    page = _Page(text)
    assert len(page.links) >= 6
    assert all(link.startswith("data:") for link in page.links)
    assert "script" not in page.tags
    assert not re.search(r"@import|url\(|https?://", text)
    assert 'name="viewport"' in text
    for link in page.links:
        if link.startswith("data:image/svg+xml"):
            svg = base64.b64decode(link.split(",", 1)[1]).decode()
            # Plots may embed pixels of their own, but nothing from elsewhere.
            assert all(inner.startswith(("#", "data:")) for inner in re.findall(r'href="([^"]*)"', svg))


def test_the_page_says_the_verdict_first(tmp_path):
    text, document = _page(tmp_path, max_drop=0.5)
    words = " ".join(" ".join(_Page(text).words).replace("\u00a0", " ").split())
    assert wording.headline(document) in words
    assert words.index("too few images to decide") < words.index("Models") < words.index("Where the model comes from")
    for needed in (*samples.LABELS, "hand-made", document.model.file_sha256, document.data.pixels_sha256, "XNNPACK"):
        assert needed in words
    assert "logits SQNR, int8 against float TFLite" in words


def test_every_label_names_the_format_of_the_file(tmp_path):
    models = (samples.make_checkpoint(), samples.make_bundle(is_float=True))
    text, _ = _page(tmp_path, models=models, images=samples.colour_images(120, seed=1))
    page = _Page(text)
    words = " ".join(page.words).replace(
        "logits SQNR, int8 against float TFLite", ""
    )  # of the conversion, as in the card
    assert "accuracy of fp32 against float" in words
    assert "int8" not in words
    svgs = [base64.b64decode(x.split(",", 1)[1]).decode() for x in page.links if x.startswith("data:image/svg+xml")]
    # matplotlib leaves each text in a comment beside its outlines.
    assert any("<!-- by fp32, % -->" in svg for svg in svgs)
    assert not any("int8" in svg for svg in svgs)


def test_names_from_outside_cannot_break_out_of_the_page(tmp_path):
    names = ("<script>alert(1)</script>", 'a "quoted" & name', "$x^2$ {{ 7 * 7 }}")
    models = samples.make_checkpoint(labels=names), samples.make_bundle(labels=names)
    images = samples.colour_images(60, seed=2)
    text, _ = _page(tmp_path, models=models, images=type(images)(images.pixels, images.targets, names, "<b>bold</b>"))
    page = _Page(text)
    assert "script" not in page.tags
    assert "<b>bold</b>" not in text
    assert "{{ 7 * 7 }}" in text
    assert "&lt;script&gt;" in text


def test_the_same_report_gives_the_same_page(tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        folder.mkdir()
        _page(folder)
    assert (first / "r.html").read_bytes() == (second / "r.html").read_bytes()
    assert (first / "r.json").read_bytes() == (second / "r.json").read_bytes()


def test_the_pictures_are_the_pixels_that_the_models_saw(tmp_path):
    images = samples.colour_images(300, seed=3)
    text, document = _page(tmp_path, images=images)
    pictures = [link for link in _Page(text).links if link.startswith("data:image/png")]
    assert len(pictures) == len(document.flips) > 0
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(pictures[0].split(",", 1)[1]), np.uint8), cv2.IMREAD_COLOR)
    shown = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    index = int(document.flips[0].image.split("/")[1])
    np.testing.assert_array_equal(shown, crop_and_resize(images.image(index), samples.spec()))


def test_one_file_for_both_is_refused(tmp_path):
    with pytest.raises(InputError, match="two files"):
        write_report(None, tmp_path / "a", tmp_path / "x" / ".." / "a")


@pytest.mark.browser
def test_a_real_browser_shows_the_page_without_complaint(tmp_path):
    _page(tmp_path, max_drop=0.5)
    assert shown(tmp_path / "r.html", tmp_path).std() > 10


# --- the command ---


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
    return cli.run(["report", *paths, "--out", str(files / out), *more])


def test_the_command_writes_both_files_and_prints_the_verdict(files, capsys):
    assert _run(files, "--max-drop", "50", "--threads", "1") == 0
    document = Document.from_json((files / "out/r.json").read_bytes())
    assert document.data.images == 45
    assert document.model.reference_sha256 == sha256(files / "model.pt")
    assert document.stages[1].size == (files / "model.tflite").stat().st_size
    printed = " ".join(capsys.readouterr().out.split())
    assert wording.headline(document) in printed
    assert "gate 50 points: passed" in printed
    assert sorted(path.name for path in (files / "out").iterdir()) == ["r.html", "r.json"]


def test_a_failed_gate_exits_1_and_the_files_are_there(files, capsys):
    assert _run(files, "--max-drop", "-50", "--json", str(files / "other.json")) == 1
    assert (files / "out/r.html").is_file()
    assert (files / "other.json").is_file()
    assert "must be at most -50 points" in capsys.readouterr().err


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
    "empty class": (lambda f: (f / "data" / "aqua").mkdir(), "aqua must hold images"),
    "unknown class": (_foreign_folder, "got violet"),
    "all unreadable": (_unreadable, "At least one image must be readable"),
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
        (["--batch", "0"], "--batch"),
        (["--threads", "x"], "--threads"),
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
