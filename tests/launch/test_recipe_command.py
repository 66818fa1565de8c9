"""thorax recipe: what there is, one of your own by five questions, and a schema that takes all that we have."""

from __future__ import annotations

import io
import json

import pytest
import yaml

from thorax_launch.cli import recipe
from thorax_launch.paths import RECIPES
from thorax_launch.recipe import Recipe, names
from thorax_launch.recipe_schema import schema


def test_the_list_has_every_recipe(capsys):
    assert recipe.main(["list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == names()


def test_five_questions_write_a_recipe(tmp_path, monkeypatch, capsys):
    answers = iter(["Tuberculosis: seen or not", "densenet121", "", "3", "16"])
    monkeypatch.setattr("sys.stdin", type("Terminal", (io.StringIO,), {"isatty": lambda self: True})())
    monkeypatch.setattr("builtins.input", lambda question: next(answers))
    file = tmp_path / "mine.yaml"
    assert recipe.main(["new", str(file)]) == 0
    assert next(answers, None) is None
    written = Recipe.load(str(file))
    assert (written.name, written.summary) == ("mine", "Tuberculosis: seen or not")
    assert written.hyperparameters == {
        "network": "densenet121",
        "image_shape": "1,224,224",
        "epochs": "3",
        "batch_size": "16",
    }
    assert f"thorax train {file} --local --train DIR" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["new", "there.yaml", "--defaults"], "there.yaml is there already"),
        (["new", "mine.txt", "--defaults"], "must end with .yaml"),
        (["new", "mine.yaml"], "no terminal to ask on: give --defaults"),
    ],
)
def test_what_it_refuses(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.yaml").write_text("summary: mine\n")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert recipe.main(words) == 1
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["there.yaml"]


def test_the_schema_takes_every_recipe_and_refuses_a_wrong_one(capsys):
    jsonschema = pytest.importorskip("jsonschema")
    assert recipe.main(["schema"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(json.dumps(schema()))
    check = jsonschema.Draft202012Validator(printed)
    for file in sorted(RECIPES.glob("*.yaml")):
        assert [error.message for error in check.iter_errors(yaml.safe_load(file.read_text()))] == [], file.name
    for right in ("network: timm/vit_tiny_patch16_224", "wandb_tracking: true", "wandb_tracking: offline"):
        assert check.is_valid(yaml.safe_load(f"hyperparameters: {{{right}}}")), right
    for wrong in ("epochz: 3", "epochs: many", "network: resnet19", "network: timm/", "wandb_tracking: online"):
        assert not check.is_valid(yaml.safe_load(f"hyperparameters: {{{wrong}}}")), wrong
    for wrong in ("epochs: 3", "tune: {ranges: {}}"):
        assert not check.is_valid(yaml.safe_load(wrong)), wrong
