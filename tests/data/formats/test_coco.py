"""MS-COCO annotations: what is read, and what is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import images as xrays
from listings import read, refused
from thorax.data.samples import label_space
from thorax.errors import ThoraxError

NAN = np.nan


def coco(
    root,
    images=None,
    boxes=(),
    categories=((18, "dog"), (1, "person"), (90, "toothbrush")),
    name="annotations/instances_train2017.json",
    folder="train2017",
):
    images = {5: "a.png", 900: "b.png"} if images is None else images
    for k, xray in enumerate(images.values()):
        xrays.put(root / folder / xray, seed=k)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    stored = {
        "info": {},
        "images": [{"id": i, "file_name": f} for i, f in images.items()],
        "categories": [{"id": i, "name": n} for i, n in categories],
        "annotations": [{"image_id": i, "category_id": c, "iscrowd": crowd} for i, c, crowd in boxes],
    }
    (root / name).write_text(json.dumps(stored))
    return root


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("train2017", "annotations/instances_train2017.json"),
        ("images", "annotations/instances_train2017.json"),
        (".", "coco.json"),
        ("deep/er", "labels.json"),
    ],
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
    with pytest.raises(
        ThoraxError,
        match=r"labels=persn: persn not in the data, which has person, dog, toothbrush; did you mean person\?",
    ):
        label_space(listing, ("persn",), None)


@settings(max_examples=25, deadline=None)
@given(
    boxes=st.lists(
        st.tuples(st.sampled_from([5, 900, 7]), st.sampled_from([1, 18, 90]), st.integers(0, 1)), max_size=12
    ),
    crowds=st.booleans(),
)
def test_a_label_for_every_box_and_no_other(tmp_path_factory, boxes, crowds):
    root = coco(tmp_path_factory.mktemp("c"), {5: "a.png", 900: "b.png", 7: "c.png"}, boxes)
    listing = read(root, count_crowds=crowds)
    found = {
        (image, category)
        for k, image in enumerate([5, 900, 7])
        for j, category in enumerate([1, 18, 90])
        if listing.targets[k, j]
    }
    assert found == {(image, category) for image, category, crowd in boxes if crowds or not crowd}


def test_images_that_are_not_there(tmp_path):
    root = coco(tmp_path, boxes=[(5, 1, 0), (900, 18, 0)])
    (root / "train2017" / "a.png").unlink()
    assert read(root).ids == ["train2017/b.png"]
    lacking = "1 of the 2 images of instances_train2017.json is not there and is left out, e.g. a.png"
    assert read(root).notes[0] == lacking
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


def test_spellings_of_one_category_are_refused(tmp_path):
    root = coco(tmp_path, boxes=[(5, 1, 0)], categories=((1, "Pleural Effusion"), (2, "pleural_effusion")))
    assert "has the labels 'Pleural Effusion' and 'pleural_effusion', which differ in case, spaces" in refused(root)
