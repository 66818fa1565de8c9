"""The report: one page that stands alone, its plots, and the table for logs."""

from __future__ import annotations

import json
import re
import struct
from html.parser import HTMLParser

import numpy as np
import pytest

from thorax.errors import ThoraxError
from thorax.evaluation.calibration import Calibration
from thorax.evaluation.comparison import compare
from thorax.evaluation.formatting import comparison_table, difference, subgroup_table, table
from thorax.evaluation.metrics import score
from thorax.evaluation.mistakes import Mistake
from thorax.evaluation.report import Report
from thorax.evaluation.subgroups import subgroups
from thorax.labels import LabelSpace

HOSTILE = '<script>alert("$x$")</script>'
LABELS = LabelSpace(("Mass", HOSTILE, "_private $\\frac$", "Never"), "multilabel")
HISTORY = [
    {"epoch": 1, "train_loss": 0.7, "validation_loss": 0.6, "auc": 0.8, "f1": 0.5},
    {"epoch": 2, "train_loss": 0.5, "validation_loss": 0.5, "auc": 0.9, "f1": None},
    {"epoch": 3, "train_loss": 0.4, "validation_loss": 0.6, "auc": float("nan"), "f1": 0.7},
]
HELD_OUT = {name: {"method": "platt", "ece_before": 0.171, "ece": 0.023} for name in LABELS.outputs}
FACTS = {"Data": {"Train images": "1,000"}, "Run": {"Machine": "a & b"}}


def images(seed, labels):
    random = np.random.default_rng(seed)
    targets = (random.random((50, len(labels.outputs))) < 0.4).astype(np.float32)
    targets[:, -1] = 0 if len(labels.outputs) > 1 else targets[:, -1]  # a label that was never found
    return targets, random.random(targets.shape).astype(np.float32)


