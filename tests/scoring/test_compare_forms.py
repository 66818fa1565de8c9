"""The forms in which other programs leave predictions: tables, arrays, a batch transform's .out files."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from thorax import ThoraxError, compare_runs
from thorax.labels import LabelSpace
from thorax.scoring import CompareOptions

#: Of six images: PNEUMONIA or not, and its probability. The AUC is 8 of 9 pairs.
Y = [1, 0, 1, 0, 1, 0]
P = [0.9, 0.2, 0.8, 0.6, 0.55, 0.1]
NAMES = ["NORMAL", "PNEUMONIA"]
FILES = [f"x/{k}.png" for k in range(6)]


def lines(head, row):
    return "\n".join([head, *(row(k) for k in range(6))]) + "\n"


def test_the_oracle():
    assert roc_auc_score(Y, P) == pytest.approx(8 / 9)


@pytest.mark.parametrize(
    ("text", "more"),
    [
        (lines("id,probability:PNEUMONIA,target:PNEUMONIA", lambda k: f"{FILES[k]},{P[k]},{Y[k]}"), {}),
        (lines("Image Index;p_PNEUMONIA;true_PNEUMONIA", lambda k: f"{FILES[k]};{P[k]};{Y[k]}"), {}),
        (lines("filename,PNEUMONIA_score,label", lambda k: f"{FILES[k]},{P[k]},{NAMES[Y[k]]}"), {}),
        (lines("path,prob_PNEUMONIA,PNEUMONIA", lambda k: f"{FILES[k]},{P[k]},{Y[k]}"), {}),
        (lines("path,prob_PNEUMONIA,y_true", lambda k: f"{FILES[k]},{P[k]},{Y[k]}.0"), {}),
        (lines("image,NORMAL,PNEUMONIA,class", lambda k: f"{FILES[k]},{1 - P[k]:.2f},{P[k]},{NAMES[Y[k]]}"), {}),
        (lines("class,PNEUMONIA,image,NORMAL", lambda k: f"{NAMES[Y[k]]},{P[k]},{FILES[k]},{1 - P[k]:.2f}"), {}),
        (lines("image,y_score,y_true", lambda k: f"{FILES[k]},{P[k]},{NAMES[Y[k]]}"), {}),
        (lines("image,score,y", lambda k: f"{FILES[k]},{P[k]},{Y[k]}"), {"labels": tuple(NAMES)}),
        (lines("image,prediction,target", lambda k: f"{FILES[k]},{P[k]},{Y[k]}"), {"labels": ("PNEUMONIA",)}),
        (
            lines("a,b,c", lambda k: f"{FILES[k]},{P[k]},{Y[k]}"),
            {"labels": tuple(NAMES), "columns": {"id": "a", "probability": "b", "truth": "c"}},
        ),
        (
            lines("image,p,finding,split", lambda k: f"{FILES[k]},{P[k]},{NAMES[Y[k]]},test")
            + "z.png,0.1,NORMAL,train\n",
            {},
        ),
    ],
)
def test_tables_of_two_classes(tmp_path, text, more):
    (tmp_path / "theirs.csv").write_text(text)
    found = compare_runs([tmp_path / "theirs.csv"], options=CompareOptions(resamples=0, **more))
    assert found.labels.outputs == ("PNEUMONIA",)
    assert found.scores["theirs"]["macro"]["auc"]["value"] == pytest.approx(8 / 9)
    assert found.scores["theirs"]["accuracy"]["value"] == pytest.approx(5 / 6)
    assert len(found.matched.ids) == 6


def test_tables_of_several_labels_with_names_in_a_cell(tmp_path):
    held = ["Mass|Edema", "No Finding", "Edema", "Mass", "No Finding", "Mass"]
    mass, edema = [0.9, 0.1, 0.3, 0.8, 0.4, 0.2], [0.7, 0.3, 0.9, 0.2, 0.4, 0.1]
    text = lines("Image Index,Finding Labels,Mass,Edema", lambda k: f"{FILES[k]},{held[k]},{mass[k]},{edema[k]}")
    (tmp_path / "nih.csv").write_text(text)
    found = compare_runs([tmp_path / "nih.csv"], options=CompareOptions(resamples=0))
    assert found.labels.task == "multilabel" and found.labels.outputs == ("Mass", "Edema")
    entries = found.scores["nih"]["labels"]
    assert entries["Mass"]["auc"]["value"] == pytest.approx(roc_auc_score([1, 0, 0, 1, 0, 1], mass))
    assert entries["Edema"]["auc"]["value"] == pytest.approx(roc_auc_score([1, 0, 1, 0, 0, 0], edema))
    assert found.baselines["majority"]["labels"]["Edema"]["accuracy"] == pytest.approx(4 / 6)


def test_labels_of_one_letter(tmp_path):
    text = lines("id,prob_A,prob_B,A,B", lambda k: f"{FILES[k]},{P[k]},{P[5 - k]},{Y[k]},{Y[5 - k]}")
    (tmp_path / "letters.csv").write_text(text)
    found = compare_runs([tmp_path / "letters.csv"], options=CompareOptions(resamples=0))
    assert found.labels == LabelSpace(("A", "B"), "multilabel")
    assert found.scores["letters"]["labels"]["A"]["auc"]["value"] == pytest.approx(8 / 9)


def test_answers_of_several_labels_and_answers_that_are_missing(tmp_path):
    rows = ["Mass|Edema,Mass", "No Finding,No Finding", "Edema,Edema|Mass", "No Finding,", "Mass,Mass", "Edema,Mass"]
    (tmp_path / "many.csv").write_text(lines("image,label,prediction", lambda k: f"{FILES[k]},{rows[k]}"))
    found = compare_runs([tmp_path / "many.csv"], options=CompareOptions(resamples=0))
    assert found.labels == LabelSpace(("Edema", "Mass"), "multilabel")
    assert found.scores["many"]["labels"]["Mass"]["confusion"] == {"tp": 2, "fp": 2, "tn": 2, "fn": 0}
    blank = lines("image,label,prediction", lambda k: f"{FILES[k]},{NAMES[Y[k]]},{NAMES[P[k] > 0.5] if k else ''}")
    (tmp_path / "two.csv").write_text(blank)
    found = compare_runs([tmp_path / "two.csv"], options=CompareOptions(resamples=0))
    assert len(found.matched.ids) == 5 and "two: 1 image is without predictions and left out" in found.notes


@pytest.mark.parametrize("numbers", [lambda p: [1 - p, p], lambda p: [p]])
def test_out_files_of_two_classes_with_one_number_or_two(tmp_path, numbers):
    for k, p in enumerate(P):
        file = tmp_path / "builtin" / "test" / f"{k}.png.out"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"prediction": numbers(p)}))
    (tmp_path / "test.lst").write_text("".join(f"{k}\t{Y[k]}\tfilms/{k}.png\n" for k in (5, 3, 1, 0, 2, 4)))
    how = CompareOptions(resamples=0, labels=tuple(NAMES), truth=tmp_path / "test.lst")
    found = compare_runs([tmp_path / "builtin"], options=how)
    assert found.scores["builtin"]["macro"]["auc"]["value"] == pytest.approx(8 / 9)
    assert found.labels.classes == tuple(NAMES)
    with pytest.raises(ThoraxError, match=r"holds [12] numbers an image without the names of their labels: --labels"):
        compare_runs([tmp_path / "builtin"])


def test_out_files_say_the_truth_by_their_folders(tmp_path):
    for k, p in enumerate(P):
        file = tmp_path / "builtin" / NAMES[Y[k]] / f"{k}.png.out"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps([1 - p, p]) if k else json.dumps({"error": "no image"}))
    found = compare_runs([tmp_path / "builtin"], options=CompareOptions(resamples=0, labels=tuple(NAMES)))
    assert found.scores["builtin"]["macro"]["auc"]["value"] == pytest.approx(roc_auc_score(Y[1:], P[1:]))
    assert "builtin: 1 image is without an answer and left out" in found.notes


def test_arrays(tmp_path):
    p, y = np.array(P), np.array(Y)
    np.savez(tmp_path / "whole.npz", probs=np.stack([1 - p, p], axis=1), ids=FILES, classes=NAMES, y_true=y)
    np.save(tmp_path / "plain.npy", p)
    (tmp_path / "truth.csv").write_text(lines("image,label", lambda k: f"{FILES[k]},{NAMES[Y[k]]}"))
    how = CompareOptions(resamples=0, labels=tuple(NAMES), truth=tmp_path / "truth.csv")
    found = compare_runs([tmp_path / "whole.npz", tmp_path / "plain.npy"], options=how)
    for run in ("whole", "plain"):
        assert found.scores[run]["macro"]["auc"]["value"] == pytest.approx(8 / 9)
    assert "plain: its rows are taken for the images of --truth in their order there" in found.notes
    with pytest.raises(ThoraxError, match=r"plain\.npy has no names of images"):
        compare_runs([tmp_path / "plain.npy"], options=CompareOptions(labels=tuple(NAMES)))
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ThoraxError, match="without pickle"):
        compare_runs([tmp_path / "objects.npy"], options=how)


def test_three_classes_by_their_indices(tmp_path):
    classes, random = ["bacterial", "normal", "viral"], np.random.default_rng(0)
    y, p = np.arange(30) % 3, random.dirichlet(np.ones(3), 30)
    rows = "".join(f"{k}.png,{y[k]},{','.join(f'{v:.6f}' for v in p[k])}\n" for k in range(30))
    (tmp_path / "a.csv").write_text(f"image,label,{','.join(f'prob_{name}' for name in classes)}\n{rows}")
    swapped = "".join(f"{k}.png,{classes[y[k]]},{p[k][2]:.6f},{p[k][0]:.6f},{p[k][1]:.6f}\n" for k in range(30))
    (tmp_path / "b.csv").write_text(f"image,label,viral,bacterial,normal\n{swapped}")
    found = compare_runs([tmp_path / "a.csv", tmp_path / "b.csv"], options=CompareOptions(resamples=0))
    assert found.labels.task == "multiclass" and found.scores["a"] == found.scores["b"]
    assert found.scores["a"]["accuracy"]["value"] == pytest.approx((p.argmax(axis=1) == y).mean())
    assert any("the numbers of label are taken for 0 bacterial, 1 normal, 2 viral" in note for note in found.notes)
    assert re.search(r"is \\ called +bacterial +normal +viral", found.table())
