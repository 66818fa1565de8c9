"""The picture of a batch: each image with its label, of any number and shape; and that a run leaves one."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import thorax
from conftest import TINY
from thorax.evaluation.batch_picture import LINE, SIDE, batch_picture


@pytest.mark.parametrize(
    ("count", "shape", "across", "rows"), [(1, (32, 32), 1, 1), (12, (40, 20), 6, 2), (7, (8, 16), 6, 2)]
)
def test_every_image_is_there_from_dark_to_bright(count, shape, across, rows):
    images = np.random.default_rng(0).normal(0, 3, (count, *shape)).astype(np.float32)
    page = Image.open(io.BytesIO(batch_picture(images, ["a label that is far too long for its image"] * count)))
    height, width = (round(side * SIDE / max(shape)) for side in shape)
    assert page.size == (across * (width + 6) - 6, rows * (height + LINE + 6) - 6)
    for k in range(count):
        left, top = k % 6 * (width + 6), k // 6 * (height + LINE + 6)
        shown = np.asarray(page)[top : top + height, left : left + width]
        assert shown.min() < 60 and shown.max() > 195
        assert (np.asarray(page)[top + height : top + height + LINE, left : left + width] < 128).any()  # its label


def test_a_run_leaves_the_picture_and_the_report_shows_it(images, tmp_path):
    result = thorax.train({**TINY, "epochs": 1}, train=images / "train", output=tmp_path / "job")
    with Image.open(result.report.with_name("batch.png")) as page:
        assert page.size == (6 * (SIDE + 6) - 6, 2 * (SIDE + LINE + 6) - 6)
    assert "Augmented training images with their labels" in result.report.read_text(encoding="utf-8")
