"""Channels in the formats beyond folders and CSV: what is read, and the one line that each says about what it cannot take."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import channels
import films
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thorax.data.formats import read_channel
from thorax.data.formats.channel import Options
from thorax.data.recordio import MAGIC, Writer, pack
from thorax.data.samples import label_space
from thorax.errors import ThoraxError

NAN = np.nan


def read(root, data_format="auto", lists=None, **options):
    return read_channel("train", root, data_format, Options(**options), lists)


def refused(root, *args, **options):
    with pytest.raises(ThoraxError) as caught:
        read(root, *args, **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("channel train: ")
    return str(caught.value)


def channel(root, names=("a.png", "b.png", "c.png"), **texts):
    """A folder with these films and text files; `__` in a file's name stands for a dot."""
    for k, name in enumerate(names):
        films.put(root / name, seed=k)
    root.mkdir(exist_ok=True)
    for name, text in texts.items():
        (root / name.replace("__", ".")).write_text(text)
    return root


# --- .lst


def test_a_list_in_a_channel_of_its_own(tmp_path):
    root = films.folders(tmp_path / "train", NORMAL=["IM-0001-0001.jpeg"], PNEUMONIA=["person1_virus_2.jpeg", "more/person1_virus_3.jpeg"])
    lists = channel(tmp_path / "train_lst", (), any__lst="12\t1.0\tPNEUMONIA/more/person1_virus_3.jpeg\n\n3\t0.0\tNORMAL/IM-0001-0001.jpeg\n")
    listing = read(root, lists=lists)
    assert listing.ids == ["PNEUMONIA/more/person1_virus_3.jpeg", "NORMAL/IM-0001-0001.jpeg"]
    assert listing.patients == ["person1", "IM-0001"]
    assert listing.names == ("0", "1")
    assert listing.exclusive
    np.testing.assert_array_equal(listing.targets, [[0, 1], [1, 0]])
    assert all(path.is_file() for path in listing.sources)
    assert read(root, lists=lists / "any.lst").ids == listing.ids


def test_a_list_in_the_channel_names_its_classes(tmp_path):
    root = channel(tmp_path, train__lst="0\t2\ta.png\r\n1\t0\tb.png\r\n2\t1\t./c.png")
    listing = read(root, labels=("normal", "viral", "bacterial"))
    assert label_space(listing, ("normal", "viral", "bacterial"), None).classes == ("normal", "viral", "bacterial")
    np.testing.assert_array_equal(listing.targets.argmax(axis=1), [2, 0, 1])


def test_a_list_with_a_column_per_label(tmp_path):
    listing = read(channel(tmp_path, x__lst="0\t1\t0\t1.000\ta.png\n1\t0\t0\t-1\tb.png\n"), num_classes=3)
    assert not listing.exclusive
    assert listing.names == ("0", "1", "2")
    np.testing.assert_array_equal(listing.targets, [[1, 0, 1], [0, 0, NAN]])


def test_classes_are_counted_not_spelled(tmp_path):
    """Class 10 comes after class 9."""
    rows = "".join(f"{k}\t{k}\tf{k}.png\n" for k in range(12))
    listing = read(channel(tmp_path, [f"f{k}.png" for k in range(12)], x__lst=rows))
    assert label_space(listing, (), None).classes == tuple(map(str, range(12)))


