"""The table of names for --map common: it joins the labels that torchxrayvision calls by one name, and no others."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from thorax.data.formats.chexpert import FINDINGS
from thorax.data.formats.names import key
from thorax.data.formats.nih import FOUR, LABELS
from thorax.data.label_names import LabelMap

xrv = pytest.importorskip("torchxrayvision", reason="the real tables lie in torchxrayvision")
pandas = pytest.importorskip("pandas")
TABLES = Path(xrv.__file__).parent / "data"
#: torchxrayvision's own name -> what the tables of its sets write.
WRITTEN = {
    "Effusion": ("Pleural Effusion", "Pleural effusion"),
    "Lung Opacity": ("Airspace opacity",),
    "Nodule/Mass": ("Nodule or mass",),
}
#: Pairs that the papers use alike, and torchxrayvision keeps apart.
ALSO = {frozenset({"Fibrosis", "Pulmonary fibrosis"})}


def head(table, file, rows=300):
    frame = pandas.read_csv(TABLES / table, nrows=rows, low_memory=False)
    frame.to_csv(file, index=False)
    return frame


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Set -> {label as its table writes it: torchxrayvision's name}."""
    root = tmp_path_factory.mktemp("sets")
    head("chexpert_train.csv.gz", root / "chexpert_train.csv")
    head("google2019_nih-chest-xray-labels.csv.gz", root / "four.csv")
    boxes = pandas.read_csv(TABLES / "vinbigdata-train.csv.gz")
    views = ["PA", "AP", "L", "LL", "RL", float("nan")]
    chexpert = xrv.datasets.CheX_Dataset(str(root), str(root / "chexpert_train.csv"), views, unique_patients=False)
    found = {
        "chexpert": (FINDINGS, chexpert),
        "nih": (LABELS, xrv.datasets.NIH_Dataset(str(root))),
        "four": (FOUR, xrv.datasets.NIH_Google_Dataset(str(root))),
        "vindr": (sorted(set(boxes.class_name) - {"No finding"}), xrv.datasets.VinDr_Dataset(str(root))),
    }
    return {
        name: {label: theirs for theirs in data.pathologies for label in labels if _same(label, theirs)}
        for name, (labels, data) in found.items()
    }


def _same(label, theirs):
    return key(label) == key(theirs) or label in WRITTEN.get(theirs, ())


def test_every_label_has_a_name_there(sets):
    assert {name: len(found) for name, found in sets.items()} == {"chexpert": 13, "nih": 14, "four": 4, "vindr": 14}


def test_labels_of_one_name_are_joined_and_no_others(sets):
    joined = 0
    for one, other in permutations(sets, 2):
        made = LabelMap({}).sources(list(sets[one]), list(sets[other]))
        for label, theirs in sets[one].items():
            expected = {name for name, called in sets[other].items() if called == theirs}
            expected |= {name for name in sets[other] if frozenset({name, label}) in ALSO}
            assert set(made.get(label, ())) == expected, (one, other, label)
            joined += len(expected)
    assert joined > 40


def test_labels_of_padchest_are_those_that_torchxrayvision_looks_for():
    """It looks for its own name in the text of the list, for Infiltration for `infiltrates` among others."""
    from thorax.data.formats.label_texts import label_lists

    lists = pandas.read_csv(
        TABLES / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz", usecols=["Labels"]
    ).Labels
    names = sorted({name for items in label_lists(set(lists.dropna())).values() for name in items})
    made = LabelMap({}).sources(LABELS, names)
    assert set(made) == set(LABELS)
    for label, found in made.items():
        word = "infiltrates" if label == "Infiltration" else label.lower().replace("_", " ")
        assert found and all(word in name for name in found), (label, found)
