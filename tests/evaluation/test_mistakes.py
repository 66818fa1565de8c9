"""The worst mistakes: which images, in which words, and a picture of image and heat map."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

import images
from thorax.data.images import Preprocessing
from thorax.evaluation.mistakes import SIDE, distinct, draw, surest, worst
from thorax.labels import LabelSpace
from thorax.models import build

THREE = LabelSpace(("bacterial", "normal", "viral"), "multiclass")


def test_the_surest_wrong_answers_of_both_kinds_come_first():
    targets = np.array([[1.0], [1], [1], [0], [0], [0], [1], [np.nan]])
    p = np.array([[0.01], [0.25], [0.9], [0.4], [0.95], [0.1], [0.3], [0.99]], np.float32)
    found = worst(targets, p, np.array([0.35]), images.BINARY, count=4)
    assert [m.image for m in found] == [0, 4, 1, 3]  # 5 and 2 are right, 7 unknown, 6 the least wrong
    assert [(m.called, m.truth) for m in found[:2]] == [("NORMAL", "PNEUMONIA"), ("PNEUMONIA", "NORMAL")]
    assert found[0].probability == pytest.approx(0.01)
    # Where there are too few of one kind the other has their places.
    assert [m.image for m in worst(targets[:3], p[:3], np.array([0.35]), images.BINARY, count=4)] == [0, 1]
    assert len(worst(targets, p, np.array([0.35]), images.BINARY, count=9)) == 5


def test_of_several_labels_each_has_two_of_a_kind_and_each_image_one():
    targets = np.ones((9, 3))
    p = np.full((9, 3), 0.3)
    p[:, 0], p[0, 2] = 0.01, 0.001
    found = worst(targets, p, np.full(3, 0.5), images.FINDINGS, count=12)
    assert len({m.image for m in found}) == len(found) == 6
    assert sorted(m.output for m in found) == [0, 0, 1, 1, 2, 2]
    assert (found[0].image, found[0].called, found[0].truth) == (
        0,
        f"no {images.FINDINGS.outputs[2]}",
        images.FINDINGS.outputs[2],
    )


def test_exclusive_classes_are_wrong_by_the_most_probable_one():
    targets = np.eye(3)[[0, 1, 2, 2]]
    p = np.array([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.0, 0.9, 0.1], [0.1, 0.2, 0.7]])
    assert [(m.image, m.called, m.truth) for m in worst(targets, p, np.full(3, 0.5), THREE)] == [
        (2, "normal", "viral"),
        (1, "bacterial", "normal"),
    ]


def test_the_surest_right_answers_of_both_kinds():
    targets = np.array([[1.0], [1], [1], [0], [0], [0], [1], [np.nan]])
    p = np.array([[0.01], [0.75], [0.9], [0.04], [0.95], [0.1], [0.6], [0.99]], np.float32)
    found = surest(targets, p, np.array([0.5]), images.BINARY, count=4)
    assert [(m.image, m.called, m.truth) for m in found] == [
        (2, "PNEUMONIA", "PNEUMONIA"),
        (1, "PNEUMONIA", "PNEUMONIA"),
        (3, "NORMAL", "NORMAL"),
        (5, "NORMAL", "NORMAL"),
    ]
    classes = np.array([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.0, 0.9, 0.1], [0.1, 0.2, 0.7]])
    right = surest(np.eye(3)[[0, 1, 1, 2]], classes, np.full(3, 0.5), THREE)
    assert [(m.image, m.called, m.answers) for m in right] == [
        (2, "normal", "normal 0.900"),
        (3, "viral", "viral 0.700"),
        (0, "bacterial", "bacterial 0.600"),
    ]


def test_right_answers_of_several_labels_begin_with_images_that_have_several():
    y = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 1, np.nan]], float)
    p = np.array([[0.99, 0.1, 0.1], [0.8, 0.7, 0.2], [0.1, 0.1, 0.1], [0.9, 0.6, 0.3], [0.2, 0.97, 0.1]], np.float32)
    found = surest(y, p, np.full(3, 0.5), images.FINDINGS)
    assert [m.image for m in found] == [1, 0, 4, 3]  # of image 3 one label is missed: it comes last, by another
    assert (found[0].answers, found[0].labels) == ("Effusion 0.800, Mass 0.700", "Effusion 0.800, Mass 0.700")
    missed = worst(y, p, np.full(3, 0.5), images.FINDINGS)
    assert (missed[0].answers, missed[0].labels) == (
        "Effusion 0.900, Mass 0.600",
        "Effusion 0.900, Mass 0.600, Nodule 0.300",
    )


def test_no_mistakes():
    assert worst(np.array([[1.0], [0]]), np.array([[0.9], [0.1]]), np.array([0.5]), images.BINARY) == []


def test_a_picture_of_the_image_and_its_heat_map_or_none(tmp_path):
    torch.manual_seed(2)
    net = build("cnn5", 1, 1, 0.0).eval()
    prepared = Preprocessing(40, 32)
    (mistake,) = worst(np.array([[1.0]]), np.array([[0.1]]), np.array([0.5]), images.BINARY)
    drawn = draw(mistake, images.put(tmp_path / "a.png"), net, prepared, torch.device("cpu"))
    picture = Image.open(io.BytesIO(drawn.picture))
    assert picture.format == "JPEG" and picture.size == (2 * 160 + 4, SIDE)
    left, right = (np.asarray(picture.crop(box), float) for box in ((0, 0, 156, SIDE), (168, 0, 324, SIDE)))
    assert np.ptp(left, axis=2).mean() < 3 < np.ptp(right, axis=2).max()  # grey, and coloured where there is heat
    assert draw(mistake, tmp_path / "gone.png", net, prepared, torch.device("cpu")) == mistake


def test_the_same_pixels_are_shown_once_and_an_empty_map_is_said(tmp_path):
    torch.manual_seed(0)
    net, prepared = build("cnn5", 1, 1, 0.0).eval(), Preprocessing(32, 32)
    found = worst(np.ones((3, 1)), np.full((3, 1), 0.1, np.float32), np.array([0.5]), images.BINARY)
    files = [images.data(images.grey(seed=k)) for k in (0, 0, 1)]
    drawn = [(f"{m.image}.png", draw(m, files[m.image], net, prepared, torch.device("cpu"))) for m in found]
    assert [name for name, _ in distinct(drawn)] == ["0.png", "2.png"]
    said = {drawn[0][1].empty}
    net.fc.weight.data.neg_()  # what spoke against the label speaks for it, and the other way round
    said.add(draw(found[0], files[0], net, prepared, torch.device("cpu")).empty)
    assert said == {True, False}
