"""A bundle is scored on images that are read as its training read them; a published set is trained and scored whole."""

from __future__ import annotations

import json

import pytest

import images as make
import published
import thorax
from thorax_launch.cli import batch, evaluate, prepare

TINY = {"network": "cnn5", "image_shape": "1,32,32", "epochs": 1, "batch_size": 8, "warmup_epochs": 0}
QUICK = {"augmentation_type": "none", "bootstrap_samples": 0, "num_workers": 0, "threshold_views": 0}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(bundle, set) of frontal images of CheXpert, with uncertain Edema as a label of its own."""
    root = tmp_path_factory.mktemp("chexpert")
    published.chexpert(root / "set")
    given = {"labels": "Edema", "where": "Frontal/Lateral=Frontal", "uncertain": "Edema:class"}
    result = thorax.train({**TINY, **QUICK, **given}, train=root / "set", output=root / "out")
    return result.bundle, root / "set"


def scores(tmp_path, *words):
    assert evaluate.main([*map(str, words), "--json", str(tmp_path / "s.json"), "--resamples", "0"]) == 0
    return json.loads((tmp_path / "s.json").read_text())


def test_where_holds_for_scores_too(trained, tmp_path, capsys):
    bundle, images = trained
    got = scores(tmp_path, bundle, "--data", images)
    assert got["scores"]["set"]["n"] == 16  # of 32: half of them are lateral
    out = capsys.readouterr().out
    assert "read as in the bundle's training: where=Frontal/Lateral=Frontal" in out
    assert "16 of 32 rows of train.csv and valid.csv have Frontal/Lateral=Frontal; the others are left out" in out
    assert "not listed" not in out  # they are counted once
    every = scores(tmp_path, bundle, "--data", images, "--set", "where=")
    assert every["scores"]["set"]["n"] == 32
    assert {row["of"] for row in every["shifts"] if row["what"] == "view"} == {"AP", "LATERAL"}
    lateral = next(row for row in every["shifts"] if (row["what"], row["of"]) == ("view", "LATERAL"))
    assert (lateral["training"], lateral["here"]) == (0, 0.5)
    ages = next(row for row in every["shifts"] if row["what"] == "age")
    assert ages["training"] > 40 and ages["here"] == pytest.approx((4 * sum(range(40, 46)) + 4 * (40 + 41)) / 32)
    assert {row["of"] for row in every["shifts"] if row["what"] == "sex"} == {"F", "M"}


def test_uncertain_is_a_label_of_its_own(trained, tmp_path):
    bundle, images = trained
    labels = scores(tmp_path, bundle, "--data", images, "--set", "where=")["scores"]["set"]["labels"]
    assert (labels["Edema"]["n"], labels["Edema"]["positives"]) == (30, 14)
    assert (labels["Edema uncertain"]["n"], labels["Edema uncertain"]["positives"]) == (32, 2)


def test_another_set_is_read_by_its_own_columns(trained, tmp_path, capsys):
    rows = "path,Edema,patient\n" + "".join(f"{k}.png,{k % 2},p{k}\n" for k in range(4))
    other = make.table(tmp_path / "other", rows, [f"{k}.png" for k in range(4)])
    assert evaluate.main([str(trained[0]), "--data", str(other)]) == 1
    assert "where=Frontal/Lateral: " in capsys.readouterr().err
    got = scores(tmp_path, trained[0], "--data", other, "--map", "common")
    assert got["scores"]["other"]["labels"]["Edema"]["n"] == 4
    assert "another set than that of the training; its where=Frontal/Lateral=Frontal is not used" in (
        capsys.readouterr().out
    )


def test_batch_reads_as_the_training_did(trained, tmp_path, capsys):
    words = ["--local", str(trained[0]), "--data", str(trained[1]), "--out", str(tmp_path / "p.csv")]
    assert batch.main([*words, "--workers", "0"]) == 0
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 17
    assert "lateral" not in (tmp_path / "p.csv").read_text()
    assert batch.main([*words, "--workers", "0", "--set", "where=Sex=Male"]) == 0
    text = (tmp_path / "p.csv").read_text()
    assert len(text.splitlines()) == 17 and text.count("lateral") == 8


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("where", "--set where must be NAME=VALUE"),
        ("epochs=3", "--set epochs=3: epochs does not say how images are read; those that do are labels,"),
        ("blank=no", "blank=no is not one of auto, unknown, negative"),
    ],
)
def test_a_wrong_setting_is_one_line(trained, capsys, setting, message):
    assert evaluate.main([str(trained[0]), "--data", str(trained[1]), "--set", setting]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize("name", published.SETS)
def test_check_of_each_published_set(tmp_path, name, capsys):
    """Images that a set leaves out with a line of its own are counted once."""
    published.SETS[name][1](tmp_path / "set")
    prepare.main(["check", str(tmp_path / "set"), "--json", str(tmp_path / "c.json"), "--processes", "1"])
    found = json.loads((tmp_path / "c.json").read_text())["findings"]
    assert not [f for f in found if "not listed" in f["message"]]
    unknown = [f for f in found if f["check"] == "patients-unknown"]
    assert bool(unknown) == (name in ("rsna", "vindr-kaggle", "vindr-physionet"))


def test_prepare_reads_by_a_recipe_and_by_settings(tmp_path, capsys):
    published.chexpert(tmp_path / "set")
    words = ["stats", str(tmp_path / "set"), "--processes", "1", "--json", str(tmp_path / "s.json")]
    assert prepare.main([*words, "--recipe", "chexpert"]) == 0
    read = json.loads((tmp_path / "s.json").read_text())
    assert list(read["labels"]) == ["Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion"]
    assert "16 of 32 rows" in capsys.readouterr().out
    assert prepare.main([*words, "--recipe", "chexpert", "--set", "where=Frontal/Lateral=Lateral"]) == 0
    assert "16 of 32 rows" in capsys.readouterr().out
