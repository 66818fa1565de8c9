"""Normalisation per channel, against torchvision; what is stored; and that grey stays as it was."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torchvision.transforms.v2.functional import normalize

import images
from photos import photo
from thorax.config import TrainingConfig
from thorax.data.loading import mean_std
from thorax.data.parts import preprocessing
from thorax.data.preprocessing import Preprocessing
from thorax.errors import ThoraxError

PHOTOS = np.stack([photo(seed=k) for k in range(3)])
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GREYS = np.stack([images.grey(seed=k) for k in range(3)])


def of(**values):
    return preprocessing(TrainingConfig.of({"image_shape": "3,40,48", **values}))


def test_imagenet_in_colour_is_torchvision_s():
    prepared = of(color="rgb", normalization="imagenet")
    assert prepared.shape == (40, 48) and (prepared.mean, prepared.std) == (MEAN, STD)  # color=auto is settled later
    prepared = Preprocessing(40, 48, 3, normalization="imagenet", mean=MEAN, std=STD, color="rgb")
    want = normalize(torch.from_numpy(PHOTOS).movedim(3, 1) / 255, MEAN, STD)
    torch.testing.assert_close(prepared.tensor(torch.from_numpy(PHOTOS)), want)


def test_imagenet_of_grey_images_in_three_channels_is_torchvision_s():
    want = normalize((torch.from_numpy(GREYS) / 255)[:, None].expand(-1, 3, -1, -1), MEAN, STD)
    torch.testing.assert_close(of(normalization="imagenet").tensor(torch.from_numpy(GREYS)), want)


def test_imagenet_in_one_channel_is_its_luminance():
    prepared = of(normalization="imagenet", image_shape="1,40,48")
    assert prepared.mean == pytest.approx(np.dot(MEAN, (0.299, 0.587, 0.114)))
    assert prepared.std == pytest.approx(np.dot(STD, (0.299, 0.587, 0.114)))


def test_mean_and_std_as_given_weights_ask_for_them():
    found = of(normalization="fixed", mean="0.5", std="0.1,0.2,0.3")
    assert (found.mean, found.std) == (0.5, (0.1, 0.2, 0.3))
    want = normalize((torch.from_numpy(GREYS) / 255)[:, None].expand(-1, 3, -1, -1), [0.5] * 3, [0.1, 0.2, 0.3])
    torch.testing.assert_close(found.tensor(torch.from_numpy(GREYS)), want)


@pytest.mark.parametrize("normalization", ["image", "fixed", "dataset", "imagenet"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_numpy_gives_what_torch_gives(normalization, per_channel):
    more = {"mean": MEAN, "std": STD} if per_channel else {}
    for color, pixels in (("rgb", PHOTOS), ("gray", GREYS)):
        prepared = Preprocessing(40, 48, 3, normalization=normalization, color=color, **more)
        array, tensor = prepared.array(pixels), prepared.tensor(torch.from_numpy(pixels)).numpy()
        assert array.shape == tensor.shape == (3, 3, 40, 48)
        np.testing.assert_allclose(array, tensor, atol=1e-5)


def test_each_image_to_mean_0_and_std_1_keeps_its_colours_apart():
    x = Preprocessing(40, 48, 3, color="rgb").array(PHOTOS)
    np.testing.assert_allclose(x.mean(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(axis=(1, 2, 3)), 1, atol=1e-5)
    red = np.zeros((1, 8, 8, 3), np.uint8)
    red[..., 0] = 200
    means = Preprocessing(8, 8, 3, color="rgb").array(red).mean(axis=(0, 2, 3))
    assert means[0] > 1 > means[1]  # each channel by itself would make a red and a blue image the same


@pytest.mark.parametrize("color", ["gray", "rgb"])
def test_the_picture_of_a_network_s_input(color):
    pixels = PHOTOS if color == "rgb" else GREYS
    prepared = Preprocessing(40, 48, 3, normalization="fixed", mean=MEAN, std=STD, color=color)
    np.testing.assert_array_equal(prepared.levels(prepared.array(pixels)), pixels)
    whole = Preprocessing(40, 48, 3, color=color)
    shown = whole.levels(whole.array(pixels))
    assert shown.shape == pixels.shape and shown.min() == 0 and shown.max() == 255


def test_mean_and_std_of_a_set_are_those_of_its_channels(tmp_path):
    paths = [images.put(tmp_path / f"{k}.png", images.data(picture)) for k, picture in enumerate(PHOTOS)]
    found = mean_std(
        images.sample_set(np.zeros(3), sources=paths), Preprocessing(40, 48, 3, normalization="dataset", color="rgb"), 0
    )
    np.testing.assert_allclose(found[0], PHOTOS.reshape(-1, 3).mean(0) / 255, atol=1e-9)
    np.testing.assert_allclose(found[1], PHOTOS.reshape(-1, 3).std(0) / 255, atol=1e-9)


def test_grey_is_stored_as_before_and_what_has_no_color_is_grey():
    assert "color" not in Preprocessing(8, 8, 3).to_dict()
    stored = Preprocessing(8, 8, 3, mean=MEAN, color="rgb").to_dict()
    assert stored["color"] == "rgb"
    again = Preprocessing.from_dict(json.loads(json.dumps(stored)))
    assert again == Preprocessing(8, 8, 3, mean=MEAN, color="rgb") and hash(again)
    assert again.fingerprint() == Preprocessing(8, 8, 3, mean=MEAN, color="rgb").fingerprint()
    with pytest.raises(ThoraxError, match="its color=cmyk"):
        Preprocessing.from_dict({**stored, "color": "cmyk"})
