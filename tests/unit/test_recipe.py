"""Recipes: the shipped ones load, a user's own is checked."""

import pytest

from edgekit.errors import InputError
from edgekit_quantize.recipe import RangeRule, load_recipe, recipe_names


def test_every_shipped_recipe_loads_under_its_own_name():
    assert {"int8", "int8-minmax"} <= set(recipe_names())
    assert all(load_recipe(name).name == name for name in recipe_names())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name = ", "must be TOML"),
        ('name = "x"', "must hold calibration_images, description, format"),
        (
            'name="x"\ndescription=""\nformat="int8"\nactivation_range="mse"\ncalibration_images=9\nfoo=1',
            "only known keys, got foo",
        ),
        ('name="x"\ndescription=""\nformat="int8"\nactivation_range="best"\ncalibration_images=9', "must be one of"),
        ('name="x"\ndescription=""\nformat="int8"\nactivation_range="mse"\ncalibration_images=0', "at least 1"),
        ('name="x"\ndescription=""\nformat="fp16"\ncalibration_images=9\nequalization=0.5', "go with format int8"),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_clear_line(tmp_path, text, complaint):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=complaint):
        load_recipe(str(path))


def test_a_users_own_recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('name="mine"\ndescription="d"\nformat="int8"\nactivation_range="minmax"\ncalibration_images=9')
    assert load_recipe(str(path)).activation_range is RangeRule.MINMAX


def test_a_changed_copy_is_not_called_what_it_no_longer_is(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('name="int8"\ndescription="d"\nformat="int8"\ncalibration_images=9')
    assert load_recipe(str(path)).name == "mine.toml, from int8"


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match="int8-minmax"):
        load_recipe("int7")
    with pytest.raises(InputError, match=r"mine\.toml must be a file"):
        load_recipe("mine.toml")
