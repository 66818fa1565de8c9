"""The field's published sets as they lie on disk: found, read, counted and trained, with no file moved."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from shutil import copytree

import numpy as np
import pytest

import published
import thorax
from listings import read, refused
from thorax.data.formats import read_channel
from thorax.data.formats.channel import ReadOptions
from thorax.data.formats.table_options import TableOptions


def options(**given):
    return {"table": TableOptions(**given)}


def column(listing, name):
    return listing.targets[:, listing.names.index(name)]


#: Set -> a part that is scored, its studies and its patients.
STUDIES = {"chexpert": ("validation", 4, 2), "mimic_cxr": ("test", 2, 2)}


@pytest.mark.parametrize("name", published.SETS)
def test_each_set_is_found_and_trains(tmp_path, name, capsys):
    data_format, write = published.SETS[name]
    given = write(tmp_path / "set")
    assert read(tmp_path / "set").ids == read(tmp_path / "set", data_format).ids
    tiny = {"network": "cnn5", "image_shape": "1,32,32", "epochs": 1, "batch_size": 8, "warmup_epochs": 0}
    quick = {"augmentation_type": "none", "bootstrap_samples": 0, "num_workers": 0, "threshold_views": 0}
    result = thorax.train({**tiny, **quick, **given}, train=tmp_path / "set", output=tmp_path / "out")
    assert result.bundle.is_dir()
    text = capsys.readouterr().out
    assert "task: " in text
    if name in STUDIES:  # two views a study
        part, studies, patients = STUDIES[name]
        title = f"{part} by study (mean)"
        assert f"\n{title}: {studies} studies of {patients} patients" in text
        assert result.metrics[part]["n"] == 2 * studies
        assert (result.metrics[title]["n"], result.metrics[title]["patients"]) == (studies, patients)
        assert title in result.report.read_text().lower()


@pytest.mark.parametrize("parent", [False, True])
def test_chexpert(tmp_path, parent):
    published.chexpert(tmp_path)
    root = tmp_path if parent else tmp_path / "CheXpert-v1.0-small"
    listing = read(root)
    place = "CheXpert-v1.0-small/" if parent else ""
    assert listing.ids[3] == f"{place}train/patient00001/study2/view2_lateral.jpg"
    assert (listing.patients[3], listing.studies[3]) == ("patient00001", "patient00001/study2")
    assert Counter(listing.parts) == {"train": 24, "validation": 8}
    assert (len(set(listing.patients)), len(set(listing.studies))) == (8, 16)
    assert {k: v[5] for k, v in listing.attributes.items()} == {"view": "LATERAL", "sex": "M", "age": "41"}
    assert listing.attributes["view"][0] == "AP"
    assert len(listing.names) == 13
    edema = column(listing, "Edema")
    assert (np.nansum(edema), (edema == 0).sum(), np.isnan(edema).sum()) == (14, 16, 2)
    assert np.flatnonzero(listing.uncertain[:, listing.names.index("Edema")]).tolist() == [18, 19]
    assert (column(listing, "Fracture") == 0).sum() == 16  # of images that say No Finding
    assert np.isnan(column(listing, "Support Devices")).all()
    assert listing.label_notes[0].startswith("16 rows with No Finding: 192 blank findings of theirs (not Support")
    assert listing.label_notes[0] in listing.notes


def test_chexpert_frontal_images_alone(tmp_path):
    published.chexpert(tmp_path)
    listing = read(tmp_path, **options(where=("Frontal/Lateral=frontal", "AP/PA=AP", "PA")))
    assert set(listing.attributes["view"]) == {"AP"}
    assert listing.notes[0].startswith(
        "16 of 32 rows of train.csv and valid.csv have Frontal/Lateral=frontal and AP/PA"
    )
    assert "where=Sex=X: " in refused(tmp_path, **options(where=("Sex=X",)))


def test_images_that_are_not_there_are_counted(tmp_path):
    published.chexpert(tmp_path)
    (tmp_path / "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg").unlink()
    assert len(read(tmp_path).ids) == 31
    assert "1 of the 32 images of train.csv and valid.csv is not there and is left out" in read(tmp_path).notes


def test_chexpert_of_full_size_lies_in_batches(tmp_path):
    """Tables and valid/ in one folder, the patients of train/ in three more."""
    published.chexpert(tmp_path)
    small, tables = tmp_path / "CheXpert-v1.0-small", tmp_path / "CheXpert-v1.0 batch 1 (validate & csv)"
    before = read(tmp_path)
    for k, patient in enumerate(sorted((small / "train").iterdir())):
        batch = tmp_path / f"CheXpert-v1.0 batch {2 + k % 3} (train {1 + k % 3})"
        batch.mkdir(exist_ok=True)
        patient.rename(batch / patient.name)
    (small / "train").rmdir()
    small.rename(tables)
    listing = read(tmp_path)
    assert listing.ids[0] == "CheXpert-v1.0 batch 2 (train 1)/patient00001/study1/view1_frontal.jpg"
    assert Counter(listing.parts) == {"train": 24, "validation": 8}
    np.testing.assert_array_equal(listing.targets, before.targets)
    assert (listing.patients, listing.studies) == (before.patients, before.studies)
    assert not [note for note in listing.notes if "not there" in note or "left out" in note]
    copy = tmp_path / "CheXpert-v1.0 batch 3 (train 2)/patient00001"
    copytree(tmp_path / "CheXpert-v1.0 batch 2 (train 1)/patient00001", copy)
    assert "is there as CheXpert-v1.0 batch 2 (train 1)/patient00001/study" in refused(tmp_path)


def test_mimic_labels_are_of_studies(tmp_path):
    published.mimic_cxr(tmp_path)
    listing = read(tmp_path)
    assert listing.ids[0] == "files/p10/p10000032/s50414267/02aa804e-bde0afdd-00000000.jpg"
    assert (listing.patients[0], listing.studies[:2]) == ("p10000032", ["p10000032/s50414267"] * 2)
    assert Counter(listing.parts) == {"train": 20, "validation": 6, "test": 4}
    assert listing.attributes["view"][:2] == ["PA", "LATERAL"]
    edema = column(listing, "Edema")
    assert np.nansum(edema) == 12 and np.isnan(edema).sum() == 2
    assert (
        listing.notes[0] == "2 of the 32 images are of studies that mimic-cxr-2.0.0-chexpert.csv.gz has not: left out"
    )
    assert "negbio.csv.gz is not used" in listing.notes[1]


def test_padchest(tmp_path):
    published.padchest(tmp_path)
    listing = read(tmp_path)
    assert listing.names == ("pleural effusion", "scoliosis")
    assert len(listing.ids) == 24 and listing.targets.sum(axis=0).tolist() == [12, 12]
    assert (listing.ids[0], listing.patients[0], listing.studies[0]) == ("0/21650000_00-1.png", "8398", "8398/1000")
    assert {name: values[0] for name, values in listing.attributes.items()} == {"view": "PA", "sex": "F", "age": "84"}
    notes = " | ".join(listing.notes)
    assert "2 images without a known finding are left out: 1 without a list, 1 whose list holds only unchanged" in notes
    assert "1 image of them is there but empty (0 bytes)" in notes


def test_rsna_boxes_and_classes(tmp_path):
    published.rsna(tmp_path)
    listing = read(tmp_path)
    assert listing.names == ("Pneumonia",) and listing.targets[:, 0].tolist() == [0, 1] * 12
    assert "6 images have several rows (30 rows of 24 images), which say the same of each: taken once" in listing.notes
    classes = read(tmp_path, **options(label_columns=("class",)))
    assert classes.exclusive and classes.names == ("Lung Opacity", "No Lung Opacity / Not Normal", "Normal")
    assert classes.targets.sum(axis=0).tolist() == [12, 6, 6]


@pytest.mark.parametrize("write", [published.vindr_kaggle, published.vindr_physionet])
def test_vindr_readers(tmp_path, write):
    write(tmp_path)
    found = {rule: read(tmp_path, **options(readers=rule)) for rule in ("auto", "any", "mean")}
    train = np.arange(16)
    order = np.argsort([name[-15:] for name in found["auto"].ids])[train]
    nodule, ild = ({r: column(x, name)[order] for r, x in found.items()} for name in ("Nodule/Mass", "ILD"))
    assert nodule["auto"].tolist() == nodule["any"].tolist() == [0, 1] * 8
    assert ild["auto"].sum() == 0 and ild["any"].sum() == 6
    np.testing.assert_allclose(nodule["mean"], np.tile([0, 2 / 3], 8), rtol=1e-6)
    np.testing.assert_allclose(ild["mean"], np.where(train % 3, 0, 1 / 3), rtol=1e-6)
    assert any("merged by readers=majority" in note for note in found["auto"].notes)
    if write is published.vindr_physionet:
        assert Counter(found["auto"].parts) == {"train": 16, "test": 8}
        assert found["auto"].names == ("Nodule/Mass", "ILD", "Other diseases")
        assert column(found["auto"], "Other diseases").sum() == 8


def test_the_sample_of_nih_and_its_copy(tmp_path):
    published.nih_sample(tmp_path)
    listing = read(tmp_path)
    assert len(listing.ids) == 24 and listing.patients[:2] == ["00000013"] * 2
    assert column(listing, "Effusion").tolist() == [0, 1] * 12
    assert listing.attributes["age"][0] == "60"
    assert "24 images are there a second time in a copy of the set, which is passed over" in listing.notes
    assert {str(path).rsplit("/", 2)[1] for path in listing.sources} == {"images"}


def test_the_4_findings_beside_the_published_table(tmp_path):
    published.nih_four(tmp_path)
    assert read(tmp_path).names == ("Fracture", "Pneumothorax", "Airspace opacity", "Nodule or mass")
    assert Counter(read(tmp_path).parts) == {"validation": 16, "test": 8}
    assert read(tmp_path).patients[:2] == ["00000029", "00000030"]
    (tmp_path / "Data_Entry_2017.csv").write_text(
        published.NIH_HEADER + "\n00000013_000.png,Hernia,0,13,60,M,AP,1,1,1,1\n"
    )
    assert len(read(tmp_path).names) == 14
    four = read(tmp_path, **options(label_columns=("Fracture", "Noduleormass")))
    assert four.targets.sum(axis=0).tolist() == [0, 12, 24, 0]


def test_a_name_in_two_folders_is_refused(tmp_path):
    published.padchest(tmp_path)
    published.put(tmp_path / "7" / "21650000_00-1.png", 1)
    assert "21650000_00-1.png is in 0 and in 7 of" in refused(tmp_path)


def test_a_table_of_its_own_goes_before_a_published_one(tmp_path):
    """path_column says how a table is to be read, whatever it looks like."""
    published.nih_sample(tmp_path)
    with pytest.raises(thorax.ThoraxError, match=r"choose one by data_format=table\|nih"):
        read(tmp_path, **options(path_column="ImageIndex"))
    given = options(path_column="ImageIndex", path_prefix="sample/images/", label_columns=("Finding Labels",))
    listing = read_channel("train", tmp_path, "table", ReadOptions(**given))
    assert listing.names == ("Effusion", "Mass") and listing.ids[0] == "sample/images/00000013_000.png"


def test_check_and_list_read_a_set(tmp_path, capsys):
    from thorax.dataset.__main__ import main

    published.chexpert(tmp_path / "set")
    main(["check", str(tmp_path / "set"), "--json", str(tmp_path / "check.json")])
    assert json.loads((tmp_path / "check.json").read_text())["findings"]
    assert main(["list", str(tmp_path / "set"), "--out", str(tmp_path / "lists")]) == 0
    assert "16 rows with No Finding" in capsys.readouterr().out


def edited(root, pattern, old, new):
    """The set with another text in its one table of this name."""
    (file,) = root.rglob(pattern)
    text = gzip.decompress(file.read_bytes()).decode() if file.suffix == ".gz" else file.read_text()
    assert old in text
    text = text.replace(old, new, 1)
    file.write_bytes(gzip.compress(text.encode()) if file.suffix == ".gz" else text.encode())


@pytest.mark.parametrize(
    ("write", "pattern", "old", "new", "note"),
    [
        (published.padchest, "PAD*.csv", "['normal']", "\"['normal', 'scoliosis']\"",
         "1 row with a name for no finding beside labels, such as 'normal|scoliosis': the labels count"),
        (published.padchest, "PAD*.csv", "'scoliosis'", "'Scoliosis '",
         "the label 'scoliosis' (11 rows) is also written 'Scoliosis' (1); taken for one label"),
        (published.nih_sample, "*.csv", "No Finding", "No Finding|Mass",
         "1 row with a name for no finding beside labels, such as 'No Finding|Mass': the labels count"),
        (published.chexpert, "train.csv", "AP,1.0,,,,,,", "AP,1.0,,,,,1.0,", "1 row with No Finding and a finding"),
        (published.vindr_physionet, "*test.csv", ",ILD,", ",,", "image_labels_test.csv has no column ILD"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_said(tmp_path, write, pattern, old, new, note):
    write(tmp_path)
    edited(tmp_path, pattern, old, new)
    assert note in " | ".join(read(tmp_path).label_notes)


@pytest.mark.parametrize(
    ("write", "pattern", "old", "new"),
    [
        (published.padchest, "PAD*.csv", ",8398,", ",8398.0,"),
        (published.padchest, "PAD*.csv", "00_00-1.png,", "00_00-1.png ,"),
        (published.padchest, "PAD*.csv", "\"['scoliosis', 'pleural effusion']\"", '"scoliosis , pleural effusion"'),
        (published.padchest, "PAD*.csv", "['scoliosis', 'pleural effusion']", '[""scoliosis"", ""pleural effusion""]'),
        (published.mimic_cxr, "*metadata*", ",10000032,", ",10000032.0,"),
        (published.nih_sample, "*.csv", "000.png,", "000.png ,"),
        (published.nih_sample, "*.csv", ",0,00000013,", ",0,13.0,"),
        (published.vindr_kaggle, "train.csv", "00000001,", "00000001 ,"),
        (published.vindr_kaggle, "train.csv", "No finding", "No Finding"),
        (published.rsna, "*labels.csv", "000000000001,", "000000000001 ,"),
    ],
)  # fmt: skip
def test_blanks_and_signs_that_change_nothing(tmp_path, write, pattern, old, new):
    write(tmp_path)
    plain = read(tmp_path)
    edited(tmp_path, pattern, old, new)
    again = read(tmp_path)
    assert (again.ids, again.names, again.patients) == (plain.ids, plain.names, plain.patients)
    assert (again.parts, again.studies) == (plain.parts, plain.studies)
    np.testing.assert_array_equal(again.targets, plain.targets)


def test_a_table_that_lacks_a_column_of_the_other_is_refused(tmp_path):
    published.chexpert(tmp_path)
    edited(tmp_path, "train.csv", "Edema", "Oedema")
    assert "train.csv has no column Edema" in refused(tmp_path)
    published.padchest(tmp_path / "padchest")
    edited(tmp_path / "padchest", "PAD*.csv", "'pleural effusion']", "'pleur")
    assert "01.02.19.csv line 3: the list of labels" in refused(tmp_path / "padchest")
