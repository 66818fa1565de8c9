"""Channels read from class folders and from one CSV, and what each says about images it cannot take."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import images
from thorax.data.decoders import kinds
from thorax.data.formats import read_channel
from thorax.data.samples import label_space, sample_set
from thorax.errors import ThoraxError
from thorax.labels import LabelSpace

NAN = np.nan


def read(root, data_format="auto"):
    return read_channel("train", root, data_format)


def refused(root, data_format="auto"):
    with pytest.raises(ThoraxError) as caught:
        read(root, data_format)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("channel train: ")
    return str(caught.value)


# --- class folders


def test_folders(tmp_path):
    root = images.folders(
        tmp_path / "c",
        PNEUMONIA=["person1_virus_2.jpeg", "person1_bacteria_1.jpeg"],
        NORMAL=["IM-0001-0001.jpeg", "b.PNG"],
    )
    listing = read(root)
    assert listing.names == ("NORMAL", "PNEUMONIA")
    assert listing.exclusive
    assert listing.ids == [
        "NORMAL/IM-0001-0001.jpeg",
        "NORMAL/b.PNG",
        "PNEUMONIA/person1_bacteria_1.jpeg",
        "PNEUMONIA/person1_virus_2.jpeg",
    ]
    assert listing.patients == ["IM-0001", "NORMAL/b.PNG", "person1", "person1"]
    np.testing.assert_array_equal(listing.targets, [[1, 0], [1, 0], [0, 1], [0, 1]])
    assert listing.targets.dtype == np.float32
    assert all(path.is_file() for path in listing.sources)


def test_sub_folders_belong_to_their_class(tmp_path):
    listing = read(images.folders(tmp_path, A=["a.png", "deep/er/b.png"], B=["site/c.jpg"]))
    assert listing.ids == ["A/a.png", "A/deep/er/b.png", "B/site/c.jpg"]
    np.testing.assert_array_equal(listing.targets.argmax(axis=1), [0, 0, 1])


def test_one_class_is_refused(tmp_path):
    assert "has one class folder only (NORMAL); a classifier needs two or more" in refused(
        images.folders(tmp_path, NORMAL=["a.png"])
    )


def test_images_without_a_class_folder_are_refused(tmp_path):
    images.put(tmp_path / "a.png")
    assert "no known format" in refused(tmp_path)


@settings(max_examples=25, deadline=None)
@given(
    names=st.dictionaries(
        st.sampled_from(["A", "B b", "ü", "C-1", "D"]),
        st.sets(st.sampled_from(["x", "y z", "é", "1.2"]), min_size=1),
        min_size=2,
    )
)
def test_every_image_once_with_its_class(names, tmp_path_factory):
    root = images.folders(
        tmp_path_factory.mktemp("c"), **{name: [f"{f}.png" for f in found] for name, found in names.items()}
    )
    listing = read(root)
    assert sorted(listing.ids) == sorted(f"{name}/{f}.png" for name, found in names.items() for f in found)
    assert [listing.names[k] for k in listing.targets.argmax(axis=1)] == [i.split("/")[0] for i in listing.ids]
    assert (listing.targets.sum(axis=1) == 1).all()


# --- one CSV


def test_labels_column(tmp_path):
    text = "path,labels,patient\na.png,Mass|Nodule,1\nb.png,No Finding,2\nc.png,,2\nd.png,Mass?| Effusion ,\n"
    listing = read(images.table(tmp_path, text, ["a.png", "b.png", "c.png", "d.png"]))
    assert listing.names == ("Effusion", "Mass", "Nodule")
    assert not listing.exclusive
    assert listing.ids == ["a.png", "b.png", "c.png", "d.png"]
    assert listing.patients == ["1", "2", "2", "d.png"]
    np.testing.assert_array_equal(listing.targets, [[0, 1, 1], [0, 0, 0], [0, 0, 0], [1, NAN, 0]])


def test_label_columns(tmp_path):
    text = "Path,Sex,Mass,Edema,patient_id\na.png,F,1,0,7\nb.png,M,,1.0,8\nc.png,M,-1,0.0,8\nd.png,F, 1 ,-1.0,9\n"
    listing = read(images.table(tmp_path, text, ["a.png", "b.png", "c.png", "d.png"]))
    assert listing.names == ("Mass", "Edema")
    assert not listing.exclusive
    assert listing.patients == ["7", "8", "8", "9"]
    np.testing.assert_array_equal(listing.targets, [[1, 0], [NAN, 1], [NAN, 0], [1, NAN]])


def test_one_label_each_are_classes(tmp_path):
    listing = read(
        images.table(tmp_path, "image,label\na.png,normal\nb.png,viral\nc.png,bacterial\n", ["a.png", "b.png", "c.png"])
    )
    assert listing.exclusive
    assert listing.names == ("bacterial", "normal", "viral")
    assert label_space(listing, (), None).task == "multiclass"


def test_no_finding_and_one_finding_are_two_classes(tmp_path):
    listing = read(images.table(tmp_path, "path,labels\na.png,No Finding\nb.png,Mass\n", ["a.png", "b.png"]))
    assert listing.exclusive
    assert label_space(listing, (), None) == LabelSpace(("No Finding", "Mass"), "binary")


def test_no_finding_among_several_findings_is_none_of_them(tmp_path):
    """One finding per image, by chance or choice, does not make findings classes."""
    listing = read(
        images.table(tmp_path, "path,labels\na.png,No Finding\nb.png,Mass\nc.png,Nodule\n", ["a.png", "b.png", "c.png"])
    )
    assert not listing.exclusive
    assert listing.names == ("Mass", "Nodule")
    np.testing.assert_array_equal(listing.targets, [[0, 0], [1, 0], [0, 1]])


def test_an_unknown_label_is_never_exclusive(tmp_path):
    listing = read(images.table(tmp_path, "path,labels\na.png,Edema?\nb.png,Edema\n", ["a.png", "b.png"]))
    assert not listing.exclusive
    np.testing.assert_array_equal(listing.targets, [[NAN], [1]])


@pytest.mark.parametrize("start", ["", "\ufeff"], ids=["plain", "BOM"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_tables_of_any_editor(tmp_path, start, end):
    text = start + end.join(["path,labels", "a.png,Mass", "", '"b, c.png",Nodule', ""])
    listing = read(images.table(tmp_path, text, ["a.png", "b, c.png"]))
    assert listing.ids == ["a.png", "b, c.png"]
    assert listing.names == ("Mass", "Nodule")


@pytest.mark.parametrize("where", ["", "images/"])
def test_images_beside_the_table_or_in_images(tmp_path, where):
    """A table and its folder of images are one format: nothing has to be chosen."""
    for listed in ("", where):
        root = tmp_path / f"c{len(listed)}"
        images.table(root, f"path,labels\n{listed}a.png,A\n{listed}b.png,B\n", [f"{where}a.png", f"{where}b.png"])
        listing = read(root)
        assert listing.ids == [f"{listed}a.png", f"{listed}b.png"]
        assert all(path.is_file() for path in listing.sources)


def test_the_tables_that_the_demo_writes_are_read(tmp_path):
    from thorax_launch.synthetic.radiographs import write_table

    write_table(tmp_path / "images", images=75)
    listing = read(tmp_path / "images" / "train")
    assert not listing.exclusive
    assert len(listing.ids) > 40


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("path,labels\na.png,A\na.png,B\n", "images.csv line 3 has a.png a second time, with other labels than"),
        ("path,labels\na.png,A\ngone.png,B\n", "line 3: gone.png does not exist in"),
        ("path,labels\na.png,A\nb.png\n", "line 3 has 1 values, the header has 2"),
        ("path,labels\na.png,A,B\n", "line 2 has 3 values, the header has 2"),
        ("name,labels\na.png,A\n", "has no path column (one of path, file, image, filename); it has name, labels"),
        ("path,patient\na.png,1\n", "has no labels column and no column per label"),
        ("path,Mass\na.png,yess\n", "line 2: Mass='yess' is not a label value; write 1, 0, -1 for uncertain, or blank"),
        ("path,Mass\na.png,2\n", "line 2: Mass='2' is not a label value"),
        ("path,labels\n,A\n", "line 2 has no path"),
        ("path,labels\n", "has no rows below its header"),
        ("", "is empty"),
    ],
)
def test_bad_tables(tmp_path, text, reported):
    message = refused(images.table(tmp_path, text, ["a.png", "b.png"]))
    assert reported in message
    assert "images.csv" in message


def test_blank_lines_do_not_shift_line_numbers(tmp_path):
    reported = refused(images.table(tmp_path, "path,labels\na.png,A\n\n\ngone.png,B\n", ["a.png"]))
    assert "line 5: gone.png" in reported


def test_a_table_in_another_encoding(tmp_path):
    (tmp_path / "images.csv").write_bytes("path,labels\na.png,Größe\n".encode("latin-1"))
    assert "is not a CSV in UTF-8" in refused(tmp_path)


def test_two_tables_are_refused(tmp_path):
    images.table(tmp_path, "path,labels\na.png,A\n", ["a.png"])
    images.table(tmp_path, "path,labels\na.png,A\n", name="other.csv")
    assert "holds 2 tables (images.csv, other.csv); leave one" in refused(tmp_path)


# --- which format


def test_both_formats_must_be_chosen_from(tmp_path):
    images.folders(tmp_path, A=["a.png"], B=["b.png"])
    images.table(tmp_path, "path,labels\nA/a.png,X\nB/b.png,Y\n")
    reported = refused(tmp_path)
    assert "class folders (A, B) and a table (images.csv); choose one by data_format=folder|table" in reported
    assert read(tmp_path, "folder").names == ("A", "B")
    assert read(tmp_path, "csv").names == ("X", "Y")


def test_a_format_that_is_not_there(tmp_path):
    assert "data_format=foo is not one of auto, " in refused(images.folders(tmp_path, A=["a.png"]), "foo")
    assert "data_format=csv but" in refused(images.folders(tmp_path, A=["a.png"], B=["b.png"]), "csv")


def test_no_format_says_what_is_there(tmp_path):
    for name in ("a.dcm", "b.dcm"):
        (tmp_path / name).write_bytes(b"DICM")
    reported = refused(tmp_path)
    assert "2 files and 0 folders (a.dcm, b.dcm)" in reported
    assert f"expected a folder of images ({kinds()}) per class, or one .csv with a path column" in reported


def test_empty_and_missing_channels(tmp_path):
    assert "is empty" in refused(tmp_path)
    assert "is not a folder" in refused(tmp_path / "gone")
    assert "is not a folder" in refused(images.put(tmp_path / "image.png"))


# --- from listings to sample sets


def test_the_users_order_decides_which_class_is_positive(tmp_path):
    listing = read(images.folders(tmp_path, a=["1.png"], b=["2.png"]))
    np.testing.assert_array_equal(sample_set("train", listing, label_space(listing, (), None)).targets, [[0], [1]])
    np.testing.assert_array_equal(
        sample_set("train", listing, label_space(listing, ("b", "a"), None)).targets, [[1], [0]]
    )


def test_normal_is_the_negative_class(tmp_path):
    listing = read(images.folders(tmp_path, covid=["1.png"], normal=["2.png"]))
    space = label_space(listing, (), None)
    assert space.classes == ("normal", "covid")
    np.testing.assert_array_equal(sample_set("train", listing, space).targets, [[1], [0]])


def test_some_labels_of_many(tmp_path):
    listing = read(images.table(tmp_path, "path,labels\na.png,A|C\nb.png,B\n", ["a.png", "b.png"]))
    space = label_space(listing, ("C", "A"), None)
    assert space == LabelSpace(("C", "A"), "multilabel")
    np.testing.assert_array_equal(sample_set("train", listing, space).targets, [[1, 1], [0, 0]])


def test_unknown_labels_of_the_user_are_named(tmp_path):
    listing = read(images.table(tmp_path, "path,labels\na.png,A|C\nb.png,B\n", ["a.png", "b.png"]))
    with pytest.raises(ThoraxError, match="labels=A,D: D not in the data, which has A, B, C"):
        label_space(listing, ("A", "D"), None)
    with pytest.raises(
        ThoraxError, match="multi_label=false but images of the train channel have several labels or none"
    ):
        label_space(listing, (), False)
    classes = read(images.folders(tmp_path / "c", A=["a.png"], B=["b.png"]))
    with pytest.raises(ThoraxError, match="labels=A,D but the data holds the classes A,B"):
        label_space(classes, ("A", "D"), None)


def test_classes_that_training_does_not_know(tmp_path):
    listing = read(images.folders(tmp_path, A=["a.png"], C=["b.png"]))
    with pytest.raises(ThoraxError, match="channel test has the classes A, C, but training knows A, B"):
        sample_set("test", listing, LabelSpace(("A", "B"), "binary"))


@pytest.mark.parametrize("labels", ["bacterial|viral", "viral?"])
def test_a_image_without_exactly_one_class_has_no_place_among_classes(tmp_path, labels):
    """It would be scored as an image of no class, or of the negative one."""
    listing = read(images.table(tmp_path, f"path,labels\na.png,{labels}\nb.png,viral\n", ["a.png", "b.png"]))
    for classes, task in ((("normal", "bacterial", "viral"), "multiclass"), (("bacterial", "viral"), "binary")):
        with pytest.raises(ThoraxError, match=r"channel test has images with several labels, unknown ones or none"):
            sample_set("test", listing, LabelSpace(classes, task))


def test_a_channel_of_negative_images_alone(tmp_path):
    listing = read(images.table(tmp_path, "path,labels\na.png,No Finding\nb.png,No Finding\n", ["a.png", "b.png"]))
    np.testing.assert_array_equal(
        sample_set("test", listing, LabelSpace(("No Finding", "Mass"), "binary")).targets, [[0], [0]]
    )


@pytest.mark.parametrize("name", ["a\tb.png", "a\nb.png", b"a\xff.png".decode("utf-8", "surrogateescape")])
def test_names_that_no_list_or_table_can_hold(tmp_path, name):
    reported = refused(images.folders(tmp_path, A=[name], B=["b.png"]))
    assert "holds a tab, a line break or bytes that are not UTF-8; rename it" in reported
    assert reported.isprintable()