@pytest.mark.parametrize(
    ("text", "told", "options"),
    [
        ("0\t1\ta.png\n1\tb.png\n", "x.lst line 2 has 2 columns between tabs; the lines above have 3", {}),
        ("0\t1\ta.png\n\n1\t1\t0\tb.png\n", "x.lst line 3 has 4 columns between tabs; the lines above have 3", {}),
        ("0 1 a.png\n", "x.lst line 1 has 1 columns between tabs; an index, one or more labels and a path are wanted", {}),
        ("0\t1\ta.png\n1\t0\tgone.png\n", "x.lst line 2: gone.png does not exist in", {}),
        ("".join(f"{k}\t0\tg{k}.png\n" for k in range(9)) + "9\t1\ta.png\n",
         "x.lst line 1: g0.png does not exist in {root}; 9 of 10 films are missing: "
         "line 1 g0.png, line 2 g1.png, line 3 g2.png, line 4 g3.png, line 5 g4.png, ...", {}),
        ("0\t1\ta.png\n1\t5\tb.png\n", "x.lst line 2: class 5 is out of range; it must be 0 to 1 (num_classes=2)", {"num_classes": 2}),
        ("0\t2\ta.png\n", "line 1: class 2 is out of range; it must be 0 to 1 (labels=A,B)", {"labels": ("A", "B")}),
        ("0\t-1\ta.png\n", "line 1: class -1 is out of range; it must be a whole number from 0 to 999; set num_classes for more", {}),
        ("0\t0.5\ta.png\n", "line 1: class 0.5 is out of range", {}),
        ("0\t99999999\ta.png\n", "line 1: class 1e+08 is out of range", {}),
        ("0\tnan\ta.png\n", "line 1: class nan is out of range", {}),
        ("0\t1\t2\ta.png\n", "line 1: label 2 of 2 is 2, which is out of range; it must be 1, 0, or -1 for unknown", {}),
        ("0\t1\t1\ta.png\n", "line 1 has 2 labels, but num_classes=5 says 5", {"num_classes": 5}),
        ("0\t1\t1\ta.png\n", "line 1 has 2 labels, but labels=A,B,C says 3", {"labels": ("A", "B", "C")}),
        ("7\t1\ta.png\n8\t0\tb.png\n7\t0\tc.png\n", "x.lst line 3 has the index 7 of line 1 again", {}),
        ("0\t1\ta.png\n1\t0\ta.png\n", "x.lst line 2 lists a.png a second time, after line 1", {}),
        ("0\tsick\ta.png\n", "x.lst line 1: 'sick' is no number; a line is index, labels, path", {}),
        ("0\t1\t../a.png\n", "x.lst line 1: ../a.png leads out of the channel; films must lie in {root}", {}),
        ("0\t1\tb/../../../a.png\n", "line 1: b/../../../a.png leads out of the channel", {}),
        ("0\t1\t/etc/passwd\n", "line 1: /etc/passwd leads out of the channel", {}),
        ("\n\n", "x.lst has no lines", {}),
    ],
)  # fmt: skip
def test_bad_lists(tmp_path, text, told, options):
    root = channel(tmp_path / "data", x__lst=text)
    assert told.format(root=root) in refused(root, **options)


def test_a_list_in_another_encoding(tmp_path):
    (channel(tmp_path) / "x.lst").write_bytes("0\t1\tü.png".encode("latin-1"))
    assert "x.lst is not a text in UTF-8" in refused(tmp_path)


def test_two_lists_and_a_format_that_the_list_rules_out(tmp_path):
    root = channel(tmp_path / "a", a__lst="0\t1\ta.png\n", b__lst="0\t1\tb.png\n")
    assert "holds 2 .lst files (a.lst, b.lst); one is wanted" in refused(root)
    assert "holds 0 .lst files; one is wanted" in refused(root, lists=channel(tmp_path / "empty", ["x.png"]))
    assert "data_format=coco but a list is given in" in refused(root, "coco", lists=root / "a.lst")


def test_paths_that_stay_in_the_channel_are_taken(tmp_path):
    root = channel(tmp_path / "data", x__lst=f"0\t1\tb/../a.png\n1\t0\t{tmp_path}/data/b.png\n")
    assert read(root).ids == ["a.png", "b.png"]


# --- RecordIO


def records(root, *labels, name="train.rec", ids=None, lst=None):
    root.mkdir(exist_ok=True)
    with Writer(root / name) as writer:
        for k, label in enumerate(labels):
            writer.write(pack(films.data(films.grey(seed=k)), label, (ids or range(9))[k]), k)
    if lst:
        (root / name).with_suffix(".lst").write_text(lst)
    return root


def test_records_with_one_class(tmp_path):
    listing = read(records(tmp_path, 0.0, 1.0, 1.0, ids=[5, 9, 7]))
    assert listing.ids == ["train/5", "train/9", "train/7"]
    assert listing.names == ("0", "1")
    np.testing.assert_array_equal(listing.targets, [[1, 0], [0, 1], [0, 1]])
    assert [source.read() for source in listing.sources] == [films.data(films.grey(seed=k)) for k in range(3)]
    assert "each film is taken for a patient of its own" in listing.notes[0]


