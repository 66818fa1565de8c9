"""Tables as spreadsheets and pandas write them: one reading whatever the encoding, signs and ids; or one line."""

from __future__ import annotations

import codecs

import numpy as np
import pytest

from listings import channel, read, refused
from thorax.data.formats.table_options import TableOptions

NAN = np.nan
TEXT = 'path,Edema,Mass,patient,report\na.png,1,0,7,"two\nlines"\nb.png,-1,,8,"a, b; c"\nc.png,0,1.0,7,\n'


def written(root, data):
    (channel(root) / "x.csv").write_bytes(data)
    return root


def separated(sign):
    """TEXT with another sign between columns; only its quoted cell holds commas."""
    return TEXT.replace('"a, b; c"', '"a; b"' if sign == "," else '"a# b; c"').replace(",", sign).replace("#", ",")


def numbered(name):
    """TEXT with the rows' numbers before it, in a column of this name."""
    text = TEXT.replace("path", f"{name},path")
    for k, image in enumerate(("a.png", "b.png", "c.png")):
        text = text.replace(image, f"{k},{image}")
    return text


@pytest.mark.parametrize(
    ("data", "note"),
    [
        pytest.param(TEXT.encode(), "", id="plain"),
        pytest.param(codecs.BOM_UTF8 + TEXT.replace("\n", "\r\n").encode(), "", id="BOM, CRLF"),
        pytest.param(TEXT.encode("utf-16"), "x.csv: the table is read as one in UTF-16", id="UTF-16"),
        pytest.param(codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), "as one in UTF-16", id="UTF-16, big endian"),
        pytest.param(separated(";").encode(), "as one with semicolons between columns", id="semicolons"),
        pytest.param(separated("\t").encode("utf-16"), "as one in UTF-16 and with tabs between columns", id="tabs"),
        pytest.param(b"sep=;\n" + separated(";").encode(), "as one with semicolons", id="sep="),
        pytest.param(TEXT.encode() + b"\n,,,,\n,,,,\n", "", id="blank rows at the end"),
        pytest.param(
            numbered("").encode(),
            "1 column of x.csv without a name: not used",
            id="the rows' numbers of pandas",
        ),
        pytest.param(
            numbered("Unnamed: 0").replace("2,c.png", "0,c.png").replace(",report", ",source").encode(),
            "columns of x.csv that are not used: Unnamed: 0, source",
            id="and read again",
        ),
        pytest.param(TEXT.replace(",7,", ",7.0 ,").replace(",8,", ", 8.0,").encode(), "", id="ids as floats"),
        pytest.param(TEXT.replace(",1,0,7", ",YES,no,7").replace("1.0", "Y").encode(), "", id="words"),
    ],
)  # fmt: skip
def test_one_table_whatever_wrote_it(tmp_path, data, note):
    options = TableOptions(label_columns=() if b"Unnamed" in data else ("Edema", "Mass"))
    listing = read(written(tmp_path, data), table=options)
    assert (listing.ids, listing.patients) == (["a.png", "b.png", "c.png"], ["7", "8", "7"])
    assert listing.names == ("Edema", "Mass")
    np.testing.assert_array_equal(listing.targets, [[1, 0], [NAN, NAN], [0, 1]])
    assert listing.uncertain.tolist() == [[False, False], [True, False], [False, False]]
    assert note in " | ".join(listing.notes)
    assert any("the table is read as one" in line for line in listing.notes) == ("as one" in note)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,Edema,Mass,Edema\na.png,1,0,0\n", "x.csv has the column Edema twice; rename one of them, or remove it"),
        ('path,label\na.png,A\nb.png,"B\nc.png,A\n', "x.csv line 3 has a quote that is not closed before the file"),
        ('path,label,source\na.png,A,"said\nb.png,B,y\nc.png,B,z\n', "x.csv line 2 has a quote that is not closed"),
        ('path,label\na.png,"A\nb.png"\nc.png,A\n', "the label 'A\\nb.png' goes over several lines"),
        ("path,label\na.png,\"['A', 'B'\"\nb.png,A\n", "line 2: the list of labels \"['A', 'B'\" has no ] at"),
        ("path,label\na.png,1\nb.png,0\nc.png,-1\n", "the column label holds -1, 0 and 1; label_columns=label reads"),
        ("path;label\na.png;A;3\n", "x.csv line 2 has 3 values, the header has 2"),
        ("path,Edema,is_train\na.png,1,1\nb.png,0,0\n", "the column is_train looks like a mark of parts, not"),
        ("path,Edema,Set\na.png,1,train\nb.png,0,test\n", "name it by split_column=Set where it says train,"),
        ("path,diagnosis\na.png,A\nb.png,B\n", "is not a label value; write 1, 0, -1 for uncertain, or"),
        ("path,Edema,edema \na.png,1,0\n", "which differ in case, spaces and signs only; make them one"),
        ("path,Edema\na.png,1\na.png ,0\n", "line 3 has a.png a second time, with other labels than"),
    ],
)  # fmt: skip
def test_what_would_be_read_wrongly_is_refused(tmp_path, text, message):
    assert message in refused(written(tmp_path, text.encode()))


