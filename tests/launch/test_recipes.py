"""Recipes: old keys, and what each of the package's says."""

from __future__ import annotations

from pathlib import Path

import pytest

from thorax.errors import ThoraxError
from thorax_launch import Recipe
from thorax_launch.recipe import SYNTHETIC, names


@pytest.mark.parametrize("old", ["films", "images"])
def test_the_old_key_of_synthetic_images_works(old: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(f"{old}: scenes\n")
    assert Recipe.load(str(file)).synthetic == "scenes"
    assert capsys.readouterr().err == f"warning: {old}: in recipe {file} is deprecated; write synthetic:\n"
    file.write_text(f"{old}: scenes\nsynthetic: table\n")
    with pytest.raises(ThoraxError, match=f"has an unknown key {old}"):
        Recipe.load(str(file))
    file.write_text("synthetic: x\n")
    with pytest.raises(ThoraxError, match="synthetic=x is not one of folders, table, records, scenes"):
        Recipe.load(str(file))


@pytest.mark.parametrize("name", names())
def test_every_recipe_of_the_package_can_be_tried_without_images(name: str) -> None:
    recipe = Recipe.load(name)
    published = recipe.hyperparameters.get("data_format")  # read as published: synthetic images have no such layout
    assert recipe.synthetic in SYNTHETIC or published
    assert recipe.summary.endswith(".") and "seed" not in recipe.summary


def test_hyperparameters_of_the_api_have_their_own_types() -> None:
    merged = Recipe.load("demo").merged(
        {"epochs": 3, "num_layers": 50, "use_weighted_loss": False, "image_shape": [1, 64, 64]}
    )
    assert (merged["epochs"], merged["num_layers"], merged["use_weighted_loss"]) == ("3", "50", "false")
    assert merged["image_shape"] == "1,64,64"
    assert "network" not in merged