def test_packed_labels(tmp_path):
    listing = read(records(tmp_path, [0, 1, 1], [0, 0, 0]), labels=("A", "B", "C"))
    assert not listing.exclusive
    np.testing.assert_array_equal(listing.targets, [[0, 1, 1], [0, 0, 0]])
    one = read(records(tmp_path / "one", [1.0], [0.0]))  # im2rec --pack-label with a single label
    assert one.exclusive
    np.testing.assert_array_equal(one.targets, [[0, 1], [1, 0]])


def test_several_files_and_the_lists_that_they_were_made_from(tmp_path):
    records(tmp_path, 0.0, 1.0, name="a.rec", lst="0\t0\tNORMAL/IM-0001-0001.jpeg\n1\t1\tPNEUMONIA/person3_virus_1.jpeg\n")
    records(tmp_path, 1.0, name="b.rec", lst="0\t1\tPNEUMONIA/person3_virus_2.jpeg\n")
    listing = read(tmp_path)
    assert listing.ids == ["NORMAL/IM-0001-0001.jpeg", "PNEUMONIA/person3_virus_1.jpeg", "PNEUMONIA/person3_virus_2.jpeg"]
    assert listing.patients == ["IM-0001", "person3", "person3"]
    assert listing.notes == ()


def test_records_whose_ids_repeat_are_counted(tmp_path):
    assert read(records(tmp_path, 0.0, 1.0, ids=[0, 0])).ids == ["train/0", "train/1"]


def test_a_film_that_holds_the_magic_number(tmp_path):
    with Writer(tmp_path / "x.rec") as writer:
        writer.write(pack(b"abcd" + MAGIC + b"efgh", 1.0, 0), 0)
        writer.write(pack(b"plain", 0.0, 1), 1)
    assert [source.read() for source in read(tmp_path).sources] == [b"abcd" + MAGIC + b"efgh", b"plain"]


def test_bad_records(tmp_path):
    whole = (records(tmp_path / "a", 0.0, 1.0) / "train.rec").read_bytes()
    (tmp_path / "a" / "train.rec").write_bytes(whole[:-20])
    assert "train.rec is cut short: the record at byte 744 announces 739 bytes, 720 are there" in refused(tmp_path / "a")
    (tmp_path / "a" / "train.rec").write_bytes(b"\x89PNG" + whole)
    assert "at byte 0 is 0x474e5089, not the magic number 0xced7230a" in refused(tmp_path / "a")
    (tmp_path / "a" / "train.rec").write_bytes(b"")
    assert "train.rec holds no records" in refused(tmp_path / "a")
    assert "record 1 at byte" in (told := refused(records(tmp_path / "b", 0.0, 7.0), num_classes=2))
    assert "class 7 is out of range; it must be 0 to 1 (num_classes=2)" in told
    assert "has 2 labels, those before it 1" in refused(records(tmp_path / "c", 0.0, [0, 1]))
    assert "record 1 at byte" in (told := refused(records(tmp_path / "d", 0.0, 1.0, lst="0\t0\ta.png\n")))
    assert "is not in train.lst" in told


# --- augmented manifest


