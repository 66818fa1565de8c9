"""The real label tables that torchxrayvision ships: per-label counts equal those of its own data set classes."""

from __future__ import annotations

import gzip
import shutil
import zipfile
from ast import literal_eval
from pathlib import Path

import numpy as np
import pytest

import published
from thorax.config import TrainingConfig
from thorax.config.parse import parse
from thorax.data.formats.label_table import label_table
from thorax.data.formats.names import key
from thorax.data.formats.table_options import TableOptions, choices
from thorax.data.samples import label_space, sample_set
from thorax.data.uncertain import labels_asked
from thorax_launch.recipe import Recipe

xrv = pytest.importorskip("torchxrayvision", reason="the real tables lie in torchxrayvision")
pandas = pytest.importorskip("pandas")
TABLES = Path(xrv.__file__).parent / "data"
#: torchxrayvision's own names for the same label -> the table's.
EFFUSION = {"Effusion": "Pleural Effusion"}
FOUR = {"Nodule/Mass": "Nodule or mass", "Lung Opacity": "Airspace opacity"}


#: Rows of the two largest tables: the first ones in the fast suite, all of them with `pytest -m slow`.
ROWS = pytest.mark.parametrize("rows", [20_000, pytest.param(None, marks=pytest.mark.slow)])


def first_rows(table: str, file: Path, rows: int | None) -> pandas.DataFrame:
    """The table with so many rows as a file; returned as pandas reads it."""
    frame = pandas.read_csv(TABLES / table, nrows=rows, low_memory=False, dtype=str)
    frame.to_csv(file, index=False)
    return pandas.read_csv(file, low_memory=False)


def copied(root: Path, table: str, name: str) -> Path:
    root.mkdir(exist_ok=True)
    shutil.copy(TABLES / table, root / name)
    return root


def _words(text: str) -> set[str]:
    return {word.strip() for word in literal_eval(text)}


def counts(column: np.ndarray) -> tuple[int, int, int]:
    """(positive, negative, neither)."""
    return int((column == 1).sum()), int((column == 0).sum()), int(np.isnan(column).sum())


def same_counts(listing, dataset, names=None) -> None:
    assert len(listing.ids) == len(dataset.labels)
    ours = {key(name): listing.targets[:, k] for k, name in enumerate(listing.names)}
    for k, name in enumerate(dataset.pathologies):
        column = ours[key((names or {}).get(name, name))]
        assert counts(column) == counts(dataset.labels[:, k]), name


@ROWS
def test_chexpert(tmp_path, rows):
    raw = first_rows("chexpert_train.csv.gz", tmp_path / "train.csv", rows)
    listing = label_table(tmp_path)
    every = ["PA", "AP", "L", "LL", "RL", np.nan]
    oracle = xrv.datasets.CheX_Dataset(str(tmp_path), str(tmp_path / "train.csv"), every, unique_patients=False)
    oracle_rows = len(oracle.labels)
    assert len(listing.ids) == (rows or 223_414)
    for k, name in enumerate(listing.names):
        assert int(listing.uncertain[:, k].sum()) == int((raw[name] == -1).sum()), name
    assert len(set(listing.patients)) == raw.Path.str.extract(r"(patient\d+)")[0].nunique()
    assert len(set(listing.studies)) == raw.Path.str.extract(r"(patient\d+/study\d+)")[0].nunique()
    kept = np.isin(listing.attributes["view"], ["PA", "AP", "LATERAL"])
    assert oracle_rows == kept.sum()
    same_counts(listing.take(np.flatnonzero(kept)), oracle, EFFUSION)


def test_mimic(tmp_path):
    """Its tables need a licence: an imitation's counts are the oracle's.

    But for Support Devices: torchxrayvision makes blank ones 0 where there is no finding; here they stay as written.
    """
    published.mimic_cxr(tmp_path)
    listing = label_table(tmp_path)
    tables = (str(tmp_path / f"mimic-cxr-2.0.0-{kind}.csv.gz") for kind in ("chexpert", "metadata"))
    oracle = xrv.datasets.MIMIC_Dataset(str(tmp_path), *tables, views=["PA", "LATERAL"], unique_patients=False)
    devices = listing.names.index("Support Devices")
    metadata, labels = (pandas.read_csv(tmp_path / f"mimic-cxr-2.0.0-{k}.csv.gz") for k in ("metadata", "chexpert"))
    written = metadata.merge(labels, on=["subject_id", "study_id"])["Support Devices"].to_numpy(float)
    np.testing.assert_array_equal(listing.targets[:, devices], np.where(written == -1, np.nan, written))
    listing.targets[:, devices] = oracle.labels[:, oracle.pathologies.index("Support Devices")]
    same_counts(listing, oracle, EFFUSION)


