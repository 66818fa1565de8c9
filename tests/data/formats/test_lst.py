"""Lists (.lst) as the built-in algorithm takes them: what is read, and what is refused in one line."""

from __future__ import annotations

import numpy as np
import pytest

import images
from listings import channel, read, refused
from thorax.data.samples import label_space

NAN = np.nan


def test_a_list_in_a_channel_of_its_own(tmp_path):
    root = images.folders(
        tmp_path / "train",
        NORMAL=["IM-0001-0001.jpeg"],
        PNEUMONIA=["person1_virus_2.jpeg", "more/person1_virus_3.jpeg"],
    )
    lists = channel(
        tmp_path / "train_lst",
        (),
        any__lst="12\t1.0\tPNEUMONIA/more/person1_virus_3.jpeg\n\n3\t0.0\tNORMAL/IM-0001-0001.jpeg\n",
    )
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
    ("text", "message", "options"),
    [
        ("0\t1\ta.png\n1\tb.png\n", "x.lst line 2 has 2 columns between tabs; the lines above have 3", {}),
        ("0\t1\ta.png\n\n1\t1\t0\tb.png\n", "x.lst line 3 has 4 columns between tabs; the lines above have 3", {}),
        ("0 1 a.png\n", "x.lst line 1 has 1 columns between tabs; expected an index, one or more labels, a path", {}),
        ("0\t1\ta.png\n1\t0\tgone.png\n", "x.lst line 2: gone.png does not exist in", {}),
        (
            "".join(f"{k}\t0\tg{k}.png\n" for k in range(9)) + "9\t1\ta.png\n",
            "x.lst line 1: g0.png does not exist in {root}; 9 of 10 images are missing: "
            "line 1 g0.png, line 2 g1.png, line 3 g2.png, line 4 g3.png, line 5 g4.png, ...",
            {},
        ),
        (
            "0\t1\ta.png\n1\t5\tb.png\n",
            "x.lst line 2: class 5 is out of range; it must be 0 to 1 (num_classes=2)",
            {"num_classes": 2},
        ),
        ("0\t2\ta.png\n", "line 1: class 2 is out of range; it must be 0 to 1 (labels=A,B)", {"labels": ("A", "B")}),
        (
            "0\t-1\ta.png\n",
            "line 1: class -1 is out of range; it must be a whole number from 0 to 999; set num_classes for more",
            {},
        ),
        ("0\t0.5\ta.png\n", "line 1: class 0.5 is out of range", {}),
        ("0\t99999999\ta.png\n", "line 1: class 1e+08 is out of range", {}),
        ("0\tnan\ta.png\n", "line 1: class nan is out of range", {}),
        (
            "0\t1\t2\ta.png\n",
            "line 1: label 2 of 2 is 2, which is out of range; it must be 1, 0, or -1 for unknown",
            {},
        ),
        ("0\t1\t1\ta.png\n", "line 1 has 2 labels, but num_classes=5 says 5", {"num_classes": 5}),
        ("0\t1\t1\ta.png\n", "line 1 has 2 labels, but labels=A,B,C says 3", {"labels": ("A", "B", "C")}),
        ("7\t1\ta.png\n8\t0\tb.png\n7\t0\tc.png\n", "x.lst line 3 has the index 7 of line 1 again", {}),
        ("0\t1\ta.png\n1\t0\ta.png\n", "x.lst line 2 lists a.png a second time, after line 1", {}),
        ("0\tsick\ta.png\n", "x.lst line 1: 'sick' is no number; a line is index, labels, path", {}),
        ("0\t1\t../a.png\n", "x.lst line 1: ../a.png leads out of the channel; images must lie in {root}", {}),
        ("0\t1\tb/../../../a.png\n", "line 1: b/../../../a.png leads out of the channel", {}),
        ("0\t1\t/etc/passwd\n", "line 1: /etc/passwd leads out of the channel", {}),
        ("\n\n", "x.lst has no lines", {}),
    ],
)
def test_bad_lists(tmp_path, text, message, options):
    root = channel(tmp_path / "data", x__lst=text)
    assert message.format(root=root) in refused(root, **options)


def test_a_list_in_another_encoding(tmp_path):
    (channel(tmp_path) / "x.lst").write_bytes("0\t1\tü.png".encode("latin-1"))
    assert "x.lst is not a text in UTF-8" in refused(tmp_path)


def test_two_lists_and_a_format_that_the_list_rules_out(tmp_path):
    root = channel(tmp_path / "a", a__lst="0\t1\ta.png\n", b__lst="0\t1\tb.png\n")
    assert "holds 2 .lst files (a.lst, b.lst); expected one" in refused(root)
    assert "holds 0 .lst files; expected one" in refused(root, lists=channel(tmp_path / "empty", ["x.png"]))
    assert "data_format=coco but a list is given in" in refused(root, "coco", lists=root / "a.lst")


def test_paths_that_stay_in_the_channel_are_taken(tmp_path):
    root = channel(tmp_path / "data", x__lst=f"0\t1\tb/../a.png\n1\t0\t{tmp_path}/data/b.png\n")
    assert read(root).ids == ["a.png", "b.png"]