def manifest(root, *rows, names=("a.png", "b.png", "c.png")):
    return channel(root, names, x__manifest="".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def rows(*labels, **about):
    return [{"source-ref": f"{name}.png", "class": label, **about} for name, label in zip("abc", labels, strict=False)]


@pytest.mark.parametrize(
    ("labels", "options", "names", "exclusive", "targets"),
    [
        ([0, 1, 1], {}, ("0", "1"), True, [[1, 0], [0, 1], [0, 1]]),
        (["0", "2"], {"labels": ("A", "B", "C")}, ("A", "B", "C"), True, [[1, 0, 0], [0, 0, 1]]),
        ([[0, 1, 1], [0, 0, 0]], {}, ("0", "1", "2"), False, [[0, 1, 1], [0, 0, 0]]),
        (["[1, 0]", "[1, 1]"], {"labels": ("A", "B")}, ("A", "B"), False, [[1, 0], [1, 1]]),
        ([[0, 2], [], [1]], {}, ("0", "1", "2"), False, [[1, 0, 1], [0, 0, 0], [0, 1, 0]]),
        ([[0, 1], [1, 0]], {"label_format": "multi-hot"}, ("0", "1"), False, [[0, 1], [1, 0]]),
        ([[0, 1], [1, 0]], {"label_format": "class-id"}, ("0", "1"), False, [[1, 1], [1, 1]]),
        ([[0], [3]], {"num_classes": 5}, ("0", "1", "2", "3", "4"), False, [[1, 0, 0, 0, 0], [0, 0, 0, 1, 0]]),
    ],
)
def test_labels_of_a_manifest(tmp_path, labels, options, names, exclusive, targets):
    listing = read(manifest(tmp_path, *rows(*labels)), **options)
    assert (listing.names, listing.exclusive) == (names, exclusive)
    np.testing.assert_array_equal(listing.targets, targets)


def test_ground_truths_own_names(tmp_path):
    one = manifest(
        tmp_path / "one", *({"source-ref": f"{f}.png", "job": k, "job-metadata": {"class-name": n}} for f, k, n in (("a", 3, "Mass"), ("b", 0, "Clear")))
    )
    assert read(one).names == ("Clear", "Mass")
    assert read(one).exclusive
    many = manifest(tmp_path / "many", *rows([7, 2], [], **{"class-metadata": {"class-map": {"7": "Mass", "2": "Edema"}}}))
    listing = read(many)
    assert (listing.names, listing.exclusive) == (("Edema", "Mass"), False)
    np.testing.assert_array_equal(listing.targets, [[1, 1], [0, 0]])


def test_s3_addresses_are_found_by_their_longest_end(tmp_path):
    root = manifest(
        tmp_path,
        {"source-ref": "s3://bucket/set/a/x.png", "y": 0},
        {"source-ref": "s3://bucket/b/x.png", "y": 1},
        {"source-ref": "x.png", "y": 1, "patient": 12},
        names=("a/x.png", "b/x.png", "x.png"),
    )  # fmt: skip
    assert "choose one by data_format=folder|manifest" in refused(root)
    listing = read(root, "manifest")
    assert listing.ids == ["a/x.png", "b/x.png", "x.png"]
    assert listing.patients == ["a/x.png", "b/x.png", "12"]


def test_attributes_that_the_user_names(tmp_path):
    root = manifest(tmp_path, {"image-ref": "a.png", "y": 0, "z": [0, 1]}, {"image-ref": "b.png", "y": 1, "z": [1, 1]})
    assert read(root, attribute_names=("image-ref", "y")).exclusive
    assert not read(root, attribute_names=("image-ref", "z")).exclusive
    assert "line 1 has no attribute source-ref; it has image-ref, y, z; name image and label by attribute_names=IMAGE,LABEL" in refused(root)
    assert "attribute_names=y must be two names" in refused(root, attribute_names=("y",))
    assert "line 1 has no attribute image_ref; did you mean image-ref?" in refused(root, attribute_names=("image_ref", "y"))


@pytest.mark.parametrize(
    ("lines", "told", "options"),
    [
        ([*rows(0), "{'source-ref': 'b.png'}"], "x.manifest line 2 is not JSON: ", {}),
        ([*rows(0), "[1, 2]"], "x.manifest line 2 is not a JSON object with attributes but [1, 2]", {}),
        ([*rows(0), {"source-ref": "b.png"}], "x.manifest line 2 has no attribute class; it has source-ref", {}),
        ([{"source-ref": "a.png", "x": 1, "y": 2}], "line 1 has 2 attributes that can be a label; it has source-ref, x, y", {}),
        ([{"source-ref": "a.png", "x": "text"}], "line 1 has no attributes that can be a label", {}),
        (rows(0, [1]), "line 2: the label [1] is not a class index", {}),
        (rows([1, 1], 0), "line 2: the label 0 is not a list of numbers", {}),
        (rows(0, 7), "line 2: class 7 is out of range; it must be 0 to 1 (num_classes=2)", {"num_classes": 2}),
        (rows([0, 1], [1, 0]), "may be multi-hot or class indices; set label_format=multi-hot or class-id", {}),
        (rows([0, 1], [1]), "line 2 has 1 labels, those before it 2; for class indices set label_format=class-id", {"label_format": "multi-hot"}),
        (rows([0, 9], [1]), "line 1: class 9 is out of range; known are 0 A, 1 B", {"labels": ("A", "B")}),
        (rows(0) + [{"source-ref": "s3://bucket/gone.png", "class": 1}], "line 2: gone.png does not exist", {}),
        (rows(0) + [{"source-ref": "s3://bucket/../../gone.png", "class": 1}], "line 2: ../../gone.png leads out of the channel", {}),
        (rows([0, 1e300], [1]), "line 1: class 1e+300 is out of range; known are 0 0, 1 1", {}),
        (rows(0, float("inf")), "line 2: the label inf is not a class index", {}),
        ([], "x.manifest has no lines", {}),
        (rows(0, **{"class-metadata": {"class-map": {"x": "A"}}}), "'x' in class-metadata is no class index", {}),
    ],
)
def test_bad_manifests(tmp_path, lines, told, options):
    assert told in refused(manifest(tmp_path, *lines), **options)


# --- tables: split, Parquet, other separators


def test_a_split_column_cuts_the_channel(tmp_path):
    listing = read(channel(tmp_path, x__csv="path,label,split\na.png,A,train\nb.png,B,VAL\nc.png,A,testing\n"))
    assert listing.parts == ["train", "validation", "test"]
    assert listing.names == ("A", "B")
    assert "line 2: the split is 'all'; write train, validation or test" in refused(channel(tmp_path / "b", x__csv="path,label,split\na.png,A,all\n"))


def test_semicolons_and_packed_tables(tmp_path):
    text = "path,labels\na.png,Mass;Edema\nb.png,\n"
    (channel(tmp_path) / "x.csv.gz").write_bytes(gzip.compress(text.encode()))
    listing = read(tmp_path)
    assert listing.names == ("Edema", "Mass")
    np.testing.assert_array_equal(listing.targets, [[1, 1], [0, 0]])
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(text.encode())[:20])
    assert "x.csv.gz is not a CSV in UTF-8" in refused(tmp_path)


