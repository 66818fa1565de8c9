"""Paths in lists: the longest end decides, what is ambiguous or there twice is refused, and mistakes get a hint."""

from __future__ import annotations

import json

import numpy as np
import pytest

from listings import channel, read, refused


def boxes(root, names, *files, **more):
    """A COCO channel: image k has a box of category k + 1."""
    channel(root, files)
    stored = {
        "images": [
            {"id": k, "file_name": name} | {key: v[k] for key, v in more.items()} for k, name in enumerate(names)
        ],
        "annotations": [{"image_id": k, "category_id": k + 1} for k in range(len(names))],
        "categories": [{"id": k + 1, "name": f"label{k}"} for k in range(len(names))],
    }
    (root / "boxes.json").write_text(json.dumps(stored))
    return root


def test_the_longest_end_of_a_path_decides(tmp_path):
    listing = read(boxes(tmp_path, ["one/x.png", "/home/me/two/x.png"], "set/one/x.png", "set/two/x.png"))
    assert listing.ids == ["set/one/x.png", "set/two/x.png"]
    np.testing.assert_array_equal(listing.targets, np.eye(2))
    assert (
        "1 image of boxes.json found by the end of their path, e.g. /home/me/two/x.png as set/two/x.png"
        in listing.notes
    )


def test_a_name_in_two_folders_is_refused(tmp_path):
    root = boxes(tmp_path, ["x.png", "y.png"], "s/one/x.png", "s/two/x.png", "s/two/y.png")
    assert "boxes.json: x.png may be s/one/x.png or s/two/x.png of" in refused(root)


def test_one_image_twice_is_refused_with_both(tmp_path):
    root = boxes(tmp_path, ["x.png", "./x.png"], "x.png")
    assert "boxes.json: the images 0 (x.png) and 1 (./x.png) are both x.png; make them one" in refused(root)


def test_an_image_in_two_files_is_refused_with_both(tmp_path):
    boxes(tmp_path, ["x.png", "y.png"], "x.png", "y.png")
    stored = (tmp_path / "boxes.json").read_text()
    (tmp_path / "boxes.json").unlink()
    (tmp_path / "train.json").write_text(stored)
    (tmp_path / "val.json").write_text(stored)
    assert "the image x.png is in several files, train.json and val.json; leave it in one" in refused(tmp_path)


def test_patients_and_keys_of_coco_images(tmp_path):
    root = boxes(tmp_path, ["x.png", "y.png"], "x.png", "y.png", patient_id=[7, 7], site=["a", "b"], width=[1, 2])
    listing = read(root)
    assert listing.patients == ["7", "7"]
    assert listing.notes == ("keys of the images of boxes.json that are not used: site",)


def test_windows_paths_in_coco(tmp_path):
    message = refused(boxes(tmp_path, ["im\\x.png"], "im/x.png"))
    assert 'e.g. im\\x.png; did you mean im/x.png (with "/" between folders)?' in message


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("images\\a.png", '; did you mean images/a.png (with "/" between folders)?'),
        ("C:\\set\\images\\a.png", '; did you mean images/a.png (with "/" between folders)?'),
        ("images/a", "; did you mean images/a.png?"),
        ("images/a.jpg", "; did you mean images/a.png?"),
        ("images/A.PNG", "; did you mean images/a.png?"),
        ("elsewhere/a.png", "; did you mean images/a.png?"),
        ("/home/me/images/a.png", "; did you mean images/a.png?"),
        ("images/abel_1.png", "; did you mean images/abel-1.png?"),
    ],
)
@pytest.mark.parametrize("kind", ["lst", "manifest", "table"])
def test_a_path_that_is_not_there_gets_the_nearest_one(tmp_path, kind, written, hint):
    root = channel(tmp_path, ("images/a.png", "images/b.png", "images/abel-1.png"))
    text = {
        "lst": f"0\t0\timages/b.png\n1\t1\t{written}\n",
        "manifest": json.dumps({"source-ref": "images/b.png", "y": 0})
        + "\n"
        + json.dumps({"source-ref": written, "y": 1}),
        "table": f"path,label\nimages/b.png,A\n{written},B\n",
    }[kind]
    (root / f"x.{'csv' if kind == 'table' else kind}").write_text(text)
    message = refused(root, kind)
    assert f"line {3 if kind == 'table' else 2}" in message
    assert hint in message


@pytest.mark.parametrize(("one", "two"), [("a.png", "./a.png"), ("a.png", "a.png"), ("images/b.png", "b.png")])
@pytest.mark.parametrize("kind", ["lst", "table"])
def test_an_image_that_is_listed_twice_is_refused_with_both_lines(tmp_path, kind, one, two):
    root = channel(tmp_path, ("a.png", "images/b.png"))
    if kind == "lst":
        one, two = one.removeprefix("images/b.png") or "a.png", two if two != "b.png" else "./a.png"
        (root / "x.lst").write_text(f"0\t0\t{one}\n1\t1\t{two}\n")
    else:
        (root / "x.csv").write_text(f"path,label\n{one},A\n{two},B\n")
    line = 2 if kind == "lst" else 3
    message = refused(root, kind)
    if kind == "table" and one == two:  # rows of one image, which readers= could merge
        assert "line 3 has a.png a second time, with other labels than" in message and "line 2" in message
    else:
        assert f"line {line} lists {two} a second time, after line {line - 1}" in message


def test_a_list_of_windows(tmp_path):
    root = channel(tmp_path, ("a.png", "b.png"))
    (root / "x.lst").write_bytes(b"\xef\xbb\xbf0\t0\ta.png\r\n1\t1\tb.png\r\n")
    assert read(root).ids == ["a.png", "b.png"]


@pytest.mark.parametrize("index", ["nan", "inf", "-inf", "x", ""])
def test_an_index_that_is_no_number(tmp_path, index):
    root = channel(tmp_path, ("a.png",))
    (root / "x.lst").write_text(f"{index}\t0\ta.png\n")
    assert "x.lst line 1: " in refused(root)
