"""Recipes as a user picks them: one by name, the best of several, the first that keeps a limit."""

import re

import cv2
import pytest
from support.photos import CLASSES, tinted, write_folder

from edgekit import bundle
from edgekit.cli import run


@pytest.fixture
def convert(checkpoint_file, photos, tmp_path):
    """Calls the command; gives exit code and output path."""

    def call(*more):
        out = tmp_path / "m.tflite"
        return run(["convert", str(checkpoint_file), "--calibration", str(photos), "--out", str(out), *more]), out

    return call


def tint(folder):
    """Colour the images by their classes, which a little training tells apart."""
    for path in folder.rglob("*.png"):
        rgb = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        cv2.imwrite(str(path), cv2.cvtColor(tinted(rgb, CLASSES.index(path.parent.name)), cv2.COLOR_RGB2BGR))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint that is better than chance, and the 120 photos that it has learned."""
    folder = tmp_path_factory.mktemp("trained")
    photos = tint(write_folder(folder / "photos", per_class=40, seed=4))
    words = ["train", photos, "--out", folder / "t.pt", "--weights", "none", "--width", "0.25", "--size", "32"]
    words += ["--epochs", "8", "--batch", "16", "--seed", "1"]
    assert run([str(word) for word in words]) == 0
    return folder / "t.pt", photos


@pytest.fixture
def convert_trained(trained, tmp_path):
    """As `convert`, with the recipe int8-minmax and a limit."""
    source, photos = trained

    def call(limit, evaluation, recipe="int8-minmax"):
        out = tmp_path / "m.tflite"
        words = ["convert", source, "--calibration", photos, "--out", out, "--recipe", recipe]
        return run([str(word) for word in [*words, "--max-drop", limit, "--evaluation", evaluation]]), out

    return call


@pytest.fixture
def quick_int8(tmp_path):
    """The default recipe with few steps."""
    from edgekit_quantize.recipe import recipe_folder

    text = (recipe_folder() / "int8.toml").read_text()
    path = tmp_path / "quick.toml"
    steps = next(line for line in text.splitlines() if line.startswith("steps"))
    path.write_text(text.replace(steps, "steps = 10"))
    return path


def test_a_changed_copy_of_a_recipe(convert, quick_int8):
    code, out = convert("--recipe", str(quick_int8))
    assert code == 0
    provenance = bundle.read(out).card.provenance
    assert (provenance.recipe, provenance.is_tuned) == ("quick.toml", True)


def test_tuning_that_does_harm_is_left_out(convert, quick_int8, capsys):
    """Weights that may jump by 0.9 codes a step end up anywhere."""
    text = quick_int8.read_text()
    rate = next(line for line in text.splitlines() if line.startswith("weight_rate"))
    quick_int8.write_text(text.replace(rate, "weight_rate = 0.9"))
    code, out = convert("--recipe", str(quick_int8))
    assert code == 0
    assert "Tuning was left out" in " ".join(capsys.readouterr().err.split())
    spoilt = bundle.read(out)
    assert not spoilt.card.provenance.is_tuned
    quick_int8.write_text(text[: text.index("[tuning]")])
    convert("--recipe", str(quick_int8))
    assert bundle.read(out).card.flatbuffer_sha256 == spoilt.card.flatbuffer_sha256


def test_auto_keeps_the_closest_within_its_budget(convert, capsys, monkeypatch, quick_int8):
    monkeypatch.setattr("edgekit_quantize.convert_command.AUTO", ("int8-minmax", str(quick_int8)))
    code, out = convert("--recipe", "auto")
    told = capsys.readouterr().err
    assert code == 0
    assert "Recipes tried" in told
    assert "chosen" in told
    # Tuning by ten steps is closer to float than bare ranges: measured 3 dB on this network.
    assert bundle.read(out).card.provenance.recipe == "quick.toml"


def test_auto_without_time_takes_the_first_recipe(convert, capsys):
    code, out = convert("--recipe", "auto", "--budget", "0")
    assert code == 0
    assert bundle.read(out).card.provenance.recipe == "int8-minmax"
    assert "passed over" in capsys.readouterr().err


def test_the_first_recipe_that_keeps_the_limit_is_taken(convert_trained, trained, capsys):
    code, out = convert_trained(100, trained[1], "auto")
    assert code == 0
    assert bundle.read(out).card.provenance.recipe == "int8-minmax"
    told = " ".join(capsys.readouterr().err.split())
    # The table's cells may be broken into lines.
    assert all(word in told for word in ("Recipes tried", "gate", "passed,", "120"))
    # It calibrates on the very same photos.
    assert "evaluation images are calibration images too" in told


def test_evaluation_on_other_images_is_not_complained_about(convert_trained, tmp_path, capsys):
    code, out = convert_trained(100, tint(write_folder(tmp_path / "others", per_class=10, seed=8)))
    assert code == 0
    (drop,) = (m for m in bundle.read(out).card.measurements if m.name.startswith("top-1 drop"))
    assert (drop.unit, drop.images) == ("points", 30)
    assert "calibration images too" not in " ".join(capsys.readouterr().err.split())


def test_no_recipe_keeps_the_limit(convert_trained, trained, capsys):
    code, out = convert_trained(-90, trained[1])
    told = " ".join(capsys.readouterr().err.split())
    assert code == 1
    assert not out.exists()
    assert "must be at most -90 points for certain, got int8-minmax" in told
    assert "Most of the error of int8-minmax comes from" in told


def test_a_float_network_like_chance_is_no_measure(convert, photos, capsys):
    code, out = convert("--recipe", "int8-minmax", "--max-drop", "100", "--evaluation", str(photos))
    assert code == 1 and not out.exists()
    told = " ".join(capsys.readouterr().err.split())
    assert re.search(r"must be better than chance on --evaluation.*got \d+ of 120 images right", told)


def test_too_few_images_are_not_blamed_on_layers(convert_trained, tmp_path, capsys):
    others = tint(write_folder(tmp_path / "others", per_class=10, seed=8))
    convert_trained(-90, others)
    # Between what is lost and its upper limit, whatever a processor's rounding made of the training.
    told = " ".join(capsys.readouterr().err.split())
    lost, most = re.search(r"got int8-minmax (\S+) \(\S+ … (\S+)\)", told).groups()
    code, out = convert_trained((float(lost) + float(most)) / 2, others)
    told = " ".join(capsys.readouterr().err.split())
    assert code == 1 and not out.exists()
    assert re.search(r"30 images are too few to decide: give about [\d,]+ in --evaluation", told)
    assert "Most of the error" not in told


@pytest.mark.parametrize("option", [("--max-drop", "1"), ("--evaluation", "photos")])
def test_a_limit_needs_images_and_images_a_limit(convert, capsys, option):
    code, out = convert(*option)
    assert code == 2
    assert "must go together" in capsys.readouterr().err
    assert not out.exists()


def test_evaluation_classes_are_matched_by_name(convert, photos, tmp_path, capsys):
    wrong = tmp_path / "wrong"
    for name, entry in zip(("ants", "bees"), sorted(photos.iterdir()), strict=False):
        (wrong / name).mkdir(parents=True)
        picture = next(entry.iterdir())
        (wrong / name / picture.name).write_bytes(picture.read_bytes())
    code, out = convert("--max-drop", "1", "--evaluation", str(wrong))
    assert code == 2
    assert "got ants, bees" in " ".join(capsys.readouterr().err.split())
    assert not out.exists()


@pytest.mark.parametrize(("option", "value"), [("--budget", "nan"), ("--budget", "-1"), ("--max-drop", "nan")])
def test_numbers_that_are_no_limit(convert, photos, capsys, option, value):
    more = ("--evaluation", str(photos)) if option == "--max-drop" else ()
    code, out = convert(option, value, *more)
    assert code == 2
    assert f"{option} must be" in capsys.readouterr().err
    assert not out.exists()


def test_a_few_images_are_not_learned_by_heart(checkpoint_file, tmp_path, capsys):
    few = write_folder(tmp_path / "few", per_class=5, seed=8)
    out = tmp_path / "m.tflite"
    assert run(["convert", str(checkpoint_file), "--calibration", str(few), "--out", str(out)]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "Tuning was left out: it needs 32 calibration images" in told
    assert "Only 15 calibration images" in told