def parquet(root, **columns):
    pytest.importorskip("pyarrow")
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(columns), channel(root) / "x.parquet")
    return root


def test_parquet_is_read_as_csv_is(tmp_path):
    wide = read(parquet(tmp_path / "wide", path=["a.png", "b.png"], Mass=[1, 0], Edema=[None, True], patient=[7, 8]))
    assert (wide.names, wide.patients) == (("Mass", "Edema"), ["7", "8"])
    np.testing.assert_array_equal(wide.targets, [[1, NAN], [0, 1]])
    lists = read(parquet(tmp_path / "lists", path=["a.png", "b.png"], labels=[["Mass", "Edema"], []], split=["train", "test"]))
    np.testing.assert_array_equal(lists.targets, [[1, 1], [0, 0]])
    assert lists.parts == ["train", "test"]


def test_bad_parquet(tmp_path, monkeypatch):
    assert "x.parquet has no path column" in refused(parquet(tmp_path / "a", where=["a.png"], label=["A"]))
    assert "x.parquet line 2: gone.png does not exist" in refused(parquet(tmp_path / "b", path=["a.png", "gone.png"], label=["A", "B"]))
    (tmp_path / "b" / "x.parquet").write_bytes(b"PAR1 not really")
    assert "x.parquet is not a readable Parquet file" in refused(tmp_path / "b")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "Parquet needs pyarrow; pip install pyarrow, or use a .csv" in refused(tmp_path / "b")


def test_table_paths_stay_in_the_channel(tmp_path):
    films.put(tmp_path / "a.png")
    assert "x.csv line 2: ../a.png leads out of the channel" in refused(channel(tmp_path / "data", x__csv="path,label\n../a.png,A\n"))


# --- NIH ChestX-ray14

HEADERS = {
    "2017": channels.NIH_HEADER,
    "2020": "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,OriginalImageWidth,OriginalImageHeight,"
            "OriginalImagePixelSpacing_x,OriginalImagePixelSpacing_y",
}  # fmt: skip
ROWS = ["00000001_000.png,Cardiomegaly|Emphysema,0,1,58,M,PA,2682,2749,0.143,0.143", "00000001_001.png,No Finding,1,1,58,M,PA,2682,2749,0.143,0.143",
        "00000020_000.png,Pleural Thickening,0,20,61,F,AP,2500,2048,0.168,0.168"]  # fmt: skip


def nih(root, rows=ROWS, header="2020", where="images", name="Data_Entry_2017.csv", **lists):
    for k, row in enumerate(ROWS):
        films.put(root / where / row.split(",")[0], seed=k)
    (root / name).write_text("\n".join([HEADERS[header], *rows]) + "\n")
    for part, text in lists.items():
        (root / f"{part}_list.txt").write_text(text)
    return root


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("where", ["images", "images_001/images", "."])
def test_the_nih_table_as_published(tmp_path, header, where):
    listing = read(nih(tmp_path, [row + "," * (header == "2017") for row in ROWS], header, where))
    assert len(listing.names) == 14
    assert listing.ids == ["00000001_000.png", "00000001_001.png", "00000020_000.png"]
    assert listing.patients == ["00000001", "00000001", "00000020"]
    assert [[name for name, on in zip(listing.names, row, strict=True) if on] for row in listing.targets] == [
        ["Cardiomegaly", "Emphysema"],
        [],
        ["Pleural_Thickening"],
    ]
    assert all(path.is_file() for path in listing.sources)
    assert (listing.exclusive, listing.parts, listing.notes) == (False, None, ())


