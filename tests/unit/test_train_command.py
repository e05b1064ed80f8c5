"""`edgekit train` as a user calls it."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support.photos import CLASSES, write_folder
from support.training import SMALL, names, refused, train

from edgekit.train import checkpoint as checkpoints
from edgekit.train import record as records
from edgekit.train.command import _summary
from edgekit.train.data import for_evaluation, open_folder
from edgekit.train.evaluate import ClassScore, predict
from edgekit.train.prepare import first_of
from edgekit.train.result import Result
from edgekit.train.resume import Epoch


def test_a_folder_of_photos_becomes_a_checkpoint(photos, tmp_path, capsys):
    out = tmp_path / "new" / "model.pt"
    assert train(photos, "--out", out, *SMALL, "--epochs", "1") == 0
    checkpoint = checkpoints.load(out)
    assert checkpoint.labels == CLASSES
    assert checkpoint.input.mean == (0.5, 0.5, 0.5)
    assert (checkpoint.input.height, checkpoint.stem_stride, checkpoint.architecture.width) == (32, 1, 0.25)
    assert names(out.parent) == ["model.pt", "model.run.json", "model.val.csv"]
    captured = capsys.readouterr()
    assert "validation top-1" in captured.out
    assert "96 images to train, 24 to validate" in captured.err
    assert "Classes: blobs, gradients, stripes\n" in captured.err


def test_a_run_is_on_record(photos, tmp_path, capsys):
    out = tmp_path / "model.pt"
    assert train(photos, "--out", out, *SMALL, "--epochs", "3", "--seed", "5") == 0
    record = json.loads((tmp_path / "model.run.json").read_text())
    assert record["checkpoint"]["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert (record["options"]["seed"], record["options"]["epochs"], len(record["epochs"])) == (5, 3, 3)
    assert record["data"]["labels"] == list(CLASSES)
    assert (record["batch"], record["precision"]) == (24, "float32")
    assert record["mean_recall"] == record["epochs"][-1]["validation"]  # classes of 8 images each
    assert record["versions"]["torch"] == torch.__version__
    assert {"numpy", "opencv-python", "kornia", "webdataset"} <= record["versions"].keys()
    assert record["machine"]["processor"] not in ("", "x86_64")
    assert record["data"]["validation_sha256"] not in ("", record["data"]["sha256"])
    # Of edgekit's own code, wherever the command was given.
    assert (record["edgekit_git"] is None) == (not (Path(__file__).parents[2] / ".git").exists())
    # The table is of the network that was saved: counted here by the plain definition.
    checkpoint = checkpoints.load(out)
    _, val_set = open_folder(photos, 0.2)
    pixels = for_evaluation(val_set, checkpoint.input, progress=False)
    answers = predict(checkpoint.network(), pixels.pixels, checkpoint.input).argmax(1)
    for index, name in enumerate(CLASSES):
        here = [int(answer) for answer, target in zip(answers, pixels.targets, strict=True) if target == index]
        found = record["classes"][name]
        assert (found["correct"], found["images"]) == (here.count(index), len(here))
        others = [answer for answer in here if answer != index]
        assert found["mistaken_for"] == "" if not others else found["mistaken_for"] != name
    assert sum(found["correct"] for found in record["classes"].values()) / 24 == record["epochs"][-1]["validation"]
    assert "mostly taken for" in capsys.readouterr().err


def test_train_and_val_folders_are_used_as_they_are(photos, tmp_path, capsys):
    shutil.copytree(photos, tmp_path / "data" / "train")
    write_folder(tmp_path / "data" / "val", per_class=5, seed=9)
    out = tmp_path / "model.pt"
    assert train(tmp_path / "data", "--out", out, *SMALL, "--epochs", "1", "--arch", "mobilenet_v1") == 0
    assert "120 images to train, 15 to validate" in capsys.readouterr().err
    assert checkpoints.load(out).architecture.name == "mobilenet_v1"


def test_folders_that_cannot_be_used(tmp_path, capsys):
    out = tmp_path / "model.pt"
    assert "got nothing there" in refused(capsys, tmp_path / "none", "--out", out, *SMALL)
    (tmp_path / "empty").mkdir()
    assert "at least two, got 0" in refused(capsys, tmp_path / "empty", "--out", out, *SMALL)
    (tmp_path / "one" / "cat").mkdir(parents=True)
    assert "at least two, got 1" in refused(capsys, tmp_path / "one", "--out", out, *SMALL)
    (tmp_path / "one" / "dog").mkdir()
    assert "must hold images" in refused(capsys, tmp_path / "one", "--out", out, *SMALL)
    (tmp_path / "file.txt").write_text("hello")
    assert "got a file" in refused(capsys, tmp_path / "file.txt", "--out", out, *SMALL)
    assert not out.exists()


def test_class_sets_that_differ(photos, tmp_path, capsys):
    shutil.copytree(photos, tmp_path / "train")
    shutil.copytree(photos, tmp_path / "val")
    (tmp_path / "val" / "blobs").rename(tmp_path / "val" / "clouds")
    line = refused(capsys, tmp_path, "--out", tmp_path / "m.pt", *SMALL)
    assert "same classes, got blobs, clouds in one only" in line


@pytest.mark.parametrize(
    # Of 30, 20 and 10 images: top-1 of (10, 10, 10) is no better than naming the first class, but all are known.
    ("right", "is_said"),
    [((30, 0, 0), True), ((0, 0, 9), True), ((10, 10, 10), False), ((30, 1, 0), True), ((28, 20, 10), False)],
)
def test_a_network_that_tells_no_classes_apart_is_said_to(right, is_said, capsys):
    images = (30, 20, 10)
    classes = {name: ClassScore(*pair, "") for name, pair in zip(CLASSES, zip(right, images, strict=True), strict=True)}
    labels = SimpleNamespace(labels=CLASSES)
    _summary(Result(labels, [Epoch(1.0, 0.5, 0.5, 60, 1.0)], 1.0, classes=classes), Path("m.pt"))
    assert ("cannot tell this network from chance" in " ".join(capsys.readouterr().err.split())) == is_said


def test_random_or_narrowed_blocks_are_not_frozen(photos, tmp_path, capsys):
    """Of the recipe for transfer, unless the weights fill them."""

    def frozen(out, *more):
        assert train(photos, "--out", tmp_path / out, *SMALL, "--epochs", "1", *more) == 0
        said = "No block is frozen" in capsys.readouterr().err
        return json.loads((tmp_path / out).with_suffix(".run.json").read_text())["options"]["freeze"], said

    assert frozen("first.pt", "--recipe", "transfer") == (0, False)
    assert frozen("same.pt", "--weights", tmp_path / "first.pt") == (7, False)
    assert frozen("narrow.pt", "--weights", tmp_path / "first.pt", "--width", "0.2") == (0, True)
    assert frozen("asked.pt", "--weights", tmp_path / "first.pt", "--width", "0.2", "--freeze", "2") == (2, False)


def test_unreadable_images_are_skipped_counted_and_listed(tmp_path, capsys):
    folder = write_folder(tmp_path / "photos", per_class=8, seed=2)
    (folder / "blobs" / "000.png").write_bytes(b"")
    (folder / "stripes" / "001.png").write_bytes(b"GIF89a, but not really")
    assert train(folder, "--out", tmp_path / "m.pt", *SMALL, "--epochs", "1") == 0
    stderr = capsys.readouterr().err
    assert "2 images left out that could not be read" in stderr
    assert "000.png must be an image, got 0 bytes" in stderr


def test_names_that_are_no_text(tmp_path):
    """Linux allows any bytes in names; a process of its own, for pytest's streams do not take them."""
    folder = write_folder(tmp_path / "photos", per_class=8, seed=2)
    odd = os.fsdecode(b"caf\xe9.jpg")
    (folder / "blobs" / odd).write_bytes(b"no image")
    words = [sys.executable, "-m", "edgekit.cli", "train", str(folder), *SMALL, "--epochs", "1", "--out"]
    subprocess.run([*words, str(tmp_path / "m.pt")], check=True, capture_output=True)
    (line,) = json.loads((tmp_path / "m.run.json").read_text(encoding="utf-8"))["data"]["skipped"]
    assert odd in line
    (folder / "blobs").rename(folder / os.fsdecode(b"str\xe9"))
    done = subprocess.run([*words, str(tmp_path / "n.pt")], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "Error: A class name must be UTF-8, got 'str\\udce9'. Rename its folder.\n"
    (folder / os.fsdecode(b"str\xe9")).rename(folder / "two\nlines")
    done = subprocess.run([*words, str(tmp_path / "n.pt")], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "Error: A class name must be one line of text, got 'two\\nlines'. Rename its folder.\n"


def test_the_run_says_how_it_differs_from_its_recipe(photos, tmp_path, capsys):
    assert train(photos, "--out", tmp_path / "m.pt", *SMALL, "--epochs", "1", "--ema", "0.9", "--mixup", "0.2") == 0
    assert "Recipe: scratch, stem-stride 1, batch 24, ema 0.9, mixup 0.2\n" in capsys.readouterr().err


@pytest.mark.parametrize("kinds", [CLASSES, ("blobs",)])
def test_nothing_readable_is_an_error(tmp_path, capsys, kinds):
    folder = write_folder(tmp_path / "photos", per_class=3, seed=2)
    for kind in kinds:
        for path in (folder / kind).iterdir():
            path.write_bytes(b"")
    assert "readable" in refused(capsys, folder, "--out", tmp_path / "m.pt", *SMALL)
    assert names(tmp_path) == ["photos"]


def test_an_output_that_cannot_be_written_is_refused_before_the_images_are_read(photos, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert "must be writable" in refused(capsys, photos, "--out", tmp_path / "file" / "m.pt", *SMALL)
    (tmp_path / "folder.pt").mkdir()
    assert "got the folder" in refused(capsys, photos, "--out", tmp_path / "folder.pt", *SMALL)
    assert "--out must end in .pt, got model.tflite. Use model.pt." in refused(capsys, photos, "--out", "model.tflite")
    # Even the data folder is looked at later.
    assert "must be writable" in refused(capsys, tmp_path / "none", "--out", tmp_path / "file" / "m.pt", *SMALL)


def test_usage_errors_have_exit_code_two(photos):
    assert train(photos) == 2
    assert train(photos, "--out", "m.pt", "--weights", "other") == 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_full_disk_is_one_line_and_nothing_is_left(photos, tmp_path, capsys, monkeypatch):
    write = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", lambda _path, data: write(Path("/dev/full"), data))
    assert "is full" in refused(capsys, photos, "--out", tmp_path / "m.pt", *SMALL, "--epochs", "1")
    assert names(tmp_path) == []


def test_the_banner_names_ten_classes_and_counts_the_rest():
    assert first_of(tuple("abcdefghijkl"), 10) == "a, b, c, d, e, f, g, h, i, j and 2 more"


@pytest.mark.parametrize(
    ("number", "code", "line"), [(signal.SIGINT, 130, "Interrupted."), (signal.SIGTERM, 143, "Terminated.")]
)
def test_a_stopped_run_is_tidy_and_can_go_on(photos, tmp_path, capsys, number, code, line):
    """A real signal to a real process in the middle of its training."""
    out, last = tmp_path / "model.pt", tmp_path / "model.last.pt"
    arguments = ["train", str(photos), "--out", str(out), *SMALL, "--epochs", "200"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "edgekit.cli", *arguments], stderr=subprocess.PIPE, text=True, env=environment
    )
    deadline = time.monotonic() + 60
    while not last.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in stderr
    assert "--resume" in stderr
    assert stderr.strip().splitlines()[-1] == line
    assert set(names(tmp_path)) <= {"model.best.pt", "model.last.pt"}
    done = len(checkpoints.load(last).resume["epochs"])
    # The options are part of the run: what was 200 epochs cannot be finished as another number.
    mistake = refused(capsys, photos, "--out", out, *SMALL, "--epochs", str(done + 1), "--resume")
    assert f"epochs 200 → {done + 1}" in mistake


def test_help_shows_examples_line_by_line():
    done = subprocess.run(
        [sys.executable, "-m", "edgekit.cli", "train", "--help"], capture_output=True, text=True, check=True
    )
    assert "\n    edgekit train photos/ --out model.pt\n" in done.stdout


def test_folders_as_people_have_them(photos, tmp_path, capsys):
    """Names with spaces and of other scripts, folders within a class, hidden ones, other files, damaged images."""
    source, data = sorted((photos / "blobs").iterdir()), tmp_path / "data"
    for kind, places in {
        "red cat": ["", "2024/summer"],
        "Füchse": ["", ".thumbnails"],
        "日本": [""],
        ".hidden": [""],
    }.items():
        for place in places:
            folder = data / kind / place
            folder.mkdir(parents=True, exist_ok=True)
            for index, path in enumerate(source[:6]):
                # Every file is another one: copies would be kept on one side.
                (folder / f"{index}.png").write_bytes(path.read_bytes() + f"{kind}/{place}/{index}".encode())
    (data / "日本" / "broken.jpg").write_bytes(b"no image")
    (data / "日本" / "notes.txt").write_text("no image either")
    (data / "readme.md").write_text("beside the classes")
    out = tmp_path / "model.pt"
    assert train(data, "--out", out, *SMALL, "--batch", "4", "--epochs", "1") == 0
    assert checkpoints.load(out).labels == ("Füchse", "red cat", "日本")
    record = json.loads((tmp_path / "model.run.json").read_text(encoding="utf-8"))
    said = capsys.readouterr().err
    # 6 + 12 + 7 files; of each a fifth, rounded, for validation.
    assert "21 images to train, 4 to validate, 3 classes" in said
    assert "Classes: Füchse, red cat, 日本" in said
    assert "broken.jpg must be an image" in said or any("broken.jpg" in line for line in record["data"]["skipped"])


def test_a_folder_of_ones_own_may_be_called_cifar10(photos, tmp_path, monkeypatch, capsys):
    shutil.copytree(photos, tmp_path / "cifar10")
    (tmp_path / "cifar10" / "blobs" / "animated.gif").write_bytes(b"GIF89a")
    monkeypatch.chdir(tmp_path)
    assert train("cifar10", "--out", tmp_path / "model.pt", *SMALL, "--epochs", "1") == 0
    said = capsys.readouterr().err
    assert "96 images to train, 24 to validate" in said
    assert "No images by their suffix, and not looked at: 1 .gif" in said


def test_the_commit_is_edgekits_and_not_that_of_a_repository_around_it(tmp_path, monkeypatch):
    """As where it is installed in .venv inside of one."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    (tmp_path / "record.py").write_text("")
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "theirs"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(records, "__file__", str(tmp_path / "record.py"))
    assert records._own_git_state() is None
    for words in (["add", "."], ["commit", "-q", "-m", "ours"]):
        subprocess.run([*git, *words], check=True)
    found = records._own_git_state()
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert found == {"commit": head, "is_changed": False}
