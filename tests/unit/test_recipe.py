"""Recipes: the shipped ones load, a user's own is checked."""

import hashlib
import shutil

import pytest

from edgekit.errors import InputError
from edgekit_quantize.recipe import RangeRule, load_recipe, recipe_folder, recipe_names


def test_every_shipped_recipe_loads_under_its_own_name():
    assert {"int8", "int8-minmax"} <= set(recipe_names())
    assert all(load_recipe(name).name == name for name in recipe_names())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("description = ", "must be TOML"),
        ('description = "x"', "must hold calibration_images, format, got description"),
        ('name = "mine"\ndescription = ""', "only known keys, got name"),
        (
            'description=""\nformat="int8"\nactivation_range="mse"\ncalibration_images=9\nfoo=1',
            "only known keys, got foo",
        ),
        ('description=""\nformat="int8"\nactivation_range="best"\ncalibration_images=9', "must be one of"),
        ('description=""\nformat="int8"\nactivation_range="mse"\ncalibration_images=0', "at least 1"),
        ('description=""\nformat="fp16"\ncalibration_images=9\nequalization=0.5', "go with format int8"),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_clear_line(tmp_path, text, complaint):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=complaint):
        load_recipe(str(path))


def test_a_users_own_recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('description="d"\nformat="int8"\nactivation_range="minmax"\ncalibration_images=9')
    assert load_recipe(str(path)).activation_range is RangeRule.MINMAX


@pytest.mark.parametrize("file", ["mine.toml", "int8.toml"])
def test_a_users_own_recipe_is_called_as_its_file(tmp_path, file):
    path = tmp_path / file
    shutil.copy(recipe_folder() / "int8.toml", path)
    copy, shipped = load_recipe(str(path)), load_recipe("int8")
    assert copy.name == file
    assert copy.sha256 == shipped.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_text(path.read_text().replace("steps = 200", "steps = 30"))
    assert load_recipe(str(path)).sha256 != shipped.sha256


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match="int8-minmax"):
        load_recipe("int7")
    with pytest.raises(InputError, match="must be one of"):
        load_recipe("../recipes/int8")
    with pytest.raises(InputError, match=r"mine\.toml must be a file"):
        load_recipe("mine.toml")