def test_the_official_lists(tmp_path):
    root = nih(tmp_path, train_val="00000001_000.png\n00000001_001.png\n", test="00000020_000.png")
    assert read(root).parts == ["train", "train", "test"]
    (root / "train_val_list.txt").unlink()
    assert read(root).parts == ["train", "train", "test"]
    (root / "train_val_list.txt").write_text("00000001_000.png\n")
    assert read(root).ids == ["00000001_000.png", "00000020_000.png"]
    assert read(root).notes == ("1 films are in neither official list and are left out",)
    (root / "train_val_list.txt").write_text("00000020_000.png\n")
    assert "1 films of {} are in both official lists, e.g. 00000020_000.png".format(root) in refused(root)  # noqa: UP032


def test_films_of_the_table_that_are_not_there(tmp_path):
    root = nih(tmp_path)
    (root / "images" / "00000001_001.png").unlink()
    assert read(root).ids == ["00000001_000.png", "00000020_000.png"]
    assert read(root).notes == ("1 of the 3 films of Data_Entry_2017.csv are not there and are left out",)
    for film in (root / "images").iterdir():
        film.unlink()
    assert "none of the 3 films of" in refused(root)


def test_bad_nih(tmp_path):
    assert "Data_Entry_2017.csv line 3: the label 'Cardiomegally' is unknown; did you mean Cardiomegaly?" in refused(
        nih(tmp_path / "a", [ROWS[0], ROWS[1].replace("No Finding", "Cardiomegally"), ROWS[2]]))  # fmt: skip
    assert "Data_Entry_2017.csv line 3 has no Patient ID" in refused(nih(tmp_path / "d", [ROWS[0], "00000001_001.png,No Finding,1", ROWS[2]]))
    assert "line 4 lists 00000001_000.png a second time" in refused(nih(tmp_path / "b", [*ROWS[:2], ROWS[0]]))
    (tmp_path / "a" / "Data_Entry_2017.csv").write_text("Image Index,Patient ID\na,1\n")
    assert "has no column Finding Labels; it has Image Index, Patient ID" in refused(tmp_path / "a")
    root = nih(tmp_path / "c")
    nih(root, where="images_002/images", name="Data_Entry_2017_v2020.csv")
    assert "holds 2 NIH tables (Data_Entry_2017.csv, Data_Entry_2017_v2020.csv); leave one" in refused(root)
    (root / "Data_Entry_2017.csv").unlink()
    assert "is in images and in images_002/images of" in refused(root)


# --- COCO


def coco(
    root, images=None, boxes=(), categories=((18, "dog"), (1, "person"), (90, "toothbrush")), name="annotations/instances_train2017.json", folder="train2017"
):
    images = {5: "a.png", 900: "b.png"} if images is None else images
    for k, film in enumerate(images.values()):
        films.put(root / folder / film, seed=k)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    stored = {
        "info": {}, "images": [{"id": i, "file_name": f} for i, f in images.items()], "categories": [{"id": i, "name": n} for i, n in categories],
        "annotations": [{"image_id": i, "category_id": c, "iscrowd": crowd} for i, c, crowd in boxes],
    }  # fmt: skip
    (root / name).write_text(json.dumps(stored))
    return root


@pytest.mark.parametrize(
    ("folder", "name"),
    [("train2017", "annotations/instances_train2017.json"), ("images", "annotations/instances_train2017.json"), (".", "coco.json"), ("deep/er", "labels.json")],
)
def test_boxes_become_labels(tmp_path, folder, name):
    listing = read(coco(tmp_path, boxes=[(5, 90, 0), (5, 1, 0), (5, 1, 0), (900, 18, 1)], name=name, folder=folder))
    assert listing.names == ("person", "dog", "toothbrush")
    np.testing.assert_array_equal(listing.targets, [[1, 0, 1], [0, 1, 0]])
    assert not listing.exclusive
    assert all(path.is_file() for path in listing.sources)
    assert [Path(i).name for i in listing.ids] == ["a.png", "b.png"]


