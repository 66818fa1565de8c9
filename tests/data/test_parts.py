"""The parts of a run.

What a channel marks itself, what a channel given beside it overrules, and images without labels.
"""

from __future__ import annotations

import numpy as np
import pytest

import channels
import images as make
from conftest import write_images
from thorax.config import TrainingConfig
from thorax.data.parts import read_parts
from thorax.errors import ThoraxError
from thorax.job import Job

SMALL = {"network": "cnn5", "image_shape": (1, 32, 32)}


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    """One channel with a split column: 40 images train, 8 validation, 16 test."""
    root = tmp_path_factory.mktemp("marked")
    write_images(root / "images" / "train", 24, seed=1)
    write_images(root / "images" / "test", 8, seed=2)
    return root / "images", channels.as_csv(root / "images", root / "table")["train"]


def parts(lines=None, config=None, **given):
    job = Job(given, *(given["train"] / name for name in ("m", "o", "c", "f")))
    found = read_parts(job, TrainingConfig(**SMALL, **(config or {})), (lines if lines is not None else []).append)
    return {part.part: len(part) for part in found.all}


def test_a_channels_own_parts(marked):
    assert parts(train=marked[1]) == {"train": 40, "validation": 8, "test": 16}


def test_a_channel_given_beside_them_overrules_them(marked):
    lines: list[str] = []
    assert parts(lines, train=marked[1], test=marked[0] / "test") == {"train": 40, "validation": 8, "test": 16}
    assert "train: 16 images are marked test and are left out, since there is a test channel" in lines
    assert any(
        line.startswith("warning: validation has 8 images, too few to choose an epoch or a threshold on")
        for line in lines
    )


def test_a_channel_named_test_gives_its_test_images(marked):
    lines: list[str] = []
    assert parts(lines, train=marked[0] / "train", test=marked[1])["test"] == 16
    assert "test: 48 images of its channel are marked train and validation and are left out" in lines


def test_marks_may_be_passed_over(marked):
    found = parts(train=marked[1], config={"own_split": False})
    assert found["train"] + found["validation"] == 64
    assert "test" not in found


def test_images_without_any_label(marked, tmp_path):
    root = channels.as_coco(marked[0], tmp_path)["train"]
    lines: list[str] = []
    config = {"labels": ("person", "dog")}
    assert parts(train=root, config=config) == {"train": 48, "validation": 16}
    assert parts(lines, train=root, config=config | {"keep_unlabelled": False}) == {"train": 32, "validation": 11}
    assert "train: 16 images without any of the labels are left out (keep_unlabelled=false)" in lines
    with pytest.raises(
        ThoraxError, match="channel train: no image has any of toothbrush; check labels, or set keep_unlabelled=true"
    ):
        parts(train=root, config={"labels": ("toothbrush",), "keep_unlabelled": False})


def test_a_label_that_a_channel_has_no_column_of_is_unknown_there(tmp_path):
    rows = [f"{k}.png" for k in range(12)]
    make.table(
        tmp_path / "train",
        "path,Mass,Edema\n" + "".join(f"{name},{k % 2},{k % 3 == 0:d}\n" for k, name in enumerate(rows)),
        rows,
    )
    make.table(
        tmp_path / "test", "path,Mass,Nodule\n" + "".join(f"{name},{k % 2},1\n" for k, name in enumerate(rows)), rows
    )
    lines: list[str] = []
    job = Job(
        {"train": tmp_path / "train", "test": tmp_path / "test"}, *(tmp_path / name for name in ("m", "o", "c", "f"))
    )
    found = read_parts(job, TrainingConfig(**SMALL, patient_scope="channel"), lines.append)
    np.testing.assert_array_equal(found.test.targets, [[k % 2, np.nan] for k in range(12)])
    assert "warning: test: its images have no value for Edema, which is not scored on them" in lines
    make.table(tmp_path / "test", "path,Nodule\n" + "".join(f"{name},1\n" for name in rows), rows)
    with pytest.raises(ThoraxError, match=r"^channel test has the labels Nodule, none of training's Mass, Edema$"):
        read_parts(job, TrainingConfig(**SMALL, patient_scope="channel"), lines.append)


def test_no_image_for_training(marked, tmp_path):
    table = (marked[1] / "images.csv").read_text().replace(",train", ",test").replace(",val", ",test")
    (tmp_path / "images.csv").write_text(table)
    (tmp_path / "images").symlink_to(marked[1] / "images")
    with pytest.raises(ThoraxError, match="channel train: its images are marked test, none train"):
        parts(train=tmp_path)


def test_a_list_without_its_images(marked):
    with pytest.raises(
        ThoraxError,
        match=(
            "channel validation_lst is given without channel validation: a list needs its images; give --validation DIR"
        ),
    ):
        parts(train=marked[1], validation_lst=marked[1])
