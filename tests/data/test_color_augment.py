"""Augmentation in colour: hue and saturation as colorsys and torchvision have them; all else in every channel alike."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.functional import adjust_hue

import images
from photos import photo
from thorax.data.augment import DRAWS, HUE, SATURATION, Augmentation, AugmentationRanges, draws_for

MIDDLE = torch.full((1, DRAWS), 0.5)
TYPES = ("crop", "crop_color", "crop_color_transform", "xray")
PHOTOS = torch.from_numpy(np.stack([photo(seed=k) for k in range(4)]))


def random_draws(count=4):
    return torch.from_numpy(np.stack([draws_for(1, 2, k) for k in range(count)]))


@pytest.mark.parametrize("draw", [0.0, 0.2, 0.5, 0.9])
def test_hue_turns_as_torchvision_turns_it(draw):
    draws = MIDDLE.clone()
    draws[0, HUE] = draw
    got = Augmentation(AugmentationRanges(hue=0.1))(PHOTOS[:1], draws)[0] / 255
    want = adjust_hue(PHOTOS[0].movedim(2, 0) / 255, (2 * draw - 1) * 0.1).movedim(0, 2)
    np.testing.assert_allclose(got, want, atol=2e-3)


@given(
    st.tuples(*[st.integers(0, 255)] * 3),
    st.floats(0, 1, width=32, exclude_max=True),
    st.floats(0, 1, width=32, exclude_max=True),
)
@settings(max_examples=100, deadline=None)
def test_hue_and_saturation_are_those_of_hls(color, turn, gain):
    draws = MIDDLE.clone()
    draws[0, HUE], draws[0, SATURATION] = turn, gain
    pixel = torch.tensor(color, dtype=torch.uint8).expand(1, 2, 2, 3)
    got = Augmentation(AugmentationRanges(hue=0.3, saturation=0.5))(pixel, draws)[0, 0, 0] / 255
    hue, light, saturation = colorsys.rgb_to_hls(*(c / 255 for c in color))
    changed = min(1.0, saturation * (1 + (2 * gain - 1) * 0.5))
    want = colorsys.hls_to_rgb(hue + (2 * turn - 1) * 0.3, light, changed)
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_the_ranges_are_those_of_the_built_in_algorithm():
    ranges = AugmentationRanges.named("crop_color")
    assert (ranges.hue * 360, ranges.saturation * 255, ranges.lightness * 255) == pytest.approx((36, 50, 50))
    assert AugmentationRanges.named("xray").hue == AugmentationRanges.named("crop").hue == 0


@pytest.mark.parametrize("name", TYPES)
def test_a_grey_image_stays_grey_and_gets_what_it_gets_in_one_channel(name):
    grey = torch.from_numpy(np.stack([images.grey(seed=k) for k in range(4)]))
    augment = Augmentation(AugmentationRanges.named(name))
    one, three = augment(grey, random_draws()), augment(grey[..., None].expand(-1, -1, -1, 3), random_draws())
    assert three.shape == (4, 40, 48, 3)
    for k in range(3):
        np.testing.assert_allclose(three[..., k], one, atol=1e-3)


@pytest.mark.parametrize("name", ["crop", "xray"])
def test_without_hue_each_channel_is_augmented_as_a_grey_image(name):
    augment = Augmentation(AugmentationRanges.named(name))
    found = augment(PHOTOS, random_draws())
    for k in range(3):
        np.testing.assert_array_equal(found[..., k], augment(PHOTOS[..., k].contiguous(), random_draws()))


@pytest.mark.parametrize("name", TYPES)
def test_an_image_does_not_depend_on_its_batch(name, monkeypatch):
    augment = Augmentation(AugmentationRanges.named(name))
    together = augment(PHOTOS, random_draws())
    monkeypatch.setattr("thorax.data.augment.CACHED", 40 * 48 * 3)
    apart = augment(PHOTOS, random_draws())
    np.testing.assert_allclose(together, apart, atol=1e-3)
    assert together.min() >= 0 and together.max() <= 255