def test_crowds_by_choice(tmp_path):
    root = coco(tmp_path, boxes=[(5, 1, 1), (900, 18, 0)])
    np.testing.assert_array_equal(read(root, count_crowds=False).targets, [[0, 0, 0], [0, 1, 0]])


def test_train_and_validation_annotations_are_parts(tmp_path):
    coco(tmp_path, boxes=[(5, 1, 0)])
    coco(tmp_path, {5: "z.png"}, [(5, 18, 0)], name="annotations/instances_val2017.json", folder="val2017")
    (tmp_path / "annotations" / "captions_train2017.json").write_text('{"images": [], "annotations": []}')
    listing = read(tmp_path)
    assert listing.parts == ["train", "train", "validation"]
    assert listing.ids == ["train2017/a.png", "train2017/b.png", "val2017/z.png"]
    np.testing.assert_array_equal(listing.targets[2], [0, 1, 0])


def test_a_category_that_is_not_there(tmp_path):
    listing = read(coco(tmp_path, boxes=[(5, 1, 0)]))
    with pytest.raises(ThoraxError, match=r"labels=persn: persn not in the data, which has person, dog, toothbrush; did you mean person\?"):
        label_space(listing, ("persn",), None)


@settings(max_examples=25, deadline=None)
@given(boxes=st.lists(st.tuples(st.sampled_from([5, 900, 7]), st.sampled_from([1, 18, 90]), st.integers(0, 1)), max_size=12), crowds=st.booleans())
def test_a_label_for_every_box_and_no_other(tmp_path_factory, boxes, crowds):
    root = coco(tmp_path_factory.mktemp("c"), {5: "a.png", 900: "b.png", 7: "c.png"}, boxes)
    listing = read(root, count_crowds=crowds)
    found = {(image, category) for k, image in enumerate([5, 900, 7]) for j, category in enumerate([1, 18, 90]) if listing.targets[k, j]}
    assert found == {(image, category) for image, category, crowd in boxes if crowds or not crowd}


def test_images_that_are_not_there(tmp_path):
    root = coco(tmp_path, boxes=[(5, 1, 0), (900, 18, 0)])
    (root / "train2017" / "a.png").unlink()
    assert read(root).ids == ["train2017/b.png"]
    assert read(root).notes == ("1 of the 2 images of instances_train2017.json are not there and are left out",)
    (root / "train2017" / "b.png").unlink()
    assert "none of the 2 images of" in refused(root)


def test_bad_coco(tmp_path):
    assert "a box has the category id 3, which is none of its 3" in refused(coco(tmp_path / "a", boxes=[(5, 3, 0)]))
    assert "a box has the image id 6, which it has no image of" in refused(coco(tmp_path / "b", boxes=[(6, 1, 0)]))
    assert "an image id or a category comes twice" in refused(coco(tmp_path / "c", categories=[(1, "dog"), (2, "dog")]))
    file = tmp_path / "b" / "annotations" / "instances_train2017.json"
    file.write_text(file.read_text()[:-40])
    assert "is no COCO annotation file of boxes" in refused(tmp_path / "b")
    assert "../a.png leads out of the channel" in refused(coco(tmp_path / "d", {5: "../a.png"}))
    coco(tmp_path / "c", categories=[(1, "cat")])
    coco(tmp_path / "c", categories=[(1, "dog")], name="annotations/instances_val2017.json", folder="val2017")
    assert "have other categories" in refused(tmp_path / "c")
    coco(tmp_path / "c", name="annotations/more.json")
    assert "holds 3 annotation files" in refused(tmp_path / "c")


# --- folders of parts


def test_the_root_of_kaggles_set(tmp_path):
    root = films.folders(tmp_path / "train", NORMAL=["IM-0001-0001.jpeg"], PNEUMONIA=["person1_virus_2.jpeg"]).parent
    films.folders(root / "val", NORMAL=["NORMAL2-IM-1.jpeg"], PNEUMONIA=["person9_virus_2.jpeg"])
    films.folders(root / "test", NORMAL=["IM-0003-0001.jpeg"], PNEUMONIA=["person1_virus_7.jpeg"])
    listing = read(root)
    assert listing.names == ("NORMAL", "PNEUMONIA")
    assert listing.ids[0] == "test/NORMAL/IM-0003-0001.jpeg"
    assert listing.parts == ["test", "test", "train", "train", "train", "train"]
    assert "the validation folder has 2 films, too few to choose an epoch or a threshold on: they join train" in listing.notes[0]
    np.testing.assert_array_equal(listing.targets.argmax(axis=1), [0, 1] * 3)


