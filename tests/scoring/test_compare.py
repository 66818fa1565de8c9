"""thorax compare: several runs in one table, matched by name, against scikit-learn."""

from __future__ import annotations

import csv
import io
import json
import re

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_auc_score

import images as make
import saved_runs
from conftest import write_images
from saved_runs import BINARY, FINDINGS
from thorax import compare_runs
from thorax.evaluation.comparison import compare as paired
from thorax.labels import LabelSpace
from thorax.scoring import CompareOptions, evaluate
from thorax.scoring.compared.saved import SavedPredictions
from thorax_launch.cli import compare
from untrained import untrained

QUICK = CompareOptions(resamples=50)


@pytest.fixture
def four(tmp_path):
    """Four jobs as the first original's table has them."""
    for name, skill, rate in (("224", 1.0, 50), ("weighted", 1.5, 50), ("fp16", 1.6, 90), ("896", 2.5, 10)):
        saved_runs.job(tmp_path / name, *saved_runs.answers(FINDINGS, skill), FINDINGS, rate)
    return tmp_path


def test_the_table_of_four_runs(four):
    found = compare_runs([four / name for name in ("224", "weighted", "fp16", "896")], options=QUICK)
    y, p = saved_runs.answers(FINDINGS, 1.6)
    for k, label in enumerate(FINDINGS.outputs):
        assert found.scores["fp16"]["labels"][label]["auc"]["value"] == pytest.approx(roc_auc_score(y[:, k], p[:, k]))
    _, first = saved_runs.answers(FINDINGS, 1.0)
    patients = [f"p{k // 2}" for k in range(len(y))]
    difference = paired(y, first, p, FINDINGS, patients, resamples=50)["macro"]
    assert found.differences["fp16"]["macro"]["difference"] == pytest.approx(difference["difference"])
    assert found.differences["fp16"]["macro"]["low"] == pytest.approx(difference["low"])
    assert found.baselines["majority"]["labels"]["Mass"]["auc"] == 0.5
    table = found.table()
    assert re.search(r"Training minutes +2.00 +2.00 +2.00 +2.00", table)
    assert re.search(r"Seconds an image, training +0.0200 +0.0200 +0.0111 +0.1000", table)
    assert re.search(r"Speed-up, training +1.00x +1.00x +1.80x +0.20x", table)
    assert re.search(r"Cost in dollars +0.20", table)
    assert "120 images of 60 patients that all 4 runs have" in table