def written(folder, parts=("validation", "test"), labels=LABELS, history=HISTORY, **other):
    folder.mkdir(exist_ok=True)
    curves = {part: images(seed, labels) for seed, part in enumerate(parts)}
    thresholds = [0.5] * len(labels.outputs)
    scores = {part: score(*pair, labels, thresholds, np.arange(50) // 2, resamples=50) for part, pair in curves.items()}
    given = {
        "title": "Chest <images>",
        "scores": scores,
        "history": history,
        "facts": FACTS,
        "curves": curves,
        "calibrator": Calibration.none(len(labels.outputs)),
    }
    Report(**{**given, "labels": labels, **other}).write(folder)
    return scores, (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The scores and the page of a usual report, for the tests that only read it."""
    return written(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """The folder of a report that has everything."""
    folder = tmp_path_factory.mktemp("full")
    (y, p), patients = images(1, LABELS), [f"P{k // 2}" for k in range(50)]
    written(
        folder,
        calibrator=Calibration(np.array([0.5, 1, 2, 1]), np.array([0, -1.25, 0, 0]), ("platt",) * 4),
        held_out=HELD_OUT,
        rule="a sensitivity of at least 0.9",
        compared=("one", "the <other>"),
        comparison=compare(y, p, 1 - p, LABELS, patients, resamples=30),
        groups=subgroups(y, p, LABELS, [0.5] * 4, patients, {"sex": ["F", "M"] * 25}, resamples=30),
        mistakes=[
            ("a/b.png", Mistake(3, 1, "no x", HOSTILE, 0.01, b"jpeg")),
            ("c.png", Mistake(4, 0, "Mass", "no Mass", 0.9)),
        ],
        data={"train": {"images": 1200, "Mass": 7}, "test": {"images": 50, "Mass": 3}},
        findings=[{"rule": "overfit", "step": 40, "message": "the loss on validation <rises>"}],
    )
    return folder


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


def test_writes_the_page_the_numbers_and_the_plots_and_nothing_else(tmp_path):
    folder = tmp_path / "report"
    written(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "confusion.png",
        "history.png",
        "pr.png",
        "reliability.png",
        "report.html",
        "report.json",
        "roc.png",
    ]
    for name in ("history.png", "roc.png", "pr.png", "reliability.png"):
        content = (folder / name).read_bytes()
        width, height = struct.unpack(">II", content[16:24])
        assert content.startswith(b"\x89PNG") and width > 800 and height > 400
    assert (folder / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_stands_alone_and_runs_nothing(full):
    page = (full / "report.html").read_text(encoding="utf-8")
    read = Page(page)
    assert len(read.addresses) == 5
    assert all(address.startswith(("data:image/png;base64,", "data:image/jpeg;base64,")) for address in read.addresses)
    assert not read.tags & {"script", "link", "iframe", "object", "form"}
    assert not re.search(r"https?:|//[a-z]|url\(|@import", re.sub(r"base64,[^\"]*", "", page))


def test_a_report_with_everything_says_everything(full):
    page = (full / "report.html").read_text(encoding="utf-8")
    text = Page(page).text
    assert "A is one, B is the <other>" in text and "sex: F" in text and "sex: M" in text
    assert f"called no x , is {HOSTILE}" in text and "a/b.png" in text and "0.010" in text
    assert "overfit , step 40: the loss on validation <rises>" in text
    assert "Train Test images 1,200 50 Mass 7 3" in text
    assert "The thresholds (a sensitivity of at least 0.9)" in text
    assert "Each logit is divided by a temperature" in text and "0.500" in text and "2.000" in text
    assert "-1.250" in text and "Validation before" in text and "0.171" in text and "0.023" in text
    assert "<script" not in page and "<other>" not in page and "<rises>" not in page


def test_the_numbers_of_the_page_as_json(full):
    numbers = json.loads(
        (full / "report.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON")
    )
    assert numbers["headline"] == "test" and numbers["scores"]["test"]["n"] == 50
    assert numbers["comparison"]["second"] == "the <other>" and numbers["comparison"]["macro"]["difference"] is not None
    assert [row["group"] for row in numbers["subgroups"]] == ["F", "M"]
    assert numbers["mistakes"][0] == {
        "id": "a/b.png",
        "said": "no x",
        "truth": HOSTILE,
        "probability": 0.01,
        "label": HOSTILE,
    }
    assert numbers["calibration"]["Mass"]["temperature"] == 0.5
    assert [entry["bias"] for entry in numbers["calibration"].values()] == [0, -1.25, 0, 0]
    assert numbers["calibration"]["Mass"]["validation"] == HELD_OUT["Mass"]
    assert (
        numbers["calibration"]["Mass"]["ece"]
        == numbers["scores"]["test"]["labels"]["Mass"]["ece"]["value"]
        != numbers["calibration"]["Mass"]["ece_before"]
    )
    assert sum(b["images"] for b in numbers["reliability"]["test"]["after"]) == 200
    assert numbers["history"][2]["auc"] is None


def test_without_calibration_the_page_says_so(report):
    assert "This bundle has no calibration" in Page(report[1]).text


def test_names_are_shown_and_never_run(report):
    _, page = report
    assert "<script" not in page and "<images>" not in page
    assert HOSTILE in Page(page).text and "Chest <images>" in Page(page).text and "a & b" in Page(page).text


def test_the_headline_is_that_of_the_test_images(report):
    scores, page = report
    auc = scores["test"]["macro"]["auc"]
    headline = Page(page).text.partition("Ranking")[0]
    assert f"Macro AUC {auc['value']:.3f} [{auc['low']:.3f}, {auc['high']:.3f}]" in headline
    assert "50 of 25 patients" in headline
    assert "no test set" not in headline


def test_without_test_images_the_headline_says_so(tmp_path):
    scores, page = written(tmp_path, parts=("validation",), labels=LabelSpace(("NORMAL", "PNEUMONIA"), "binary"))
    headline = Page(page).text.partition("Ranking")[0]
    assert "There was no test set" in headline
    assert f"Balanced accuracy {scores['validation']['macro']['balanced_accuracy']['value']:.3f}" in headline


def test_the_page_has_the_tables_the_limits_and_no_exponents(report):
    scores, page = report
    text = Page(page).text
    counts = scores["test"]["labels"]["Mass"]["confusion"]
    assert re.search(rf"Mass 0\.500 [^A-Z]* {counts['tp']} {counts['fp']} {counts['tn']} {counts['fn']} ", text)
    assert "not a medical device" in text and "another hospital" in text and "chosen on the validation images" in text
    assert "3 epochs; the best was epoch 2" in text
    assert not re.search(r"\d[eE]-\d|\bnan\b|None", text)


def test_a_marked_epoch_is_the_best(tmp_path):
    _, page = written(tmp_path, history=[*HISTORY, {**HISTORY[0], "epoch": 4, "best": True}], curves={})
    assert "the best was epoch 4" in Page(page).text


def test_no_history_and_no_curves(tmp_path):
    _, page = written(tmp_path, history=[], curves={}, facts={})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["confusion.png", "report.html", "report.json"]
    assert (
        "Training" not in Page(page).text and "Curves" not in Page(page).text and "Calibration" not in Page(page).words
    )


def test_a_second_report_replaces_the_first(tmp_path):
    written(tmp_path, curves={})
    _, page = written(tmp_path, curves={}, title="Another")
    assert "Another" in Page(page).text
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("name", ["report.html", "history.png"])
def test_a_failed_write_leaves_no_part_of_a_file(tmp_path, name):
    (tmp_path / name).mkdir()  # a folder cannot be replaced by a file
    with pytest.raises(ThoraxError, match="report cannot be saved"):
        written(tmp_path, curves={})
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
        "test: 1,200 images of 410 patients, accuracy 0.500 [0.400, 0.600]",
        "label                             known  positives  threshold  AUC                   F1                    "
        "Sensitivity  Specificity",
        "PNEUMONIA                         1,200        300      0.412  0.987 [0.979, 0.994]  0.000 [0.000, 0.000]  "
        "-            1.000",
        "majority answer (accuracy 0.750)                               0.500                 0.000                 "
        "0.000        1.000",
        "random answer (accuracy 0.625)                                 0.500                 0.250                 "
        "0.250        0.750",
    ]


def test_the_confusion_of_classes(tmp_path):
    labels = LabelSpace(("bacterial", "normal", "viral"), "multiclass")
    y = np.eye(3)[np.arange(50) % 3]
    p = np.random.default_rng(0).dirichlet(np.ones(3), 50)
    scores = {"test": score(y, p, labels, [0.5] * 3, range(50), resamples=0)}
    _, page = written(tmp_path, labels=labels, scores=scores, curves={"test": (y, p)}, parts=())
    rows = "".join(
        f" is {name} {' '.join(map(str, row))}"
        for name, row in zip(labels.classes, scores["test"]["matrix"], strict=True)
    )
    assert f"called bacterial called normal called viral{rows}" in Page(page).text


def test_comparison_and_subgroups_in_a_log():
    entry = {"first": 0.9, "second": 0.88, "difference": -0.02, "low": -0.031, "high": 0.0009, "p": 0.0499}
    assert comparison_table({"macro": entry, "labels": {"PNEUMONIA": entry}}).splitlines() == [
        "label      AUC of A  AUC of B  B minus A                p",
        "PNEUMONIA     0.900     0.880  -0.020 [-0.031, +0.001]  0.050",
    ]
    assert len(comparison_table({"macro": entry, "labels": {"A": entry, "B": dict.fromkeys(entry)}}).splitlines()) == 4
    assert difference(dict.fromkeys(entry)) == "-" and difference({**entry, "low": None}) == "-0.020"
    row = {
        "column": "sex",
        "group": "F",
        "n": 1200,
        "patients": 40,
        "macro": {m: {"value": 0.5, "low": None, "high": None} for m in ("auc", "sensitivity", "specificity")},
    }
    assert subgroup_table([row]).splitlines()[1] == "sex: F   1,200        40  0.500  0.500        0.500"


def test_table_has_a_block_for_each_part_and_a_macro_line(report):
    scores, _ = report
    validation, test = table(scores, LABELS).split("\n\n")
    assert validation.startswith("validation: 50 images") and test.startswith("test: 50 images")
    macro, majority, random = test.splitlines()[-3:]
    assert macro.startswith("macro") and majority.startswith("majority answer (") and random.startswith("random ")
    assert len(test.splitlines()) == 9


@pytest.mark.parametrize("width", [120, 80, 60])
def test_a_table_fits_the_terminal_and_loses_no_number(report, width):
    scores, _ = report
    wide, narrow = table(scores, LABELS), table(scores, LABELS, width)
    lines = [line for line in narrow.splitlines() if HOSTILE not in line and not line.startswith("label")]
    assert max(map(len, wide.splitlines())) > 120
    assert max(map(len, lines)) <= max(width, 95)  # one label alone has 29 letters
    mass = scores["test"]["labels"]["Mass"]
    block = narrow.split("\n\n")[1]
    for value in (mass["auc"]["value"], mass["auc"]["low"], mass["sensitivity"]["high"], mass["threshold"]):
        assert f"{value:.3f}" in block
    assert f"{mass['positives']}/{mass['n']} at 0.500" in block


def test_a_narrow_table_by_hand():
    metric = entry(0.9, 0.85, 0.95)
    metrics = dict.fromkeys(("auc", "f1", "sensitivity", "specificity", "balanced_accuracy"), metric)
    result = {"n": 1200, "patients": 1, "accuracy": metric, "macro": metrics}
    result["labels"] = {"PNEUMONIA": {"n": 1200, "positives": 300, "threshold": 0.4125, **metrics}}
    shown = table({"test": result}, LabelSpace(("NORMAL", "PNEUMONIA"), "binary"), 80)
    assert shown.splitlines() == [
        "test: 1,200 images of 1 patient:",
        "  accuracy 0.900 [0.850, 0.950]",
        "  balanced accuracy 0.900 [0.850, 0.950]",
        "label                 AUC          F1           Sensitivity  Specificity",
        "PNEUMONIA             0.900        0.900        0.900        0.900",
        "  300/1,200 at 0.412  0.850-0.950  0.850-0.950  0.850-0.950  0.850-0.950",
        "majority answer       0.500        0.000        0.000        1.000",
        "  accuracy 0.750",
        "random answer         0.500        0.250        0.250        0.750",
        "  accuracy 0.625",
        "(second lines: positive/known images at the threshold, 95 % intervals)",
    ]


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ([1.0], "At the stored threshold 100.0 % of the answers are right."),
        ([0.0, 0.0], "At the stored threshold 100.0 % [100.0, 100.0] of the answers are right."),
        ([np.nan, np.nan], "No label of these images is known, so no answer can be checked."),
    ],
)
def test_one_image_one_class_and_no_known_label_are_sentences_too(targets, said):
    space = LabelSpace(("NORMAL", "PNEUMONIA"), "binary")
    y = np.array(targets, np.float32)[:, None]
    p = np.where(y == 1, 0.9, 0.1).astype(np.float32)
    found = score(y, p, space, [0.5], np.arange(len(y)), resamples=20)
    page = Report("odd", space, {"test": found}, {"test": (y, p)}, Calibration.none(1)).html()
    text = re.sub(r"<[^>]+>|\s+", " ", page)
    assert said in re.sub(" +", " ", text).replace(" .", ".")
    assert "- of the answers" not in text and "nan" not in text.lower()
    for width in (None, 60):
        assert "nan" not in table({"test": found}, space, width)