def test_a_validation_folder_of_some_size_stays(tmp_path):
    for part, count in (("train", 2), ("validation", 30)):
        films.folders(tmp_path / part, **{name: [f"{name}{part}{k}.png" for k in range(count)] for name in "AB"})
    assert read(tmp_path).parts == ["train"] * 4 + ["validation"] * 60
    assert read(tmp_path).notes == ()


# --- which format


def test_every_format_that_is_there_is_named(tmp_path):
    root = records(channel(tmp_path / "c", x__lst="0\t1\ta.png\n", x__csv="path,label\na.png,A\n"), 0.0)
    manifest(root, *rows(0))
    told = refused(root)
    for seen in (
        "a list (x.lst)",
        "RecordIO (train.rec)",
        "a manifest (x.manifest)",
        "a table (x.csv)",
        "choose one by data_format=lst|recordio|manifest|table",
    ):
        assert seen in told
    assert read(root, "lst").ids == ["a.png"]
    assert read(root, "rec").ids == ["train/0"]


def test_films_are_listed_not_opened(tmp_path):
    """A channel in FastFile mode: a film that is looked at is fetched. Here they lead nowhere, and nobody notices yet."""
    root = channel(tmp_path / "c", (), x__csv="path,label\na.png,A\nb.png,B\n")
    for name in ("a.png", "b.png"):
        (root / name).symlink_to(tmp_path / "nowhere")
    assert read(root).ids == ["a.png", "b.png"]


def test_a_channel_that_may_not_be_read(tmp_path, monkeypatch):
    root = channel(tmp_path / "c", x__lst="0\t1\ta.png\n")
    (root / "x.lst").unlink()
    (root / "x.lst").symlink_to(root / "x.lst")
    assert "cannot be read: " in refused(root)


# --- whatever a file holds

numbers = st.one_of(st.integers(-2, 5), st.floats(), st.booleans(), st.none(), st.text("01 []{},:ab", max_size=6))
keys = st.sampled_from(["class-map", "class-name", "0", "x"])
values = st.recursive(numbers, lambda v: st.one_of(st.lists(v, max_size=3), st.dictionaries(keys, v, max_size=3)), max_leaves=6)
attributes = st.sampled_from(["source-ref", "class", "class-metadata", "patient", "y"])
lines = st.dictionaries(attributes, st.one_of(values, st.sampled_from(["a.png", "b.png"])), max_size=4)
cells = st.sampled_from(["a.png", "b.png", "Mass", "1", "0", "-1", "99", "nan", "train", "", *'\t,\n|;"?\x00é', "../"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.manifest", st.lists(lines.map(lambda row: {"source-ref": "a.png"} | row).map(json.dumps), max_size=3).map("\n".join)),
        ("x.lst", st.lists(cells, max_size=14).map("".join)),
        ("x.csv", st.lists(cells, max_size=14).map(lambda c: "path,label,split\n" + "".join(c))),
        ("Data_Entry_2017.csv", st.lists(cells, max_size=14).map(lambda c: "Image Index,Finding Labels,Patient ID\n" + "".join(c))),
        ("x.json", values.flatmap(lambda v: st.sampled_from(["images", "annotations", "categories"]).map(lambda key: json.dumps(
            {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [], "categories": [{"id": 1, "name": "x"}]} | {key: v})))),
    ],
)  # fmt: skip
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_a_file_holds_is_read_or_refused_in_one_line(tmp_path_factory, name, content, data):
    root = channel(tmp_path_factory.mktemp("c"), ("a.png", "b.png"))
    (root / name).write_text(data.draw(content))
    try:
        listing = read(root)
    except ThoraxError as error:
        assert str(error).startswith("channel train: ")  # noqa: PT017  it need not be raised
    else:
        assert len(listing.ids) == len(listing.targets) == len(listing.patients) > 0
        assert listing.targets.shape[1] == len(listing.names)
        assert np.isin(listing.targets[~np.isnan(listing.targets)], [0, 1]).all()
