"""The options of `edgekit train`: those that cannot work, and that every choice is one."""

import json
from dataclasses import fields

import pytest
from support.training import SMALL, names, refused, train

from edgekit.train.augment import Augmentation
from edgekit.train.command import command
from edgekit.train.options import Options


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--size", "100"], "--size must be a multiple of 32, got 100. Use 96."),
        (["--size", "16"], "--size must be a multiple of 32, got 16. Use 32."),
        (["--arch", "resnet"], "--arch must be one of"),
        (["--width", "0"], "--width must be in"),
        (["--epochs", "0"], "--epochs must be"),
        (["--lr", "-1"], "--lr must be positive"),
        (["--val-fraction", "1.5"], "--val-fraction must be between 0 and 1"),
        (["--weights", "imagenet", "--width", "0.5"], "mobilenet_v2 at width 1.0, got mobilenet_v2 at 0.5"),
        (["--resume"], "--resume must find"),
        (["--recipe", "distill"], "--recipe distill must have a teacher to learn from, got none. Give --teacher"),
        (["--temperature", "2"], "--temperature must have a teacher"),
        (["--distill", "0.5"], "--distill must have a teacher"),
        (["--randaugment", "16"], "--randaugment must be in [0, 15]"),
        (["--magnitude", "30"], "--magnitude must be in [1, 29]"),
        (["--zoom", "1"], "--zoom must be in [0, 1)"),
        (["--warmup", "1"], "--warmup must be in (0, 1)"),
        (["--lr", "1e30", "--head-lr", "1e30", "--epochs", "2"], "The loss must stay finite"),
    ],
)
def test_options_that_cannot_work(photos, tmp_path, capsys, arguments, expected):
    assert expected in refused(capsys, photos, "--out", tmp_path / "m.pt", *SMALL, *arguments)
    assert names(tmp_path) == []


def test_every_option_can_be_given_in_the_command():
    own = {item.name for item in (*fields(Options), *fields(Augmentation))} - {"augmentation", "teacher_sha256"}
    assert own - {parameter.name for parameter in command.params} == set()


def test_what_is_given_of_augmentation_arrives(photos, tmp_path):
    given = ("--no-flip", "--zoom", "0.1", "--stretch", "0", "--shift", "0.2", "--cutout", "1", "--warmup", "0.5")
    assert train(photos, "--out", tmp_path / "m.pt", *SMALL, *given) == 0
    options = json.loads((tmp_path / "m.run.json").read_text())["options"]
    expected = {"flip": False, "zoom": 0.1, "stretch": 0.0, "shift": 0.2, "cutout": 1.0}
    assert options["augmentation"].items() >= expected.items()
    assert options["warmup"] == 0.5
