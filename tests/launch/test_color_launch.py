"""Colour beyond the package: the COCO recipe, its synthetic scenes, and clients that shrink an image."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

import dicoms
import images
from photos import smooth_photo
from thorax.config import TrainingConfig
from thorax.data.color import chosen_color, sample_colors
from thorax_launch import Recipe, clients
from thorax_launch.synthetic.scenes import write_scenes


def test_the_coco_recipe_is_in_colour():
    config = TrainingConfig.of(Recipe.load("coco-multilabel").hyperparameters)
    assert (config.color, config.image_shape, config.warnings) == ("rgb", (3, 112, 112), [])


def test_synthetic_scenes_are_in_colour(tmp_path):
    write_scenes(tmp_path / "scenes", scenes=8)
    found = sample_colors(sorted((tmp_path / "scenes" / "train").glob("*.jpg")))
    assert chosen_color(found) == ("rgb", "6 of 6 sampled images carry colour")


def test_an_image_that_is_sent_smaller_keeps_its_colours():
    pixels = smooth_photo(300, 400)
    sent = Image.open(io.BytesIO(clients.smaller(images.data(pixels), "an image", 10**6)))
    assert sent.mode == "RGB" and np.abs(np.asarray(sent).astype(int) - pixels).mean() < 3
    for grey in (images.data(images.smooth()), dicoms.dicom(images.smooth().astype(np.uint16) * 16, 12)):
        assert Image.open(io.BytesIO(clients.smaller(grey, "an image", 10**6))).mode == "L"
