"""One number has one meaning: a bundle's scores are the same digits wherever they are shown, and scikit-learn's."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re

import numpy as np
import pytest
from sklearn import metrics as sk

from conftest import TINY, write_images
from thorax.config import TrainingConfig
from thorax.job import Job
from thorax.run import run_job
from thorax.scoring import EvaluationOptions, run_evaluation
from thorax.serving.bundle import Bundle
from thorax.training.stopping import signals_restored
from thorax_launch import steps
from thorax_launch.cli import batch, evaluate
from thorax_launch.options import EndpointOptions
from thorax_launch.sagemaker import deployment
from thorax_launch.sagemaker.account import load_settings

PLACE = {"region": "eu-central-1", "bucket": "films", "role": "arn:aws:iam::123456789012:role/thorax-execution"}

CLASSES = {"binary": ("NORMAL", "PNEUMONIA"), "multiclass": ("bacterial", "normal", "viral")}


def printed(text: str, part: str) -> dict[str, str]:
    """The overall numbers that a printed table has of a part."""
    block = re.search(rf"^{part}: [^\n]*accuracy .*?(?=\n\n|\Z)", text, re.MULTILINE | re.DOTALL)[0].splitlines()
    found = dict(re.findall(r"(balanced accuracy|(?<!balanced )accuracy) (\d\.\d{3} \[[^]]*\])", block[0]))
    last = next(line for line in reversed(block) if re.search(r"\d\.\d{3} \[", line))
    return found | {"auc": re.search(r"\d\.\d{3} \[[^]]*\]", last)[0]}


def shown(score: dict) -> dict[str, str]:
    """The same numbers of a score, as they are shown."""
    values = {
        "accuracy": score["accuracy"],
        "balanced accuracy": score["macro"]["balanced_accuracy"],
        "auc": score["macro"]["auc"],
    }
    return {name: f"{v['value']:.3f} [{v['low']:.3f}, {v['high']:.3f}]" for name, v in values.items()}


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    """Whole lines, however wide: pytest's workers have COLUMNS=80."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(scope="module", params=["binary", "multiclass", "multilabel"])
def trained(request, tmp_path_factory):
    """(task, images, the run's result, what it printed)."""
    root = tmp_path_factory.mktemp(request.param)
    for part, count, seed in (("train", 20, 1), ("test", 9, 2)):
        classes = CLASSES.get(request.param, ("a", "b"))
        write_images(root / "images" / part, count, seed, classes)
        if request.param == "multilabel":
            write_table(root / "images" / part)
        else:
            mislabel(root / "images" / part, classes, every=4)
    config = TrainingConfig.of({**TINY, "epochs": 3, "learning_rate": 0.001, "bootstrap_samples": 1000})
    job = Job.below(root / "job", {part: root / "images" / part for part in ("train", "test")})
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out, signals_restored():
        patch.delenv("COLUMNS", raising=False)  # whole lines, however wide
        result = run_job(job, config, readable=False)
    assert result.metrics["labels"]["task"] == request.param
    return request.param, root / "images", result, out.getvalue()


def mislabel(folder, classes, every) -> None:
    """Moves every so manieth image to the next class: scores are not perfect then."""
    for name, other in zip(classes, (*classes[1:], classes[0]), strict=True):
        for image in sorted((folder / name).glob("[12]" + name + "*"))[::every]:
            image.rename(folder / other / image.name)


def write_table(folder) -> None:
    """A table of two labels, with mistakes and unknown ones (blank), in place of class folders."""
    rows = ["path,a,b"]
    for k, image in enumerate(sorted(folder.glob("*/*.png"))):
        shows = [str(int(image.parent.name == name)) for name in ("a", "b")]
        shows[k % 2] = "" if k % 5 == 0 else str(1 - int(shows[k % 2])) if k % 4 == 0 else shows[k % 2]
        image.rename(folder / image.name)
        rows.append(",".join([image.name, *shows]))
    for name in ("a", "b"):
        (folder / name).rmdir()
    (folder / "images.csv").write_text("\n".join(rows) + "\n")


