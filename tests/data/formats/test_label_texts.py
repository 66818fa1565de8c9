"""Texts of labels as people write them: variants, blanks, lists, values; which of two classes is positive."""

from __future__ import annotations

import numpy as np
import pytest

from listings import channel, read, refused
from thorax.data.formats.label_texts import from_texts
from thorax.data.formats.table_options import TableOptions
from thorax.labels import LabelSpace

NAN = np.nan


def test_variants_of_one_name_are_one_label():
    labels = from_texts(["Pleural Thickening|Mass", "pleural_thickening", "Mass ", "Pleural Thickening"])
    assert labels.names == ("Mass", "Pleural Thickening")
    assert labels.targets.tolist() == [[1, 1], [0, 1], [1, 0], [0, 1]]
    assert labels.notes == (
        "the label 'Pleural Thickening' (2 rows) is also written 'pleural_thickening' (1); taken for one label",
    )


@pytest.mark.parametrize("blank", ["", "NA", "nan", "N/A", "None", " null "])
def test_a_blank_among_classes_is_unknown(tmp_path, blank):
    text = f"path,label\na.png,Normal\nb.png,{blank}\nc.png,Pneumonia\n"
    listing = read(channel(tmp_path, x__csv=text))
    assert (listing.names, listing.exclusive, listing.ids) == (("Normal", "Pneumonia"), True, ["a.png", "c.png"])
    assert listing.notes[0].startswith("1 row has no class (blank, NA) and is left out; multi_label=true")
    several = read(tmp_path, table=TableOptions(multi_label=True))
    assert several.ids == ["a.png", "b.png", "c.png"] and not several.exclusive


def test_none_is_the_negative_class_where_no_other_is():
    labels = from_texts(["None", "Pneumonia"])
    assert labels.names == ("None", "Pneumonia") and labels.exclusive


def test_an_empty_text_of_several_labels_means_none_and_na_unknown():
    labels = from_texts(["A|B", "", "NA", "A"])
    np.testing.assert_array_equal(labels.targets, [[1, 1], [0, 0], [NAN, NAN], [1, 0]])
    assert len(labels.notes) == 2
    np.testing.assert_array_equal(from_texts(["A|B", ""], "unknown").targets, [[1, 1], [NAN, NAN]])


def test_bracketed_lists_and_question_marks():
    labels = from_texts(["['normal']", "['pleural effusion', 'mass']", '["mass"]', "[]", "[mass, edema?]"])
    assert labels.names == ("edema", "mass", "pleural effusion")
    np.testing.assert_array_equal(labels.targets, [[0, 0, 0], [0, 1, 1], [0, 1, 0], [0, 0, 0], [NAN, 1, 0]])
    assert labels.uncertain.sum() == 1


@pytest.mark.parametrize("words", ["1 0", "True False", "YES no", "y n", "positive negative", "1.0 0.0", "t f"])
def test_values_of_a_column(tmp_path, words):
    yes, no = words.split()
    listing = read(channel(tmp_path, x__csv=f"path,Mass,Edema\na.png,{yes},{no}\nb.png,{no},-1\nc.png,NA,{yes}\n"))
    np.testing.assert_array_equal(listing.targets, [[1, 0], [0, NAN], [NAN, 1]])
    assert listing.uncertain.tolist() == [[False, False], [False, True], [False, False]]


@pytest.mark.parametrize(
    ("one", "other", "positive"),
    [
        ("pneumonia", "non-pneumonia", "pneumonia"),
        ("No Pneumonia", "Pneumonia", "Pneumonia"),
        ("covid", "not_covid", "covid"),
        ("infected", "uninfected", "infected"),
        ("Normal", "Not Normal", "Not Normal"),
        ("TB negative", "Active TB", "Active TB"),
        ("sick", "Healthy", "sick"),
        ("abnormal", "normal", "abnormal"),
        ("finding", "no finding", "finding"),
        ("nodule", "mass", "nodule"),
        ("unilateral", "bilateral", "unilateral"),
        ("NORMAL", "PNEUMONIA", "PNEUMONIA"),
    ],
)
def test_which_class_is_positive(one, other, positive):
    space = LabelSpace.of_classes([one, other])
    assert space.outputs == (positive,)
    assert f"{positive} (positive) against" in space.described()


def test_rows_of_one_image_that_differ_are_refused_with_both_lines(tmp_path):
    root = channel(tmp_path, x__csv="path,Mass,patient\na.png,1,p\nb.png,0,q\na.png,0,p\na.png,1,p\n")
    assert "x.csv line 4 has a.png a second time, with other labels than" in refused(root)
    assert "x.csv line 2; set readers=any, majority or mean" in refused(root)
    for rule, value in (("any", 1), ("majority", 1)):
        listing = read(root, table=TableOptions(readers=rule))
        assert (listing.ids, listing.targets[:, 0].tolist()) == (["a.png", "b.png"], [value, 0])
    (root / "x.csv").write_text("path,Mass,patient\na.png,1,p\na.png,1,q\n")
    assert "line 3 gives a.png the patient q, but" in refused(root)


def test_columns_by_name(tmp_path):
    text = (
        "Image Id,Person,Exam,Fold,View Position,Label A,Label B,Note\na,1,7,train,PA,1,0,x\nb,2,8,test,LATERAL,0,1,y\n"
    )
    options = TableOptions(
        path_column="imageid",
        path_suffix=".png",
        patient_column="person",
        study_column="Exam",
        split_column="Fold",
        label_columns=("LabelB", "label_a"),
    )
    listing = read(channel(tmp_path, x__csv=text), table=options)
    assert listing.names == ("Label B", "Label A") and listing.targets.tolist() == [[0, 1], [1, 0]]
    assert (listing.ids, listing.patients, listing.parts) == (["a.png", "b.png"], ["1", "2"], ["train", "test"])
    assert (listing.studies, listing.attributes) == (["1/7", "2/8"], {"view": ["PA", "LATERAL"]})
    assert listing.notes[0] == "columns of x.csv that are not used: Note"
    assert listing.notes[1].endswith("not listed, left out: c.png")
    missing = TableOptions(path_column="Imag")
    assert "path_column=Imag: " in refused(tmp_path, table=missing)
