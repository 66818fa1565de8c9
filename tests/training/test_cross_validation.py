"""A cross-validation: folds, all of them together, and the refit; each figure against another way to it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import thorax
from conftest import TINY
from thorax.cross_validation import gather
from thorax.errors import ThoraxError
from thorax.serving.bundle import Bundle
from thorax.serving.classifier import Classifier
from written_bundles import described

SETTINGS = {**TINY, "epochs": 2, "learning_rate": "0.003", "use_weighted_loss": "true", "threshold_views": "1"}


@pytest.fixture(scope="module")
def folds(images: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("cv")
    for k in range(2):
        given = {**SETTINGS, "folds": 2, "fold": k}
        thorax.train(given, train=images / "train", test=images / "test", output=root / f"fold-{k}")
    return [root / f"fold-{k}" for k in range(2)]


@pytest.fixture(scope="module")
def together(folds, tmp_path_factory):
    return gather(folds, tmp_path_factory.mktemp("all") / "out-of-fold", print)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "out_of_fold.csv").open() as file:
        return list(csv.DictReader(file))


def test_every_training_image_is_answered_once_by_the_fold_that_had_not_seen_it(images, folds, together):
    rows = table(together.folder)
    names = sorted(f"{path.parent.name}/{path.name}" for path in (images / "train").rglob("*.png"))
    assert sorted(row["id"] for row in rows) == names
    for fold, folder in enumerate(folds):
        with (folder / "model/split.csv").open() as file:
            parts = {row["id"]: row["part"] for row in csv.DictReader(file)}
        assert {row["id"] for row in rows if row["fold"] == str(fold)} == {
            name for name, part in parts.items() if part == "validation"
        }
        assert set(parts.values()) == {"train", "validation"}  # test waits for the final bundle
        assert "test" not in json.loads((folder / "output/data/metrics.json").read_text())
    assert all(row["patient"] for row in rows)


def test_the_answers_are_those_of_the_folds_bundles(images, folds, together):
    """By the served network of each fold, its own calibration undone, and the common one put in place."""
    bundle = Bundle.load(folds[1] / "model")
    rows = [row for row in table(together.folder) if row["fold"] == "1"]
    p = Classifier.load(folds[1] / "model", precision="float32").predict([images / "train" / row["id"] for row in rows])
    plain = bundle.calibrator.undone(p, "binary").astype(np.float64)
    want = together.calibrated.calibration.probabilities(np.log(plain / (1 - plain)), "binary")
    found = np.array([[float(row["probability:PNEUMONIA"])] for row in rows])
    np.testing.assert_allclose(found, want, atol=2e-4)


def test_scores_are_pooled_and_by_fold(together):
    rows = table(together.folder)
    y, p = (np.array([float(row[f"{kind}:PNEUMONIA"]) for row in rows]) for kind in ("target", "probability"))
    fold_of = np.array([int(row["fold"]) for row in rows])
    stored = json.loads((together.folder / "folds.json").read_text())
    assert stored["out_of_fold"]["macro"]["auc"]["value"] == pytest.approx(roc_auc_score(y, p), abs=1e-6)
    each = [roc_auc_score(y[fold_of == k], p[fold_of == k]) for k in range(2)]
    auc = stored["by_fold"]["auc"]
    assert auc["folds"] == pytest.approx(each, abs=1e-6) and auc["mean"] == pytest.approx(np.mean(each), abs=1e-6)
    half = 12.706204736174694 * np.std(each, ddof=1) / np.sqrt(2)  # Student's t of one degree of freedom
    assert auc["low"] == pytest.approx(max(np.mean(each) - half, 0), abs=1e-6)
    assert auc["high"] == pytest.approx(min(np.mean(each) + half, 1), abs=1e-6)
    decided = np.array([row["decision:PNEUMONIA"] == "1" for row in rows])
    np.testing.assert_array_equal(decided, p >= stored["thresholds"]["PNEUMONIA"])
    lines = "\n".join(together.lines())
    assert "out-of-fold: 48 images of 48 patients in 2 folds" in lines and "a refit takes" in lines
    assert (together.folder / "report.html").is_file()


def test_a_refit_trains_on_all_and_takes_thresholds_and_calibration_from_the_folds(images, together, tmp_path, capsys):
    epochs = together.held_out.epochs
    given = {**SETTINGS, "epochs": epochs}
    channels = {"held_out": together.folder}
    done = thorax.train(
        given, train=images / "train", test=images / "test", channels=channels, output=tmp_path / "refit"
    )
    said = capsys.readouterr().out
    assert "refit: all images are trained on and the last epoch is kept" in said
    bundle = Bundle.load(done.bundle)
    assert bundle.thresholds == pytest.approx(together.thresholds, abs=1e-6)
    entry, wanted = bundle.calibrator, together.calibrated.calibration
    assert entry.methods == wanted.methods
    assert [*entry.temperatures, *entry.biases] == pytest.approx([*wanted.temperatures, *wanted.biases], abs=1e-4)
    assert bundle.split["out_of_fold"] == {
        "folds": 2,
        "best_epochs": [epoch for _, epoch in sorted(together.held_out.best_epochs.items())],
        "of_them": ["thresholds", "calibration", "metrics.validation"],
    }
    assert bundle.split["counts"] == {"train": 48, "test": 16}
    with (done.bundle / "split.csv").open() as file:
        assert sorted(row["part"] for row in csv.DictReader(file)) == ["test"] * 16 + ["train"] * 48
    assert done.metrics["best_epoch"] == epochs == done.metrics["epochs"]
    pooled = together.scores["macro"]["auc"]["value"]
    assert done.metrics["validation"]["macro"]["auc"]["value"] == pytest.approx(pooled, abs=1e-6)
    assert done.metrics["test"]["n"] == 16
    last = said.splitlines()[-1]
    assert f"validation_auc={pooled:.4f}" in last or f"AUC {pooled:.3f}" in last, last


def test_folds_of_another_run_are_refused(folds, tmp_path):
    shutil.copytree(folds[1], tmp_path / "fold-1")
    configuration = json.loads((folds[1] / "model/bundle.json").read_text())["configuration"]
    described(tmp_path / "fold-1/model", configuration=configuration | {"epochs": 1})
    with pytest.raises(ThoraxError, match="fold-1 was trained with epochs=1, fold-0 with 2"):
        gather([folds[0], tmp_path / "fold-1"], tmp_path / "all", print)
    with pytest.raises(ThoraxError, match="the folds are 0, not 0 to 1"):
        gather(folds[:1], tmp_path / "all", print)
    shutil.copytree(folds[0], tmp_path / "torn")
    (tmp_path / "torn/output/data/held_out.npz").unlink()
    with pytest.raises(ThoraxError, match=r"held_out\.npz does not exist"):
        gather([tmp_path / "torn", *folds[1:]], tmp_path / "all", print)


def test_a_validation_channel_beside_folds_is_refused(images, together, tmp_path):
    given = {**SETTINGS, "folds": 2, "fold": 0}
    with pytest.raises(ThoraxError, match="--validation with folds=2"):
        thorax.train(given, train=images / "train", validation=images / "test", output=tmp_path / "a")
    with pytest.raises(ThoraxError, match="--validation with the channel held_out"):
        thorax.train(
            SETTINGS,
            train=images / "train",
            validation=images / "test",
            channels={"held_out": together.folder},
            output=tmp_path / "b",
        )


def test_other_images_than_the_folds_had_are_refused(images, together, tmp_path):
    shutil.copytree(images / "train", tmp_path / "train")
    next((tmp_path / "train/NORMAL").iterdir()).unlink()
    with pytest.raises(ThoraxError, match="1 image of the folds is not in train"):
        thorax.train(SETTINGS, train=tmp_path / "train", channels={"held_out": together.folder}, output=tmp_path / "c")