def predictions(result) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, L) targets, probabilities and decisions of the test images in the run's predictions.csv."""
    with (result.report.parent / "predictions.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["part"] == "test"]
    return tuple(
        np.array([[float(row[name] or "nan") for name in row if name.startswith(f"{kind}:")] for row in rows])
        for kind in ("target", "probability", "decision")
    )


def test_the_scores_are_those_of_scikit_learn(trained):
    task, _, result, _ = trained
    y, p, decided = predictions(result)
    got = result.metrics["test"]
    if task == "multilabel":
        check_known(got, y, p, decided)
        return
    truth, answer = (a.argmax(axis=1) if task == "multiclass" else a[:, 0] for a in (y, decided))
    assert got["macro"]["balanced_accuracy"]["value"] == pytest.approx(sk.balanced_accuracy_score(truth, answer))
    assert got["accuracy"]["value"] == pytest.approx(sk.accuracy_score(truth, answer))
    assert got["macro"]["auc"]["value"] == pytest.approx(sk.roc_auc_score(y, p))
    average = "macro" if task == "multiclass" else "binary"
    assert got["macro"]["f1"]["value"] == pytest.approx(sk.f1_score(truth, answer, average=average))
    assert got["micro"]["auc"]["value"] == pytest.approx(sk.roc_auc_score(y.ravel(), p.ravel()))
    for k, label in enumerate(got["labels"].values()):
        assert label["sensitivity"]["value"] == pytest.approx(sk.recall_score(y[:, k], decided[:, k]))
        assert label["specificity"]["value"] == pytest.approx(sk.recall_score(y[:, k], decided[:, k], pos_label=0))


def check_known(got, y, p, decided) -> None:
    """Several labels, of which some are unknown: each is scored on the images that are known, micro on all answers."""
    assert np.isnan(y).any()
    known = [~np.isnan(column) for column in y.T]
    columns = [(y[k, j], p[k, j], decided[k, j]) for j, k in enumerate(known)]
    values = {
        "auc": [sk.roc_auc_score(t, q) for t, q, _ in columns],
        "f1": [sk.f1_score(t, d) for t, _, d in columns],
        "sensitivity": [sk.recall_score(t, d) for t, _, d in columns],
        "specificity": [sk.recall_score(t, d, pos_label=0) for t, _, d in columns],
        "balanced_accuracy": [sk.balanced_accuracy_score(t, d) for t, _, d in columns],
    }
    for name, of_labels in values.items():
        assert got["macro"][name]["value"] == pytest.approx(np.mean(of_labels)), name
        assert [label[name]["value"] for label in got["labels"].values()] == pytest.approx(of_labels), name
    truth, probability, decision = (np.concatenate(part) for part in zip(*columns, strict=True))
    assert got["micro"]["auc"]["value"] == pytest.approx(sk.roc_auc_score(truth, probability))
    assert got["micro"]["f1"]["value"] == pytest.approx(sk.f1_score(truth, decision))
    assert got["accuracy"]["value"] == pytest.approx(sk.accuracy_score(truth, decision))


def cells(text: str, part: str) -> list[list[str]]:
    """The printed table of a part, row by row: labels, counts, thresholds, and every score with its interval."""
    block = re.search(rf"^{part}: [^\n]*accuracy .*?(?=\n\n|\nbundle: |\Z)", text, re.MULTILINE | re.DOTALL)[0]
    return [re.split(r"  +", line.strip()) for line in block.splitlines()[1:] if "  " in line]


def same(first: dict, second: dict) -> None:
    """Every number of two scores: each label, macro, micro, each metric, its interval, the confusion."""
    assert first.keys() == second.keys()
    for key, value in first.items():
        if isinstance(value, dict):
            same(value, second[key])
        else:
            assert second[key] == (pytest.approx(value, abs=2e-6) if isinstance(value, float) else value), key


def test_every_door_shows_the_same_digits(trained, tmp_path, capsys):
    _, images, result, log = trained
    bundle, scored = result.bundle, result.metrics["test"]
    want, table = shown(scored), cells(log, "test")

    assert printed(log, "test") == want
    assert len(table) >= 2 and any("auc" in head.lower() for head in table[0])
    page = re.sub(r"<[^>]+>", " ", result.report.read_text(encoding="utf-8"))
    assert re.search(rf"Balanced accuracy\s+{re.escape(want['balanced accuracy'].split()[0])}", page)
    assert re.search(rf"AUC\s+{re.escape(want['auc'].split()[0])}", page)
    same(json.loads(result.report.with_name("report.json").read_text())["scores"]["test"], scored)
    same(json.loads(result.report.with_name("metrics.json").read_text())["test"], scored)
    same(Bundle.load(bundle).metrics["test"], scored)
    same(registered(bundle)["test"], scored)

    for words in (
        [str(bundle), "--data", str(images / "test")],
        steps.evaluate({**TINY}, bundle, {"train": images / "train", "test": images / "test"}),  # as a pipeline does
    ):
        assert evaluate.main([*words, "--json", str(tmp_path / "scores.json")]) == 0
        out = capsys.readouterr().out
        assert printed(out, "test") == want
        assert cells(out, "test") == table
        same(json.loads((tmp_path / "scores.json").read_text())["scores"]["test"], scored)

    of_table = EvaluationOptions(predictions=result.report.parent / "predictions.csv")
    same(run_evaluation(bundle, None, of_table).scores["test"], scored)

    out = tmp_path / "batch.csv"
    words = ["--local", str(bundle), "--data", str(images / "test"), "--out", str(out), "--precision", "float32"]
    assert batch.main([*words, "--workers", "0"]) == 0
    text = capsys.readouterr().out
    assert printed(text, "images") == want
    assert cells(text, "images") == table
    again = run_evaluation(bundle, images / "test", EvaluationOptions(predictions=out))
    same(again.scores["predictions"], scored)


def registered(bundle) -> dict:
    """The metrics.json that `thorax deploy --register` puts beside a bundle."""
    plan = deployment.plan(str(bundle), EndpointOptions(register="chest"), load_settings(dry_run=True, **PLACE))
    (metrics,) = (file.content for file in plan.uploads if file.uri.endswith("/metrics.json"))
    return json.loads(metrics)


def test_an_epoch_line_has_the_digits_of_the_table_or_says_its_cut(trained):
    """The AUC is the same; decisions of exclusive classes too, those at 0.5 are named so."""
    task, _, result, log = trained
    best = result.metrics["best_epoch"]
    (line,) = re.findall(rf"^epoch {best}/3: .*$", log, re.MULTILINE)
    *_, last = log.splitlines()
    validation = result.metrics["validation"]
    for text in (line, last):
        values = dict(re.findall(r"validation_(\w+)=(-?\d+\.\d+)", text))
        assert float(values["auc"]) == pytest.approx(validation["macro"]["auc"]["value"], abs=1e-6)
        if task == "multiclass":
            assert float(values["balanced_accuracy"]) == pytest.approx(
                validation["macro"]["balanced_accuracy"]["value"], abs=1e-6
            )
            assert float(values["f1"]) == pytest.approx(validation["macro"]["f1"]["value"], abs=1e-6)
            assert "0.5)" not in text
        else:
            assert "f1, accuracy, balanced_accuracy at 0.5)" in text


def test_what_a_lower_precision_moves_is_said_with_its_size(trained, tmp_path, capsys):
    _, images, result, _ = trained
    words = ["--local", str(result.bundle), "--data", str(images / "test"), "--out", str(tmp_path / "batch.csv")]
    assert batch.main([*words, "--precision", "bfloat16", "--workers", "0"]) == 0
    (note,) = re.findall(r"^note: torch bfloat16 moves .*$", capsys.readouterr().out, re.MULTILINE)
    assert re.fullmatch(
        r"note: torch bfloat16 moves a probability of the first \d+ images by"
        r" (0\.\d{4} at most|less than 0\.0001), against float32;"
        r" --precision float32 gives the digits of `thorax evaluate`",
        note,
    )