def test_latin_1_is_refused(tmp_path):
    assert "is not a CSV in UTF-8" in refused(written(tmp_path, "path,label\na.png,Größe\n".encode("latin-1")))


@pytest.mark.parametrize("nobody", ["", "nan", "NaN", "NA", "None", "unknown", "anonymous", "?", " - "])
def test_a_word_for_nobody_is_no_patient(tmp_path, nobody):
    """Else all images of unknown patients would be those of one, and lie in one part."""
    listing = read(written(tmp_path, f"path,Edema,patient\na.png,1,{nobody}\nb.png,0,{nobody}\nc.png,1,7\n".encode()))
    assert listing.patients == ["a.png", "b.png", "7"]
    assert any("the patient is not known of 2 of the 3 images" in note for note in listing.notes)


def test_ids_that_a_spreadsheet_has_rounded_are_named(tmp_path):
    listing = read(written(tmp_path, b"path,Edema,MRN\na.png,1,1.23457E+12\nb.png,0,1.23457E+12\nc.png,0,7\n"))
    assert listing.patients == ["1.23457E+12", "1.23457E+12", "7"]
    assert "2 rows with a rounded id of the patient, such as 1.23457E+12: write ids as text" in listing.notes


def test_zeros_at_the_beginning_of_an_id_are_kept(tmp_path):
    listing = read(written(tmp_path, b"path,Edema,patient,study\na.png,1,007,01\nb.png,0,7,01\nc.png,1,007.5,nan\n"))
    assert listing.patients == ["007", "7", "007.5"]
    assert listing.studies == ["007/01", "7/01", ""]


@pytest.mark.parametrize(
    ("cells", "names", "targets", "note"),
    [
        (["Mass, Nodule", "Nodule", "Mass", "No Finding"], ("Mass", "Nodule"), [[1, 1], [0, 1], [1, 0], [0, 0]],
         "1 row with commas between labels, such as 'Mass, Nodule': cut there"),
        (["Pneumonia, viral", "Pneumonia, bacterial", "Normal", "Normal"],
         ("Normal", "Pneumonia, bacterial", "Pneumonia, viral"), [[0, 0, 1], [0, 1, 0], [1, 0, 0], [1, 0, 0]],
         "2 rows with a comma in a label, such as 'Pneumonia, viral': one name; write | between several"),
        (["A|B", "B;C", "A", "C"], ("A", "B", "C"), [[1, 1, 0], [0, 1, 1], [1, 0, 0], [0, 0, 1]], ""),
        (["No Finding|A", "A|B", "no-finding", "B"], ("A", "B"), [[1, 0], [1, 1], [0, 0], [0, 1]],
         "1 row with a name for no finding beside labels, such as 'No Finding|A': the labels count"),
        (["No Findings", "A|B", "No Findings", "B"], ("A", "B"), [[0, 0], [1, 1], [0, 0], [0, 1]], ""),
        (["1", "0", "1.0", "0.0"], ("0", "1"), [[0, 1], [1, 0], [0, 1], [1, 0]],
         "the label '1' (1 row) is also written '1.0' (1); taken for one label"),
        (["A/B", "A", "B", "B"], ("A", "A/B", "B"), [[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1]],
         "1 row with a label that joins others, such as 'A/B': a label of its own; write | between several"),
        (["O\u0308dem", "\u00d6dem", "\u00d6dem", "A"], ("A", "\u00d6dem"), [[0, 1], [0, 1], [0, 1], [1, 0]],
         "taken for one label"),
        (["['A' 'B']", '["A", "B"]', "[]", "['A', ]"], ("A", "B"), [[1, 1], [1, 1], [0, 0], [1, 0]], ""),
    ],
)  # fmt: skip
def test_texts_of_labels(tmp_path, cells, names, targets, note):
    quoted = [cell.replace('"', '""') for cell in cells]
    text = "path,label\n" + "".join(f'{name}.png,"{cell}"\n' for name, cell in zip("abcd", quoted, strict=True))
    listing = read(written(channel(tmp_path, ("d.png",)), text.encode()))
    assert listing.names == names
    np.testing.assert_array_equal(listing.targets, targets)
    assert note in " | ".join(listing.label_notes)


def test_a_table_of_the_test_part_with_ids_as_floats_shares_its_patients(tmp_path):
    """ "7" in train and "7.0" in test are one patient: a leak, not two people."""
    from thorax.dataset import check, read_inventory

    written(tmp_path / "train", b"path,Edema,patient\na.png,1,7\nb.png,0,8\nc.png,0,9\n")
    written(tmp_path / "test", b"path,Edema,patient\na.png,1,7.0\nb.png,0,10.0\nc.png,1,\n")
    report = check(read_inventory({"train": tmp_path / "train", "test": tmp_path / "test"}), smallest=1)
    found = [finding.message for finding in report.errors if finding.check == "patients"]
    assert len(found) == 1 and found[0].startswith("1 patient is in both train and test, e.g. 7;")
