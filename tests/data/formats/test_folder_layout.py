"""What folders are: classes, parts, a copy of the set, masks. The right counts, or one line."""

from __future__ import annotations

import os

import numpy as np
import pytest

import images
from listings import read, refused
from thorax.data.decoders import kinds

TWO = ["NORMAL/IM-0001-0001.jpeg", "NORMAL/IM-0002-0001.jpeg", "PNEUMONIA/person1_virus_2.jpeg"]


def lay(root, *names):
    """A folder with these images; a name that ends in "/" is a folder, one of another kind a text."""
    for k, name in enumerate(names):
        if name.endswith("/"):
            (root / name).mkdir(parents=True)
        elif name.lower().endswith((".png", ".jpg", ".jpeg")):
            images.put(root / name, seed=k)
        else:
            images.put(root / name, b"text")
    return root


def below(*folders, names=TWO):
    return [f"{folder}/{name}" for folder in folders for name in names]


def covid(*words, classes=("COVID", "Normal")):
    """The layout of the COVID-19 Radiography Database."""
    return [f"{name}/{word}/{name}-{k}.png" for name in classes for word in words for k in range(2)]


@pytest.mark.parametrize(
    ("names", "counts", "parts", "note"),
    [
        pytest.param(
            [*below("train", "test"), *below("set/train", "set/test"), "__MACOSX/set/train/NORMAL/x.jpeg"],
            {"NORMAL": 4, "PNEUMONIA": 2},
            {"train": 3, "test": 3},
            "set is a copy of the set inside itself (6 images) and is passed over",
            id="a copy inside itself, as Kaggle's archive has it",
        ),
        pytest.param(
            [*TWO, *below("archive")],
            {"NORMAL": 2, "PNEUMONIA": 1},
            None,
            "archive is a copy of the set inside itself (3 images) and is passed over",
            id="a copy beside class folders",
        ),
        pytest.param(
            [*TWO, *below("NORMAL", names=["NORMAL/IM-0001-0001.jpeg"])],
            {"NORMAL": 2, "PNEUMONIA": 1},
            None,
            "NORMAL/NORMAL is a copy of its folder inside itself (1 image) and is passed over",
            id="a class folder inside itself",
        ),
        pytest.param(
            below("Training", "Testing"), {"NORMAL": 4, "PNEUMONIA": 2}, {"train": 3, "test": 3}, "", id="Training"
        ),
        pytest.param(
            below("training_set", "test_set"), {"NORMAL": 4, "PNEUMONIA": 2}, {"train": 3, "test": 3}, "", id="_set"
        ),
        pytest.param(
            below("Train", "Valid"),
            {"NORMAL": 4, "PNEUMONIA": 2},
            {"train": 6},
            "the validation folder has 3",
            id="Valid",
        ),
        pytest.param(
            [*below("train"), "docs/readme.txt"],
            {"NORMAL": 2, "PNEUMONIA": 1},
            {"train": 3},
            "docs beside the folders of parts: no images, passed over",
            id="train beside docs",
        ),
        pytest.param(
            covid("images", "masks"),
            {"COVID": 2, "Normal": 2},
            None,
            "4 images in folders of masks, annotations or thumbnails, are left out: COVID/masks, Normal/masks",
            id="masks beside images",
        ),
        pytest.param(
            [f"Train/{name}" for name in covid("images", "infection masks", "lung masks")],
            {"COVID": 2, "Normal": 2},
            {"train": 4},
            "8 images in folders of masks",
            id="two kinds of masks",
        ),
        pytest.param(
            [
                "benign/a (1).png",
                "benign/a (1)_mask.png",
                "benign/a (1)_mask_1.png",
                "normal/b.png",
                "normal/c_mask.png",
            ],
            {"benign": 1, "normal": 2},
            None,
            "2 masks beside their images, left out: benign/a (1)_mask.png, benign/a (1)_mask_1.png",
            id="masks as files",
        ),
        pytest.param(
            ["A/a.png", "A/thumbs/a.png", "B/b.png", "B/leftMask/b.png"],
            {"A": 1, "B": 1},
            None,
            "2 images in folders of masks, annotations or thumbnails, are left out: A/thumbs, B/leftMask",
            id="thumbnails, and names in one word",
        ),
        pytest.param(["mask/a.png", "no_mask/b.png"], {"mask": 1, "no_mask": 1}, None, "", id="classes called mask"),
        pytest.param(
            ["NORMAL/a.png", "normal/b.png", "NORMAL/c.png", "Lung_Opacity/d.png", "lung opacity/e.png"],
            {"NORMAL": 3, "Lung_Opacity": 2},
            None,
            "the class folders NORMAL, normal are taken for one class, NORMAL",
            id="one name in two spellings",
        ),
        pytest.param(
            ["train/NORMAL/a.png", "train/B/b.png", "test/normal/c.png", "test/normal/d.png", "test/B/e.png"],
            {"NORMAL": 3, "B": 2},
            {"train": 2, "test": 3},
            "the class folders NORMAL, normal are taken for one class, NORMAL",
            id="spelled as in train",
        ),
        pytest.param(
            ["train/A/a.png", "train/B/b.png", "test/A/c.png", "test/B/"],
            {"A": 2, "B": 1},
            {"train": 2, "test": 1},
            "class folder test/B has no images",
            id="an empty class of test",
        ),
        pytest.param(
            ["A/a.png", "B/b.png", "top.png"],
            {"A": 1, "B": 1},
            None,
            "1 image in no class folder, left out: top.png",
            id="loose",
        ),
        pytest.param(
            ["train/A/a.png", "train/B/b.png", "train/c.png", "test/A/d.png"],
            {"A": 2, "B": 1},
            {"train": 2, "test": 1},
            "1 image in no class folder, left out: train/c.png",
            id="loose in a part",
        ),
    ],
)
def test_what_is_read(tmp_path, names, counts, parts, note):
    listing = read(lay(tmp_path / "set", *names))
    assert dict(zip(listing.names, listing.targets.sum(axis=0).astype(int).tolist(), strict=True)) == counts
    np.testing.assert_array_equal(listing.targets.sum(axis=1), 1)
    found = None if listing.parts is None else {part: list(listing.parts).count(part) for part in listing.parts}
    assert found == parts
    assert note in " | ".join(listing.notes)
    assert bool(note) or all("the patient is not known" in text for text in listing.notes)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([*below("train", "test"), *below("set/train", "set/test"), "set/train/NORMAL/new.png"],
         "and another one in set, which has 1 image that the first has not, e.g. set/train/NORMAL/new.png"),
        ([*below("train"), "docs/figure.png"], "has images in docs beside train; a folder holds either parts"),
        ([*TWO, "train/a.png"], "has images in NORMAL, PNEUMONIA beside train; a folder holds either parts"),
        (below("train", "Train"), "Train and train both mean train; leave one, or make them one"),
        (below("val", "valid", "train"), "val and valid both mean validation"),
        (["train_A/a.png", "train_B/b.png", "test_A/c.png", "test_B/d.png"], "look like parts and classes in one name"),
        (below("fold1", "fold2"), "fold1, fold2 each hold the folders NORMAL, PNEUMONIA, which look like the classes"),
        (["A/train/a.png", "A/test/b.png", "B/train/c.png"], "has folders of parts in its folders, such as"),
        (below("one/train", "two/train"), "has folders of parts in its folders, such as two/train"),
        (below("train/train", "test/test"), "test/test is called after a part of a set"),
        (["images/a.png", "masks/a.png"], "images and masks are images and their masks, no classes"),
        (["CXR_png/a.png", "ManualMask/leftMask/a.png"], "CXR_png and ManualMask are images and their masks, no"),
        (["A/a.png", "B/b.png", "annotations/a.png"], "annotations would be a class, but is called after pictures"),
        (below("x/train", "x/x/train"), "one class folder only (x); a classifier needs two or more; did you mean"),
        (below("images", "masks"), "images and masks are images and their masks, no classes"),
        (below("set/train", "set/test"), "one class folder only (set); a classifier needs two or more; did you mean"),
        (["train/a.png", "test/b.png"], "test, train hold images but no class folders; expected train/CLASS/IMAGE"),
        (["A/a.png", "B/b.png", "C/"], f"C has no images ({kinds()}); fill it or remove it"),
        (["A/a.png", "B/b.png", "C/masks/c.png"], f"C has no images ({kinds()}); fill it or remove it"),
        (["train/A/a.png", "train/B/", "test/A/c.png", "test/B/d.png"], "train/B has no images"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path, names, message):
    assert message in refused(lay(tmp_path / "set", *names))


def test_links_are_followed_once(tmp_path):
    root = lay(tmp_path / "set", "A/a.png", "B/b.png")
    images.put(tmp_path / "elsewhere" / "c.png", seed=5)
    os.symlink(tmp_path / "elsewhere", root / "A" / "more")
    os.symlink("..", root / "A" / "loop")
    os.symlink("../B", root / "A" / "other")
    os.symlink(tmp_path / "elsewhere" / "c.png", root / "B" / "d.png")
    listing = read(root)
    assert listing.ids == ["A/a.png", "A/more/c.png", "B/b.png", "B/d.png"]
    for link in ("A/loop", "A/other"):
        assert f"{link} (a link to a folder that is read already)" in listing.notes[0]
    os.unlink(root / "A" / "other")
    os.symlink(root / "A", root / "C")
    assert "C is a link to a folder that is read already; remove it" in refused(root)


def test_a_table_beside_folders_of_parts_without_classes(tmp_path):
    root = lay(tmp_path / "set", "train/1.png", "test/2.png")
    (root / "images.csv").write_text("path,label\ntrain/1.png,A\ntest/2.png,B\n")
    assert read(root).names == ("A", "B")