def test_every_way_out_has_the_numbers_and_escapes_names(four, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(four)
    out = {name: tmp_path / f"out.{name}" for name in ("markdown", "csv", "html", "json")}
    words = [word for name, file in out.items() for word in (f"--{name}", str(file))]
    runs = ["<b>|base=224", "896", "--runs", str(four), "--resamples", "20"]
    assert compare.main([*runs, *words]) == 0
    auc = f"{json.loads(out['json'].read_text())['runs'][1]['scores']['macro']['auc']['value']:.3f}"
    assert auc in capsys.readouterr().out
    assert f"**{auc} [" in out["markdown"].read_text() and "&lt;b&gt;\\|base" in out["markdown"].read_text()
    assert auc in out["html"].read_text() and "<b>|base" not in out["html"].read_text()
    rows = list(csv.DictReader(io.StringIO(out["csv"].read_text())))
    mean = next(row for row in rows if (row["run"], row["label"], row["metric"]) == ("896", "mean", "auc"))
    assert mean["value"].startswith(auc[:4]) and {"baseline: majority", "baseline: random"} < {r["run"] for r in rows}


def test_a_narrow_terminal_loses_no_run(four, tmp_path):
    found = compare_runs([four / name for name in ("224", "weighted", "fp16", "896")], options=QUICK)
    narrow = found.table(80)
    assert max(map(len, narrow.splitlines())) <= 80
    for run in found.names:
        assert run in narrow and f"{found.scores[run]['macro']['auc']['low']:.3f}" in narrow
    for columns in (50, 60):
        many = compare_runs([f"r{k}={four / '224'}" for k in range(12)], options=QUICK).table(columns)
        assert max(map(len, many.splitlines())) <= columns
    long = saved_runs.job(tmp_path / ("n" * 40), *saved_runs.answers(FINDINGS, 1), FINDINGS)
    narrow = compare_runs([long, *[four / "224"] * 9], options=QUICK).table(60)
    assert max(map(len, narrow.splitlines())) <= 60 and f"A is {'n' * 40}" in narrow and " J" in narrow


def test_labels_are_matched_by_name_and_images_that_some_lack_are_counted(four):
    y, p = saved_runs.answers(FINDINGS, 2.0)
    space = LabelSpace(("hernia", "Edema", "pleural_thickening"), "multilabel")
    turned = saved_runs.job(four / "turned", y[10:, [2, 0, 1]], p[10:, [2, 0, 1]], space)
    file = turned / "output" / "data" / "predictions.csv"
    rows = file.read_text().splitlines()
    renamed = [re.sub(r"images/(\d+)", lambda m: f"films/{int(m[1]) + 10:05}", row) for row in rows]
    file.write_text("\n".join([renamed[0], *reversed(renamed[1:])]) + "\n")
    found = compare_runs([four / "224", turned], options=QUICK)
    assert found.labels.outputs == ("Pleural Thickening", "Hernia")
    entry = found.scores["turned"]["labels"]["Hernia"]["auc"]["value"]
    assert entry == pytest.approx(roc_auc_score(y[10:, 2], p[10:, 2]))
    said = "\n".join(found.notes)
    assert "224: 1 label not in all runs and left out: Mass" in said and "turned: 1 label not in all runs" in said
    assert "hernia as Hernia" in said and "224: 10 images of 120 are not in all runs and left out" in said
    assert "matched by the file's name alone" in said


def test_the_other_class_of_two_is_turned_not_guessed(tmp_path):
    y, p = saved_runs.answers(BINARY, 2.0)
    saved_runs.job(tmp_path / "a", y, p, BINARY)
    saved_runs.job(tmp_path / "b", 1 - y, 1 - p, LabelSpace(("PNEUMONIA", "NORMAL"), "binary"))
    found = compare_runs([tmp_path / "a", tmp_path / "b"], options=QUICK)
    assert found.scores["b"]["labels"]["PNEUMONIA"]["auc"]["value"] == pytest.approx(roc_auc_score(y[:, 0], p[:, 0]))
    assert "one minus its probabilities is used" in "\n".join(found.notes)


def test_truths_that_differ_are_counted(tmp_path):
    y, p = saved_runs.answers(BINARY, 2.0)
    saved_runs.job(tmp_path / "a", y, p, BINARY)
    other = y.copy()
    other[:3] = 1 - other[:3]
    saved_runs.job(tmp_path / "b", other, p, BINARY)
    found = compare_runs([tmp_path / "a", tmp_path / "b"], options=QUICK)
    assert "warning: b has another truth of 3 images; what is named before it counts" in found.notes
    assert found.differences["b"]["macro"]["difference"] == 0


def test_bundles_are_scored_on_images_as_evaluate_scores_them(tmp_path):
    write_images(tmp_path / "set", 6, seed=4)
    first, second = (untrained(tmp_path / name / "model", make.BINARY, seed) for seed, name in ((1, "a"), (2, "b")))
    found = compare_runs([first, second], tmp_path / "set", QUICK)
    expected = evaluate(second, tmp_path / "set", compare_with=first, resamples=50)
    assert found.names == ["a", "b"]
    assert found.scores["b"]["macro"] == expected.scores["set"]["macro"]
    assert found.differences["b"]["macro"]["difference"] == pytest.approx(-expected.comparison["macro"]["difference"])
    assert (
        found.scores["b"]["labels"]["PNEUMONIA"]["confusion"]
        == expected.scores["set"]["labels"]["PNEUMONIA"]["confusion"]
    )
    assert "Seconds an image, scored here" in found.table()


def test_answers_without_probabilities_have_a_crosstab_and_no_auc(tmp_path):
    y, p = saved_runs.answers(BINARY, 2.0)
    names = np.array(BINARY.classes)
    truth, called = names[y[:, 0].astype(int)], names[(p[:, 0] > 0.6).astype(int)]
    rows = zip(saved_runs.ids(), truth, called, strict=True)
    (tmp_path / "theirs.csv").write_text("file,label,prediction\n" + "".join(f"{','.join(row)}\n" for row in rows))
    found = compare_runs([saved_runs.job(tmp_path / "ours", y, p, BINARY), tmp_path / "theirs.csv"], options=QUICK)
    result = found.scores["theirs"]
    positive = {"pos_label": "PNEUMONIA"}
    assert result["accuracy"]["value"] == pytest.approx(accuracy_score(truth, called))
    assert result["macro"]["ppv"]["value"] == pytest.approx(precision_score(truth, called, **positive))
    assert result["macro"]["sensitivity"]["value"] == pytest.approx(recall_score(truth, called, **positive))
    assert result["macro"]["f1"]["value"] == pytest.approx(f1_score(truth, called, **positive))
    assert result["macro"]["auc"]["value"] is None and "theirs" not in found.differences
    tn = int(((truth == "NORMAL") & (called == "NORMAL")).sum())
    fp = int(((truth == "NORMAL") & (called == "PNEUMONIA")).sum())
    assert re.search(rf"NORMAL +{tn} +{fp}\n", found.table())


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["nowhere"], r"nowhere is no run: there is no such file or folder, and no job of that name in .*"),
        (["untrained"], r"untrained keeps no predictions of its own: give the job's folder, .*--data DIR"),
        (["224", "--metric", "auroc"], r"--metric auroc is unknown; choose one of auc, .*"),
        (["224", "--columns", "id"], r"--columns id must be KEY=COLUMN, .*"),
        (["224", "--truth", "none.csv"], r"--truth none.csv does not exist"),
        (["224", "others.csv"], r"the runs have no image in common; their images are 224: 120 .*; others: 2 .*"),
        (["224", "strange.csv"], r"the runs have no label in common; .*strange: no Gout, Gout"),
        (["224", "logits.csv"], r"logits.csv line 2: prob_Mass=3.2 is not a probability in 0..1; logits .*"),
        (["224", "twice.csv"], r"twice.csv line 3: image a.png is there a second time"),
        (["224", "--resamples", "-1"], r"--resamples -1 is out of range: it must be 0 to 100000"),
        (["224", "--part", "train"], r".*predictions.csv has no part train; it has test"),
    ],
)
def test_one_line_says_what_is_wrong(four, monkeypatch, capsys, words, shown):
    monkeypatch.chdir(four)
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    if words == ["untrained"]:
        untrained(four / "untrained")
    for name, text in {
        "others": "id,prob_Mass\nq.png,0.5\nr.png,0.2\n",
        "strange": "id,prob_Gout,true_Gout\nimages/00000.png,0.5,1\n",
        "logits": "id,prob_Mass\na.png,3.2\n",
        "twice": "id,prob_Mass\na.png,0.5\na.png,0.2\n",
    }.items():
        (four / f"{name}.csv").write_text(text)
    assert compare.main([*words, "--runs", str(four)]) == 1
    error = capsys.readouterr().err.strip()
    assert re.fullmatch(f"error: {shown}", error), error


def test_columns_of_one_run_are_its_own():
    saved = SavedPredictions(["a"], BINARY, np.array([[0.2]]), np.array([[False]]), np.array([[np.nan]]))
    assert saved.column("NORMAL")[0] == pytest.approx(0.8) and saved.column("Mass") is None
