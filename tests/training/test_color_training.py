"""A run in colour, from images to answers: what auto takes, what is stored, and what colour is good for."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

import thorax
from photos import told_by_color
from thorax.errors import ThoraxError

TINY = {
    "network": "cnn5",
    "image_shape": "3,32,32",
    "epochs": 2,
    "batch_size": 16,
    "augmentation_type": "none",
    "bootstrap_samples": 0,
    "threshold_views": 0,
    "num_workers": 0,
    "threads": 1,
    "precision_dtype": "float32",
    "calibration": "none",
}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    root = tmp_path_factory.mktemp("told")
    return {
        part: told_by_color(root / part, count, seed=k) for k, (part, count) in enumerate([("train", 64), ("test", 32)])
    }


def trained(told, out, **values):
    return thorax.train({**TINY, **values}, train=told["train"], validation=told["test"], output=out)


@pytest.fixture(scope="module")
def in_color(told, tmp_path_factory):
    out = tmp_path_factory.mktemp("rgb")
    trained(told, out, augmentation_type="crop_color_transform", normalization="dataset", epochs=3, color="auto")
    return out


def copies(told):
    """Images of the test part, and their grey copies."""
    pictures = [Image.open(path) for path in sorted(told["test"].rglob("*.png"))[::4]]
    return pictures, [picture.convert("L") for picture in pictures]


def test_auto_takes_rgb_and_the_bundle_says_so(told, in_color):
    bundle = thorax.Bundle.load(in_color)
    assert (bundle.preprocessing.color, bundle.preprocessing.channels) == ("rgb", 3)
    assert len(bundle.preprocessing.mean) == len(bundle.preprocessing.std) == 3
    assert bundle.typical_images["colored"] == 1 and len(bundle.typical_images["mean"]) == 3 * 256
    assert "in colour" in bundle._repr_html_()
    assert Image.open(in_color / "output/data/batch.png").mode == "RGB"
    colors, greys = (thorax.Classifier.load(in_color, engine="torch").predict(images) for images in copies(told))
    assert np.abs(colors - greys).max() > 0.01


def test_a_run_goes_on_in_the_colour_that_it_began_with(told, in_color, capsys):
    trained(told, in_color, augmentation_type="crop_color_transform", normalization="dataset", epochs=3)
    assert "color: rgb: as in the checkpoint" in capsys.readouterr().out
    with pytest.raises(ThoraxError, match=r"another run \(color=rgb there, gray here\)"):
        trained(
            told, in_color, augmentation_type="crop_color_transform", normalization="dataset", epochs=3, color="gray"
        )


def test_in_grey_an_image_and_its_grey_copy_are_one(told, tmp_path, capsys):
    trained(told, tmp_path, color="gray", epochs=1)
    assert "color: gray: as asked for; the 3 channels repeat the grey" in capsys.readouterr().out
    stored = json.loads((tmp_path / "model/bundle.json").read_text())
    assert "color" not in stored["preprocessing"] and stored["configuration"]["color"] == "gray"
    classifier = thorax.Classifier.load(tmp_path, engine="torch")
    colors, greys = (classifier.predict(images) for images in copies(told))
    np.testing.assert_array_equal(colors, greys)
    with pytest.raises(ThoraxError, match=r"another run \(color=gray there, rgb here\)"):
        trained(told, tmp_path, color="rgb", epochs=1)


def test_colour_tells_what_grey_cannot(told, tmp_path):
    def auc(color):
        found = trained(told, tmp_path / color, color=color, epochs=6, learning_rate=0.002, normalization="imagenet")
        return found.metrics["validation"]["labels"]["warm"]["auc"]["value"]

    assert auc("rgb") > 0.95
    assert 0.2 < auc("gray") < 0.8


def test_heat_maps_lie_over_the_colours(told, in_color):
    classifier = thorax.Classifier.load(in_color, engine="torch")
    path = sorted(told["test"].rglob("*.png"))[0]
    found = classifier.explain(path)
    assert found.image.shape == (32, 32, 3) and found.map.shape == (32, 32)
    shown = np.asarray(Image.open(io.BytesIO(found.png())).convert("RGB")).astype(int)
    cold = found.map < 0.01
    if cold.any():
        assert np.abs(shown[cold] - found.image[cold]).max() <= 3
