"""What color=auto takes: colour beyond a tint, noise and marks, in a quarter of the images or more."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

import dicoms
import images
from photos import photo, smooth_photo, tinted
from thorax.config import TrainingConfig
from thorax.data.color import chosen_color, sample_colors
from thorax.errors import ThoraxError


def written(root, pictures, kind="png", **options):
    for k, picture in enumerate(pictures):
        (root / f"{k:03d}.{kind}").write_bytes(
            picture
            if isinstance(picture, bytes)
            else images.data(Image.fromarray(picture), kind.upper().replace("JPG", "JPEG"), **options)
        )
    return sorted(root.iterdir())


def marked(grey):
    """A grey X-ray with a red mark, as viewers draw them."""
    picture = Image.fromarray(np.stack([grey] * 3, 2))
    ImageDraw.Draw(picture).line((10, 10, 60, 40), fill=(255, 0, 0), width=4)
    return np.asarray(picture)


XRAYS = [images.smooth(120, 150) // 2 + images.grey(120, 150, seed=k) // 4 for k in range(6)]


@pytest.mark.parametrize(
    "pictures",
    [
        XRAYS,
        [np.stack([x] * 3, 2) for x in XRAYS],
        [tinted(x, (0.9, 0.95, 1.1)) for x in XRAYS],
        [tinted(x, (1.0, 0.8, 0.5)) for x in XRAYS],
        [marked(x) for x in XRAYS],
        [dicoms.dicom(x.astype(np.uint16) * 16, 12) for x in XRAYS],
    ],
    ids=["grey", "grey in RGB", "the tint of a film", "sepia", "marks", "DICOM"],
)
def test_x_rays_stay_grey(pictures, tmp_path):
    assert chosen_color(sample_colors(written(tmp_path, pictures))) == (
        "gray",
        f"none of {len(pictures)} sampled images carries colour",
    )


def test_what_jpeg_leaves_is_no_colour(tmp_path):
    pictures = [np.stack([x] * 3, 2) for x in XRAYS]
    assert sample_colors(written(tmp_path, pictures, "jpg", quality=30)).colored == 0


def test_photographs_are_in_colour(tmp_path):
    pictures = [*(photo(60, 80, seed=k) for k in range(3)), smooth_photo(60, 80)]
    for kind in ("png", "jpg"):
        (tmp_path / kind).mkdir()
        found = sample_colors(written(tmp_path / kind, pictures, kind))
        assert chosen_color(found, (3, 64, 64)) == ("rgb", "4 of 4 sampled images carry colour")
    color, why = chosen_color(found, (1, 64, 64))
    assert color == "gray" and why.endswith("image_shape=1,64,64 has one channel; set color=rgb to train on it")


def test_pictures_of_one_colour_each_are_in_colour_where_the_colours_differ(tmp_path):
    pictures = [tinted(x, color) for x, color in zip(XRAYS, [(1, 0.3, 0.2), (0.2, 0.3, 1)] * 3, strict=True)]
    assert chosen_color(sample_colors(written(tmp_path, pictures)))[0] == "rgb"


def test_a_few_in_colour_are_said_but_not_enough(tmp_path):
    pictures = [np.stack([x] * 3, 2) for x in XRAYS] + [photo(60, 80)]
    color, why = chosen_color(sample_colors(written(tmp_path, pictures)))
    assert (color, why) == (
        "gray", "1 of 7 sampled images carries colour, fewer than a quarter; color=rgb would keep it",
    )  # fmt: skip


def test_images_that_cannot_be_read_are_passed_over(tmp_path):
    found = sample_colors(written(tmp_path, [b"no image", photo()]))
    assert (found.images, found.colored) == (1, 1)
    assert sample_colors([]).share == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"color": "grey"}, "color=grey is not one of auto, gray, rgb; did you mean gray?"),
        ({"mean": "0.5"}, "normalization_mean=0.5 with normalization=image: it is for normalization=fixed"),
        (
            {"mean": "0.5,0.4", "normalization": "fixed", "image_shape": "3,32,32"},
            "normalization_mean=0.5,0.4 has 2 numbers, image_shape=3,32,32 has 3 channels",
        ),
        ({"std": "0", "normalization": "fixed"}, "std=0 is out of range: it must be above 0 to 1000"),
        ({"mean": "a,b"}, "mean='a,b' is not a comma list of numbers"),
    ],
)
def test_mistakes(values, message):
    with pytest.raises(ThoraxError) as caught:
        TrainingConfig.parse(values)
    assert message in str(caught.value)


def test_rgb_makes_three_channels_and_says_so():
    config = TrainingConfig.of({"color": "rgb", "image_shape": (1, 64, 64)})
    assert config.channels == 3
    assert config.warnings == ["image_shape=1,64,64 with color=rgb is taken as 3,64,64: colour has three channels"]
    assert TrainingConfig.of({"image_shape": (3, 64, 64)}).warnings == []
