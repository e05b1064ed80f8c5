"""The options of `edgekit train`: those that cannot work, and that every choice is one."""

import hashlib
import json
from dataclasses import fields, replace

import pytest
from support.training import SMALL, names, refused, train

from edgekit.errors import InputError
from edgekit.train.augment import Augmentation
from edgekit.train.command import command
from edgekit.train.options import Options

OPTIONS = Options(epochs=3)
NOT_GIVEN = {"augmentation", "teacher_sha256", "weights_sha256"}


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
        (["--randaugment", "14"], "--randaugment must be in [0, 13]"),
        (["--randaugment", "1", "--magnitude", "30"], "--magnitude must be in [1, 29]"),
        (["--magnitude", "20"], "--magnitude must have --randaugment, got none."),
        (["--unfreeze", "2"], "--unfreeze must have blocks that are frozen, got none."),
        (["--freeze", "3", "--unfreeze", "9", "--epochs", "9"], "--unfreeze must be fewer than all 9 epochs, got 9."),
        (["--zoom", "1"], "--zoom must be in [0, 1)"),
        (["--stretch", "-1"], "--stretch must be at least 0"),
        (["--shift", "-0.1"], "--shift must be in [0, 1)"),
        (["--cutout", "1.1"], "--cutout must be in [0, 1]"),
        (["--freeze", "20"], "--freeze must be at most 19, all blocks of mobilenet_v2, got 20."),
        (["--warmup", "1"], "--warmup must be in (0, 1)"),
        (["--lr", "1e30", "--head-lr", "1e30", "--epochs", "2"], "The loss must stay finite"),
    ],
)
def test_options_that_cannot_work(photos, tmp_path, capsys, arguments, expected):
    assert expected in refused(capsys, photos, "--out", tmp_path / "m.pt", *SMALL, *arguments)
    assert names(tmp_path) == []


def test_every_option_can_be_given_in_the_command():
    own = {item.name for item in (*fields(Options), *fields(Augmentation))} - NOT_GIVEN
    assert own - {parameter.name for parameter in command.params} == set()


def test_what_is_given_of_augmentation_arrives(photos, tmp_path):
    given = "--no-flip --zoom 0.1 --stretch 0 --shift 0.2 --cutout 1 --warmup 0.5 --randaugment 1 --magnitude 3"
    blends = "--mixup 0.1 --cutmix 0.2"
    assert train(photos, "--out", tmp_path / "m.pt", *SMALL, "--epochs", 1, *given.split(), *blends.split()) == 0
    options = json.loads((tmp_path / "m.run.json").read_text())["options"]
    expected = {"flip": False, "zoom": 0.1, "stretch": 0.0, "shift": 0.2, "cutout": 1.0, "randaugment": 1}
    expected |= {"magnitude": 3, "mixup": 0.1, "cutmix": 0.2}
    assert options["augmentation"].items() >= expected.items()
    assert options["warmup"] == 0.5


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("arch", "resnet"),
        ("width", 0.0),
        ("size", 100),
        ("size", 0),
        ("stem_stride", 3),
        ("optimizer", "lion"),
        ("amp", "int8"),
        ("ema", 1.0),
        ("distill", 1.1),
        ("temperature", 0.0),
        ("range_penalty", -1.0),
        ("qat_epochs", OPTIONS.epochs),
        ("augmentation", replace(OPTIONS.augmentation, mixup=-0.1)),
        ("epochs", 0),
        ("batch", 1),
        ("lr", 0.0),
        ("head_lr", float("nan")),
        ("smoothing", 1.0),
        ("dropout", -0.1),
        ("freeze", -1),
        ("warmup", 0.0),
    ],
)
def test_options_out_of_range_are_refused(field, value):
    with pytest.raises(InputError, match="must be"):
        replace(OPTIONS, **{field: value})


def test_what_differs_is_named_by_itself():
    other = replace(OPTIONS, lr=0.5, augmentation=replace(OPTIONS.augmentation, mixup=0.2))
    assert OPTIONS.differences(other) == ["lr 0.002 → 0.5", "mixup 0.0 → 0.2"]


def test_the_record_says_which_weights_it_began_with(photos, tmp_path):
    first = tmp_path / "first.pt"
    assert train(photos, "--out", first, *SMALL, "--epochs", "1") == 0
    assert train(photos, "--out", tmp_path / "m.pt", *SMALL, "--epochs", "1", "--weights", first) == 0
    options = json.loads((tmp_path / "m.run.json").read_text())["options"]
    assert options["weights_sha256"] == hashlib.sha256(first.read_bytes()).hexdigest()


def test_a_file_is_no_folder_for_tensorboard(photos, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert train(photos, "--out", tmp_path / "m.pt", *SMALL, "--tensorboard", tmp_path / "file") == 2
    assert "is a file" in capsys.readouterr().err