@ROWS
def test_padchest(tmp_path, rows):
    name = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz"
    raw = first_rows(name, tmp_path / "PADCHEST.csv", rows)
    listing = label_table(tmp_path)
    every = ["PA", "L", "AP", "AP Supine", "COSTAL", "EXCLUDE", "UNK"]
    oracle = xrv.datasets.PC_Dataset(str(tmp_path), str(tmp_path / "PADCHEST.csv"), every, unique_patients=False)
    remarks = {"unchanged", "exclude", "suboptimal study", ""}
    known = [n for n, text in enumerate(raw.Labels) if isinstance(text, str) and _words(text) - remarks]
    assert listing.ids == raw.ImageID.iloc[known].tolist()
    assert rows or len(known) > 154_000
    place = {image: n for n, image in enumerate(listing.ids)}
    theirs = [n for n, image in enumerate(oracle.csv.ImageID) if image in place]
    ours = np.array([place[oracle.csv.ImageID.iloc[n]] for n in theirs])
    words = {  # what torchxrayvision looks for in the text of the list
        "Infiltration": ["infiltrates", "interstitial pattern", "ground glass pattern", "alveolar pattern"]
        + ["consolidation", "air bronchogram"],
        "Pleural_Thickening": ["pleural thickening"],
        "Consolidation": ["air bronchogram"],
        "Hilar Enlargement": ["adenopathy", "pulmonary artery enlargement"],
        "Support Devices": ["device", "pacemaker"],
        "Tube": ["stent'", "tube'"],
    }
    for k, pathology in enumerate(oracle.pathologies):
        looked_for = [*([] if pathology == "Tube" else [pathology.lower()]), *words.get(pathology, [])]
        columns = [j for j, label in enumerate(listing.names) if any(word in f"{label}'" for word in looked_for)]
        found = listing.targets[ours][:, columns].any(axis=1)
        assert found.sum() == oracle.labels[theirs, k].sum(), pathology
        assert (found == oracle.labels[theirs, k]).all(), pathology
    left_out = oracle.labels[[n for n, image in enumerate(oracle.csv.ImageID) if image not in place]]
    assert not left_out.any()  # images of remarks only have no finding there either
    assert set(listing.patients) == set(raw.PatientID.astype(str).iloc[known])


def test_rsna(tmp_path):
    with zipfile.ZipFile(TABLES / "kaggle_stage_2_train_labels.csv.zip") as archive:
        archive.extract("stage_2_train_labels.csv", tmp_path)
    listing = label_table(tmp_path)
    oracle = xrv.datasets.RSNA_Pneumonia_Dataset(str(tmp_path), views=["PA", "AP"])
    same_counts(listing, type("Pneumonia", (), {"labels": oracle.labels[:, :1], "pathologies": ["Pneumonia"]}))
    assert counts(listing.targets[:, 0]) == (6_012, 20_672, 0)


def test_vindr(tmp_path):
    copied(tmp_path, "vinbigdata-train.csv.gz", "train.csv.gz")
    oracle = xrv.datasets.VinDr_Dataset(str(tmp_path), str(tmp_path / "train.csv.gz"))
    same_counts(label_table(tmp_path, TableOptions(readers="any")), oracle, EFFUSION)
    raw = pandas.read_csv(tmp_path / "train.csv.gz")
    readers = raw.groupby(["class_name", "image_id"]).rad_id.nunique()
    majority, mean = (label_table(tmp_path, TableOptions(readers=rule)) for rule in ("majority", "mean"))
    for k, name in enumerate(majority.names):
        assert counts(majority.targets[:, k])[0] == int((readers[name] >= 2).sum()), name
        np.testing.assert_allclose(mean.targets[:, k].sum(), readers[name].sum() / 3, rtol=1e-4)


@pytest.mark.parametrize("packed", [True, False])
def test_nih(tmp_path, packed):
    name = "Data_Entry_2017_v2020.csv"
    if packed:
        copied(tmp_path, f"{name}.gz", f"{name}.gz")
    else:
        (tmp_path / name).write_bytes(gzip.decompress((TABLES / f"{name}.gz").read_bytes()))
    listing = label_table(tmp_path)
    oracle = xrv.datasets.NIH_Dataset(str(tmp_path), views=["PA", "AP"], unique_patients=False)
    same_counts(listing, oracle)
    assert (len(listing.ids), len(set(listing.patients))) == (112_120, 30_805)


def test_nih_relabelled(tmp_path):
    listing = label_table(copied(tmp_path, "google2019_nih-chest-xray-labels.csv.gz", "four_findings.csv.gz"))
    oracle = xrv.datasets.NIH_Google_Dataset(str(tmp_path), views=["PA", "AP"], unique_patients=False)
    same_counts(listing, oracle, FOUR)


#: Recipe -> its set's table.
RECIPES = {
    "chexpert": ("chexpert_train.csv.gz", "train.csv"),
    "padchest": ("PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz", "PADCHEST.csv"),
    "vindr": ("vinbigdata-train.csv.gz", "train.csv"),
    "nih-sample": ("Data_Entry_2017_v2020.csv.gz", "Data_Entry_2017.csv"),
    "chestxray14-224": ("Data_Entry_2017_v2020.csv.gz", "Data_Entry_2017.csv"),
}


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipes_name_what_the_real_tables_have(tmp_path, name):
    """Their labels, conditions and format, on the first rows; each label occurs."""
    first_rows(RECIPES[name][0], tmp_path / RECIPES[name][1], 4_000)
    config = TrainingConfig(**parse(Recipe.load(name).hyperparameters))
    listing = label_table(tmp_path, TableOptions.of(config), config.data_format)
    space = label_space(listing, labels_asked(config.labels, listing, choices(config.uncertain)), config.multi_label)
    assert len(space.outputs) == (len(config.labels) or 14)
    assert all(sample_set("train", listing, space).class_counts().values())


def test_siim_masks_by_hyperparameters_alone(tmp_path):
    copied(tmp_path, "siim-pneumothorax-train-rle.csv.gz", "train-rle.csv.gz")
    given = TableOptions(path_column="ImageId", path_suffix=".dcm", label_columns=("EncodedPixels",), readers="any")
    listing = label_table(tmp_path, given)
    raw = pandas.read_csv(tmp_path / "train-rle.csv.gz")
    positive = (raw[" EncodedPixels"].str.strip() != "-1").groupby(raw.ImageId).any()
    assert counts(listing.targets[:, 0]) == (int(positive.sum()), int((~positive).sum()), 0)
    assert listing.ids[0].endswith(".dcm")
