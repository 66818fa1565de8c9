"""The report: one page that stands alone, its plots, and the table for logs."""

from __future__ import annotations

import re
import struct
from html.parser import HTMLParser

import numpy as np
import pytest

from thorax.evaluation.metrics import score
from thorax.evaluation.report import table, write_report
from thorax.labels import LabelSpace

HOSTILE = '<script>alert("$x$")</script>'
LABELS = LabelSpace(("Mass", HOSTILE, "_private $\\frac$", "Never"), "multilabel")
HISTORY = [
    {"epoch": 1, "train_loss": 0.7, "validation_loss": 0.6, "auc": 0.8, "f1": 0.5},
    {"epoch": 2, "train_loss": 0.5, "validation_loss": 0.5, "auc": 0.9, "f1": None},
    {"epoch": 3, "train_loss": 0.4, "validation_loss": 0.6, "auc": float("nan"), "f1": 0.7},
]
FACTS = {"Data": {"Train films": "1,000"}, "Run": {"Machine": "a & b"}}


def films(seed, labels):
    random = np.random.default_rng(seed)
    targets = (random.random((50, len(labels.outputs))) < 0.4).astype(np.float32)
    targets[:, -1] = 0 if len(labels.outputs) > 1 else targets[:, -1]  # a label that was never found
    return targets, random.random(targets.shape).astype(np.float32)


def written(folder, parts=("validation", "test"), labels=LABELS, history=HISTORY, **other):
    curves = {part: films(seed, labels) for seed, part in enumerate(parts)}
    thresholds = [0.5] * len(labels.outputs)
    scores = {part: score(*pair, labels, thresholds, np.arange(50) // 2, resamples=50) for part, pair in curves.items()}
    given = {"title": "Chest <films>", "scores": scores, "history": history, "facts": FACTS, "curves": curves}
    write_report(folder, **{**given, "labels": labels, **other})
    return scores, (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The scores and the page of a usual report, for the tests that only read it."""
    return written(tmp_path_factory.mktemp("report"))


class Page(HTMLParser):
    """Collects the tags, the addresses and the text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.addresses, self.words = set(), [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "action", "srcset")]

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def test_writes_the_page_and_both_plots_and_nothing_else(tmp_path):
    folder = tmp_path / "new" / "report"
    written(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["history.png", "report.html", "roc.png"]
    for name in ("history.png", "roc.png"):
        content = (folder / name).read_bytes()
        width, height = struct.unpack(">II", content[16:24])
        assert content.startswith(b"\x89PNG") and width > 800 and height > 400


def test_the_page_stands_alone_and_runs_nothing(report):
    _, page = report
    read = Page(page)
    assert len(read.addresses) == 2
    assert all(address.startswith("data:image/png;base64,") for address in read.addresses)
    assert not read.tags & {"script", "link", "iframe", "object", "form"}
    assert not re.search(r"https?:|//[a-z]|url\(|@import", re.sub(r"base64,[^\"]*", "", page))


def test_names_are_shown_and_never_run(report):
    _, page = report
    assert "<script" not in page and "<films>" not in page
    assert HOSTILE in Page(page).text and "Chest <films>" in Page(page).text and "a & b" in Page(page).text


def test_the_headline_is_that_of_the_test_films(report):
    scores, page = report
    auc = scores["test"]["macro"]["auc"]
    headline = Page(page).text.partition("Known films")[0]
    assert f"Macro AUC {auc['value']:.3f} [{auc['low']:.3f}, {auc['high']:.3f}]" in headline
    assert "50 of 25 patients" in headline
    assert "no test set" not in headline


def test_without_test_films_the_headline_says_so(tmp_path):
    scores, page = written(tmp_path, parts=("validation",), labels=LabelSpace(("NORMAL", "PNEUMONIA"), "binary"))
    headline = Page(page).text.partition("Known films")[0]
    assert "There was no test set" in headline
    assert f"Balanced accuracy {scores['validation']['macro']['balanced_accuracy']['value']:.3f}" in headline


def test_the_page_has_the_tables_the_limits_and_no_exponents(report):
    scores, page = report
    text = Page(page).text
    counts = scores["test"]["labels"]["Mass"]["confusion"]
    assert f"Mass {counts['tp']} {counts['fp']} {counts['tn']} {counts['fn']}" in text
    assert "not a medical device" in text and "another hospital" in text and "chosen on the validation films" in text
    assert "3 epochs; the best was epoch 2" in text
    assert not re.search(r"\d[eE]-\d|\bnan\b|None", text)


def test_a_marked_epoch_is_the_best(tmp_path):
    _, page = written(tmp_path, history=[*HISTORY, {**HISTORY[0], "epoch": 4, "best": True}])
    assert "the best was epoch 4" in Page(page).text


def test_no_history_and_no_curves(tmp_path):
    _, page = written(tmp_path, history=[], curves={}, facts={})
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert "Training" not in Page(page).text and "ROC" not in Page(page).text


def test_a_second_report_replaces_the_first(tmp_path):
    written(tmp_path)
    _, page = written(tmp_path, title="Another")
    assert "Another" in Page(page).text
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("name", ["report.html", "history.png"])
def test_a_failed_write_leaves_no_part_of_a_file(tmp_path, name):
    (tmp_path / name).mkdir()  # a folder cannot be replaced by a file
    with pytest.raises(OSError):
        written(tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def entry(value, low=None, high=None):
    return {"value": value, "low": low, "high": high}


def test_table_by_hand():
    metrics = {
        "auc": entry(0.98712, 0.97904, 0.99391),
        "f1": entry(0.00001, 0.0, 0.00002),
        "sensitivity": entry(None),
        "specificity": entry(1.0),
    }
    result = {
        "n": 1200,
        "patients": 410,
        "accuracy": entry(0.5, 0.4, 0.6),
        "macro": metrics,
        "labels": {"PNEUMONIA": {"n": 1200, "positives": 300, "threshold": 0.4125, **metrics}},
    }
    assert table({"test": result}, LabelSpace(("NORMAL", "PNEUMONIA"), "binary")).splitlines() == [
        "test: 1,200 films of 410 patients, accuracy 0.500 [0.400, 0.600]",
        "label      known  positives  threshold  AUC                   F1                    Sensitivity  Specificity",
        "PNEUMONIA  1,200        300      0.412  0.987 [0.979, 0.994]  0.000 [0.000, 0.000]  -            1.000",
    ]


def test_table_has_a_block_for_each_part_and_a_macro_line(report):
    scores, _ = report
    validation, test = table(scores, LABELS).split("\n\n")
    assert validation.startswith("validation: 50 films") and test.startswith("test: 50 films")
    assert test.splitlines()[-1].startswith("macro")
    assert len(test.splitlines()) == 7
