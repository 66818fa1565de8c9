"""What became of blank, uncertain and several labels of an image: printed with counts, kept in the bundle, shown in
the reports of training and of evaluation."""

from __future__ import annotations

import json
from html import unescape

import pytest

import images
import thorax
from listings import channel, read
from thorax.data.formats.table_options import TableOptions
from thorax_launch.cli import evaluate

#: Columns of Edema and Mass: image k has Edema where k is odd; blank Mass on four, uncertain Edema on two.
CELLS = [("" if k % 8 == 3 and k < 32 else str(k % 3 // 2), "-1" if k in (9, 19) else str(k % 2)) for k in range(40)]
TINY = {"network": "cnn5", "image_shape": "1,32,32", "epochs": 1, "batch_size": 8, "warmup_epochs": 0}
QUICK = {"augmentation_type": "none", "bootstrap_samples": 0, "num_workers": 0, "threshold_views": 0}


def table(root, *more, rows=CELLS):
    """A channel of the rows, and of more lines."""
    lines = [f"{k}.png,{mass},{edema},p{k // 2}" for k, (mass, edema) in enumerate(rows)]
    names = [f"{k}.png" for k in range(len(rows))]
    return images.table(root, "\n".join(["path,Mass,Edema,patient", *lines, *more]) + "\n", names)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    root = tmp_path_factory.mktemp("notes")
    given = {"blank": "negative", "readers": "any", "uncertain": "Edema:one"}
    more = ["0.png,1,1,p0", "1.png,0,1,p0"]
    return thorax.train({**TINY, **QUICK, **given}, train=table(root / "set", *more), output=root / "out")


EXPECTED = [
    "channel train: 2 images have several rows (42 rows of 40 images), which differ for 1; merged by readers=any: a"
    " label counts where any of its rows has it",
    "channel train: blank=negative: blank values become 0 (Mass 4)",
]


def test_the_bundle_and_the_report_keep_them(result):
    kept = json.loads((result.bundle / "bundle.json").read_text())["split"]["labels"]
    assert kept[:2] == EXPECTED
    assert all("uncertain labels" in line for line in kept[2:]) and len(kept) > 2
    page = unescape(result.report.read_text())
    assert all(line in page for line in kept)


def test_the_report_of_an_evaluation_has_those_of_its_images_and_of_the_training(result, tmp_path, capsys):
    data = table(tmp_path / "data", rows=CELLS[:20])
    words = [str(result.bundle), "--data", str(data), "--resamples", "0"]
    assert evaluate.main([*words, "--json", str(tmp_path / "s.json")]) == 0
    facts = json.loads((tmp_path / "s.json").read_text())["facts"]
    assert list(facts["Labels of its training"].values())[:2] == EXPECTED
    here = list(facts["Labels"].values())
    assert here == [
        "blank=negative: blank values become 0 (Mass 3)",
        "data: uncertain labels, which are not scored: Edema 2",
    ]
    out = capsys.readouterr().out
    assert all(line in out for line in here)
    assert evaluate.main([*words, "--set", "blank=", "--json", str(tmp_path / "s.json")]) == 0
    facts = json.loads((tmp_path / "s.json").read_text())["facts"]
    assert facts["Labels"]["1"] == "blank=unknown: blank values are unknown, blank=negative makes them 0 (Mass 3)"


def test_soft_labels_are_scored_as_in_training(result, tmp_path):
    """readers=mean gives shares: above a half is 1, below 0, a half is not known."""
    rows = [f"{k}.png,{mass},0,p{k}" for k in range(3) for mass in ((1, 1, 0), (0, 0, 1), (1, 0))[k]]
    data = images.table(
        tmp_path / "data", "\n".join(["path,Mass,Edema,patient", *rows]) + "\n", [f"{k}.png" for k in range(3)]
    )
    words = [str(result.bundle), "--data", str(data), "--resamples", "0", "--set", "readers=mean"]
    assert evaluate.main([*words, "--json", str(tmp_path / "s.json")]) == 0
    stored = json.loads((tmp_path / "s.json").read_text())
    mass = stored["scores"]["data"]["labels"]["Mass"]
    assert (mass["n"], mass["positives"]) == (2, 1)
    assert "half not at all: Mass 3" in " | ".join(stored["facts"]["Labels"].values())


EMPTY = "1 row has an empty text of labels, which means none of them"
BLANK, NEGATIVE = "blank=unknown: blank values are unknown, blank=negative makes them 0", "blank=negative: blank values"


@pytest.mark.parametrize(
    ("rows", "options", "notes"),
    [
        (("A", "", "1"), {}, [f"{BLANK} (A 1)"]),
        (("A", "0", "1"), {}, []),
        (("A", "0", "1"), {"blank": "negative"}, [f"{NEGATIVE} become 0 (there are none)"]),
        (("label", "A|B", ""), {}, [f"{EMPTY}; blank=unknown leaves it open"]),
        (("label", "A|B", "NA"), {}, ["1 row has no text of labels (blank, NA): all labels of it are unknown"]),
        (("label", "A|B", "a"), {}, ["the label 'A' (1 row) is also written 'a' (1); taken for one label"]),
        (("A", "1 5", "-1"), {}, ["A: 1 row with run lengths of a mask has the label; -1 is none"]),
    ],
)
def test_each_note_is_one_of_the_listing(tmp_path, rows, options, notes):
    text = "path,{}\na.png,{}\nb.png,{}\n".format(*rows)
    listing = read(channel(tmp_path, ("a.png", "b.png"), x__csv=text), table=TableOptions(**options))
    assert list(listing.label_notes) == notes
    assert set(notes) <= set(listing.notes)
