"""Another set than that of the training: labels with other names, scores by study, and what differs."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

import images as make
from thorax.data.formats import FORMATS
from thorax.data.formats.registry import DataFormat
from thorax.data.images import Preprocessing
from thorax.data.samples import Listing
from thorax.labels import LabelSpace
from thorax.models import build
from thorax.serving.bundle import Bundle
from thorax.serving.bundle_contents import BundleContents
from thorax.serving.bundle_writer import write_bundle
from thorax_launch.cli import evaluate

ROOT = Path(__file__).resolve().parents[2]
SPACE = LabelSpace(("Effusion", "Lung Opacity", "Mass"), "multilabel")
TRAINING = {
    "images": 100,
    "patients": 60,
    "labels": {"Effusion": {"known": 100, "prevalence": 0.1}, "Mass": {"known": 90, "prevalence": 0.5}},
    "view": {"PA": 100},
    "sex": {"F": 50, "M": 50},
    "age": {"known": 100, "mean": 40.0, "std": 10.0, "quartiles": [33, 40, 47]},
}


def write(folder, space=SPACE, training=TRAINING):
    torch.manual_seed(0)
    net = build("cnn5", 1, len(space.outputs), 0.0).eval()
    contents = BundleContents(
        network="cnn5",
        space=space,
        preprocessing=Preprocessing(32, 32),
        thresholds=dict.fromkeys(space.outputs, 0.5),
        training_data=training,
    )
    write_bundle(folder, net, contents, "id,patient,part\n", ROOT / "source_dir")
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write(tmp_path_factory.mktemp("external") / "model")


def scored(tmp_path, *words):
    """What `thorax evaluate` writes as JSON."""
    assert evaluate.main([*map(str, words), "--json", str(tmp_path / "scores.json"), "--resamples", "20"]) == 0
    return json.loads((tmp_path / "scores.json").read_text())


def refused(capsys, *words):
    assert evaluate.main([*map(str, words)]) == 1
    return capsys.readouterr().err


@pytest.fixture
def other(tmp_path):
    """A set with labels of its own: Pleural Effusion, Infiltration, Consolidation (some unknown), Hernia."""
    rows = ["path,Pleural Effusion,Infiltration,Consolidation,Hernia,patient"]
    marks = ["1,1,0,0", "0,0,1,0", "0,0,0,1", "1,,1,0", "0,,0,0", "0,0,0,0"]
    rows += [f"{k}.png,{mark},p{k // 2}" for k, mark in enumerate(marks)]
    return make.table(tmp_path / "set", "\n".join(rows) + "\n", [f"{k}.png" for k in range(6)])


def test_labels_are_mapped_by_a_file_and_by_the_names_of_public_sets(bundle, other, tmp_path, capsys):
    (tmp_path / "labels.yaml").write_text("Lung Opacity: [Infiltration, Consolidation]\n")
    got = scored(tmp_path, bundle, "--data", other, "--map", tmp_path / "labels.yaml")
    labels = got["scores"]["set"]["labels"]
    assert (labels["Effusion"]["n"], labels["Effusion"]["positives"]) == (6, 2)
    # any of: 1 where one is 1, even beside an unknown one; unknown where none is 1 and one is unknown
    assert (labels["Lung Opacity"]["n"], labels["Lung Opacity"]["positives"]) == (5, 3)
    assert labels["Mass"]["n"] == 0
    out = capsys.readouterr().out
    for line in (
        "map: Effusion = Pleural Effusion",
        "map: Lung Opacity = Infiltration or Consolidation",
        "map: Mass = nothing: it is not scored",
        f"map: 1 label of {other} is not used: Hernia",
    ):
        assert line in out
    common = scored(tmp_path, bundle, "--data", other, "--map", "common")["scores"]["set"]["labels"]
    assert {name: entry["n"] for name, entry in common.items()} == {"Effusion": 6, "Lung Opacity": 0, "Mass": 0}


def test_a_bundle_of_two_classes_is_scored_on_a_set_of_many_labels(tmp_path, other):
    two = write(tmp_path / "two", LabelSpace(("NORMAL", "PNEUMONIA"), "binary"), None)
    (tmp_path / "labels.yaml").write_text("PNEUMONIA: [Infiltration, Consolidation]\n")
    labels = scored(tmp_path, two, "--data", other, "--map", tmp_path / "labels.yaml")["scores"]["set"]["labels"]
    assert (labels["PNEUMONIA"]["n"], labels["PNEUMONIA"]["positives"]) == (5, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Efusion: Pleural Effusion", "Efusion is no label of the bundle: .*; did you mean Effusion?"),
        ("Effusion: Pleural Efusion", "Pleural Efusion is no label of the images: .*; did you mean Pleural Effusion?"),
        ("Effusion: 3", "Effusion must be a name or a list of names, found 3"),
        ("- Effusion", "must hold lines such as `Effusion: Pleural Effusion`"),
        ("a: [", "is no YAML"),
    ],
)
def test_a_wrong_map_is_one_line(bundle, other, tmp_path, capsys, text, message):
    (tmp_path / "labels.yaml").write_text(text)
    error = refused(capsys, bundle, "--data", other, "--map", tmp_path / "labels.yaml")
    assert re.search(message.replace("?", r"\?"), error) and error.count("\n") == 1


# --- studies


def predictions(file, rows, space=("PNEUMONIA",)):
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([["id", "patient", "study", "probability:PNEUMONIA", "target:PNEUMONIA"], *rows])
    return file


@pytest.mark.parametrize("rule", ["mean", "max"])
def test_scores_are_also_of_studies(tmp_path, capsys, rule):
    """Against scikit-learn on studies that are put together by hand; intervals are by patient."""
    two = write(tmp_path / "two", LabelSpace(("NORMAL", "PNEUMONIA"), "binary"), None)
    rng = np.random.default_rng(3)
    rows, studies = [], {}
    for study in range(40):
        target = int(rng.integers(2))
        for view in range(int(rng.integers(1, 4))):
            p = round(float(np.clip(rng.normal(0.45 + 0.1 * target, 0.2), 0, 1)), 7)
            rows.append([f"{study}-{view}.png", f"p{study // 2}", f"s{study}", p, target])
            studies.setdefault(study, (target, []))[1].append(p)
    got = scored(tmp_path, two, "--predictions", predictions(tmp_path / "p.csv", rows), "--studies", rule)
    whole = got["scores"][f"predictions by study ({rule})"]
    truth = [target for target, _ in studies.values()]
    combined = [float(getattr(np, rule)(p)) for _, p in studies.values()]
    assert whole["labels"]["PNEUMONIA"]["auc"]["value"] == pytest.approx(roc_auc_score(truth, combined))
    assert (whole["n"], whole["unit"], whole["patients"]) == (40, "study", 20)
    assert got["scores"]["predictions"]["n"] == len(rows) and got["headline"] == "predictions"
    assert f"predictions by study ({rule}): 40 studies of 20 patients" in capsys.readouterr().out
    alone = scored(tmp_path, two, "--predictions", tmp_path / "p.csv", "--studies", "none")
    assert [*alone["scores"]] == ["predictions"]


def test_a_study_has_a_label_that_one_of_its_images_has(tmp_path):
    two = write(tmp_path / "two", LabelSpace(("NORMAL", "PNEUMONIA"), "binary"), None)
    rows = [["a", "p", "s1", 0.9, 1], ["b", "p", "s1", 0.5, 0], ["c", "q", "s2", 0.2, 0], ["d", "q", "s2", 0.4, ""]]
    rows += [["e", "r", "s3", 0.1, ""], ["f", "r", "s3", 0.1, ""], ["g", "t", "", 0.3, 1]]
    got = scored(tmp_path, two, "--predictions", predictions(tmp_path / "p.csv", rows))
    entry = got["scores"]["predictions by study (mean)"]["labels"]["PNEUMONIA"]
    assert (entry["n"], entry["positives"]) == (3, 2)  # s1 and the image alone have it, s2 has it not, s3 is unknown


# --- what differs from the training data


class Described(DataFormat):
    """Images with views, sexes, ages and studies."""

    name = "described"
    help = "a toy"

    def detect(self, channel):
        return "a described set" if (channel.folder / "described").exists() else ""

    def read(self, channel):
        files = sorted(channel.folder.glob("*.png"))
        known = {"view": ["PA", "LATERAL"] * 4, "sex": [*"FFFMMM", "", ""], "age": [*"12345678"]}
        known["age"] = [f"{10 * int(k)}" for k in known["age"]]
        names = [file.name for file in files]
        targets = np.array([[1, 0, k % 2] for k in range(8)], np.float32)
        targets[4:, 0] = 0
        return Listing(
            SPACE.classes,
            names,
            files,
            targets,
            [f"p{k // 2}" for k in range(8)],
            False,
            studies=[f"s{k // 2}" for k in range(8)],
            attributes=known,
        )


@pytest.fixture
def described(tmp_path):
    FORMATS.register("described", Described())
    make.written(tmp_path / "set", 8)
    (tmp_path / "set" / "described").touch()
    yield tmp_path / "set"
    FORMATS.remove("described")


def test_the_report_says_what_shifts(bundle, described, tmp_path, capsys):
    page = tmp_path / "page.html"
    got = scored(tmp_path, bundle, "--data", described, "--data-format", "described", "--html", page)
    rows = {(row["what"], row["of"]): row for row in got["shifts"]}
    assert (rows["prevalence", "Effusion"]["training"], rows["prevalence", "Effusion"]["here"]) == (0.1, 0.5)
    assert rows["prevalence", "Effusion"]["effect"] == pytest.approx(2 * np.arcsin(0.5**0.5) - 2 * np.arcsin(0.1**0.5))
    assert rows["prevalence", "Effusion"]["shifted"] and not rows["prevalence", "Mass"]["shifted"]
    assert rows["prevalence", "Lung Opacity"]["training"] is None
    assert (rows["view", "PA"]["here"], rows["view", "LATERAL"]["training"]) == (0.5, 0)
    assert not rows["sex", "F"]["shifted"] and rows["age", "mean"]["here"] == 45
    spread = ((np.arange(10, 90, 10).std() ** 2 + 100) / 2) ** 0.5
    assert rows["age", "mean"]["effect"] == pytest.approx(5 / spread)
    text = capsys.readouterr().out
    assert "prevalence: Effusion 10.0 % 50.0 % +0.93 *" in " ".join(text.split())
    assert "set by study (mean): 4 studies of 4 patients" in text
    assert "What differs from the training data" in page.read_text() and "4 studies of 4 patients" in page.read_text()
    assert Bundle.load(bundle).training_data == TRAINING
