"""Augmentation: the draws belong to the image, ranges are kept, and geometry keeps its shape."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import images
from thorax.data import augment as augment_module
from thorax.data.augment import (
    BLUR,
    BLUR_MIX,
    DRAWS,
    ERASE,
    FLIP,
    NOISE,
    ROTATE,
    SHIFT_X,
    SHIFT_Y,
    SLOPES,
    Augmentation,
    AugmentationRanges,
    draws_for,
)

NAMES = ("none", "crop", "crop_color", "crop_color_transform", "xray")
IMAGES = torch.from_numpy(np.stack([images.grey(40, 56, seed=k) for k in range(4)]))
MIDDLE = 0.5  # a draw in the middle of its range moves nothing


def draws(count: int = 4, seed: int = 0, epoch: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.stack([draws_for(seed, epoch, image) for image in range(count)]))


def still(**changed: float) -> torch.Tensor:
    """(1, DRAWS) draws that change nothing but what is named."""
    u = torch.full((1, DRAWS), MIDDLE)
    u[0, [FLIP, BLUR, ERASE]] = 0.999
    u[0, NOISE] = 0.0
    for name, value in changed.items():
        u[0, {"flip": FLIP, "rotate": ROTATE, "shift_x": SHIFT_X, "shift_y": SHIFT_Y}[name]] = value
    return u


# --- draws


def test_draws_are_uniform_numbers():
    u = np.stack([draws_for(0, 0, image) for image in range(500)])
    assert u.shape == (500, DRAWS)
    assert u.dtype == np.float32
    assert u.min() >= 0
    assert u.max() < 1
    assert np.abs(u.mean(axis=0) - 0.5).max() < 0.07
    assert np.abs(np.corrcoef(u.T) - np.eye(DRAWS)).max() < 0.25


@given(seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 10**5), image=st.integers(0, 10**7))
def test_draws_come_from_seed_epoch_and_image_alone(seed, epoch, image):
    mine = draws_for(seed, epoch, image)
    np.testing.assert_array_equal(mine, draws_for(seed, epoch, image))
    for other in (
        draws_for(seed + 1, epoch, image),
        draws_for(seed, epoch + 1, image),
        draws_for(seed, epoch, image + 1),
    ):
        assert not np.isclose(mine, other).all()


def test_draws_of_neighbours_do_not_overlap():
    """A counter-based generator must not give image k + 1 what image k drew a little later."""
    seen = np.concatenate([draws_for(0, 0, image) for image in range(300)])
    assert len(np.unique(seen)) > len(seen) - 10


def test_golden_draws():
    """A change here changes every run that resumes."""
    assert draws_for(7, 3, 11)[:4].tolist() == pytest.approx([0.255056, 0.7283399, 0.5749596, 0.8775803], abs=1e-7)


# --- the same image everywhere


@pytest.mark.parametrize("name", NAMES)
def test_the_same_draws_give_the_same_images(name):
    first, second = (Augmentation(AugmentationRanges.named(name))(IMAGES, draws()) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", NAMES)
def test_a_image_does_not_depend_on_its_batch(name):
    augment, u = Augmentation(AugmentationRanges.named(name)), draws()
    together = augment(IMAGES, u)
    alone = torch.cat([augment(IMAGES[k : k + 1], u[k : k + 1]) for k in range(4)])
    backwards = augment(IMAGES.flip(0), u.flip(0)).flip(0)
    torch.testing.assert_close(alone, together, atol=1e-3, rtol=0)
    torch.testing.assert_close(backwards, together, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", ["crop_color", "crop_color_transform", "xray"])
def test_other_draws_give_other_images(name):
    augment = Augmentation(AugmentationRanges.named(name))
    assert not torch.allclose(augment(IMAGES, draws()), augment(IMAGES, draws(epoch=1)), atol=1)


@pytest.mark.parametrize("name", NAMES)
def test_images_and_draws_are_left_as_they_were(name):
    given_images, u = IMAGES.clone(), draws()
    Augmentation(AugmentationRanges.named(name))(given_images, u)
    assert torch.equal(given_images, IMAGES)
    assert torch.equal(u, draws())


def test_size_may_change_between_calls():
    """The grain's tile is made anew: what an image gets does not depend on the sizes seen before."""
    fresh, used = Augmentation(AugmentationRanges(noise=0.1)), Augmentation(AugmentationRanges(noise=0.1))
    used(IMAGES[:, :20], draws())
    torch.testing.assert_close(used(IMAGES, draws()), fresh(IMAGES, draws()))


@pytest.mark.parametrize("name", NAMES)
def test_images_that_are_augmented_a_few_at_a_time_are_those_of_all_at_once(name, monkeypatch):
    """7 images, and 3 of them at once."""
    seven, u = torch.cat([IMAGES, IMAGES[:3].flip(1)]), draws(7)
    whole = Augmentation(AugmentationRanges.named(name))(seven, u)
    monkeypatch.setattr(augment_module, "CACHED", 3 * 40 * 56 + 5)
    assert torch.equal(Augmentation(AugmentationRanges.named(name))(seven, u), whole)


@pytest.mark.parametrize(("height", "width"), [(40, 56), (33, 7), (1, 5)])
def test_places_are_those_of_an_affine_grid(height, width):
    theta = torch.from_numpy(np.random.default_rng(1).normal(size=(4, 2, 3)).astype(np.float32))
    wanted = torch.nn.functional.affine_grid(theta, [4, 1, height, width], align_corners=False)
    for k in (0, 1):
        found = augment_module._places(tuple(theta[:, k].T), height, width)
        torch.testing.assert_close(found, wanted[..., k], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(2, 9), (1, 1)])
def test_a_box_may_hold_no_pixel(height, width):
    ranges = AugmentationRanges(erase_chance=1.0)
    for seed in range(20):
        found = Augmentation(ranges)(torch.full((4, height, width), 9, dtype=torch.uint8), draws(seed=seed))
        assert torch.isfinite(found).all()


# --- ranges


def test_none_is_identity():
    torch.testing.assert_close(
        Augmentation(AugmentationRanges.named("none"))(IMAGES, draws()), IMAGES.float(), atol=1e-3, rtol=0
    )


def test_strength_0_is_identity():
    assert AugmentationRanges.named("xray", 0.0) == AugmentationRanges()
    torch.testing.assert_close(
        Augmentation(AugmentationRanges.named("xray", 0.0))(IMAGES, draws()), IMAGES.float(), atol=1e-3, rtol=0
    )


def test_small_strength_is_nearly_identity():
    image = torch.from_numpy(images.smooth(40, 56))[None].repeat(4, 1, 1)
    ranges = AugmentationRanges.named("xray", 0.02)
    got = Augmentation(AugmentationRanges(**{**vars(ranges), "erase_chance": 0.0}))(image, draws())[:, 3:-3, 3:-3]
    assert (got - image[:, 3:-3, 3:-3]).abs().max() < 12


@pytest.mark.parametrize("name", NAMES)
def test_middle_draws_move_nothing(name):
    """Every range is centred on the image as it is, but for scale, with a range wider to the small side."""
    ranges = AugmentationRanges.named(name)
    got = Augmentation(AugmentationRanges(**{**vars(ranges), "scale": (1.0, 1.0)}))(IMAGES[:1], still())
    torch.testing.assert_close(got, IMAGES[:1].float(), atol=0.03, rtol=0)


@pytest.mark.parametrize(
    ("name", "flips"),
    [("none", False), ("xray", False), ("crop", True), ("crop_color", True), ("crop_color_transform", True)],
)
def test_only_crop_flips(name, flips):
    ranges = AugmentationRanges.named(name)
    assert ranges.flip is AugmentationRanges.named(name, 2.0).flip is flips
    got = Augmentation(AugmentationRanges(**{**vars(ranges), "scale": (1.0, 1.0)}))(IMAGES[:1], still(flip=0.0))
    want = IMAGES[:1].flip(-1) if flips else IMAGES[:1]
    torch.testing.assert_close(got, want.float(), atol=0.03, rtol=0)


def test_half_of_the_images_flip():
    u = draws(400)
    image = IMAGES[:1].expand(400, -1, -1)
    mirrored = Augmentation(AugmentationRanges.named("crop"))(image, u).sub(image.flip(-1)).abs().amax((1, 2)) < 0.01
    assert 160 < int(mirrored.sum()) < 240


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    strength=st.floats(0, 2),
    seed=st.integers(0, 2**31 - 1),
    level=st.sampled_from([None, 0, 255]),
)
def test_greys_never_leave_0_to_255(name, strength, seed, level):
    batch = IMAGES if level is None else torch.full_like(IMAGES, level)
    got = Augmentation(AugmentationRanges.named(name, strength))(batch, draws(seed=seed))
    assert got.shape == IMAGES.shape
    assert got.dtype == torch.float32
    assert torch.isfinite(got).all()
    assert got.min() >= 0
    assert got.max() <= 255


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("edge", [0.0, 1 - 2**-24])
def test_the_ends_of_every_range_are_finite(name, edge):
    assert torch.isfinite(Augmentation(AugmentationRanges.named(name, 2.0))(IMAGES, torch.full((4, DRAWS), edge))).all()


# --- geometry


def disc(height: int, width: int, radius: float, down: float = 0.0, right: float = 0.0) -> torch.Tensor:
    rows, columns = np.mgrid[0:height, 0:width]
    inside = (rows - (height - 1) / 2 - down) ** 2 + (columns - (width - 1) / 2 - right) ** 2 < radius**2
    return torch.from_numpy(np.where(inside, 255, 0).astype(np.uint8))[None]


def centre(image: torch.Tensor) -> tuple[float, float]:
    """(down, right) of the image's brightness from the middle, in pixels."""
    weight = image[0] / image.sum()
    rows = (torch.arange(image.shape[1]) - (image.shape[1] - 1) / 2) @ weight.sum(1)
    columns = (torch.arange(image.shape[2]) - (image.shape[2] - 1) / 2) @ weight.sum(0)
    return float(rows), float(columns)


@pytest.mark.parametrize("rotate", [0.0, 0.25, 0.9])
def test_a_rotated_circle_stays_a_circle_on_a_image_that_is_not_square(rotate):
    image = disc(80, 140, 30)
    got = Augmentation(AugmentationRanges(rotation=40))(image, still(rotate=rotate))
    assert got.shape == image.shape
    assert (got - image).abs().mean() < 255 * 0.01


@pytest.mark.parametrize(("rotate", "degrees"), [(0.0, -30.0), (0.75, 15.0), (1.0, 30.0)])
def test_a_point_is_turned_by_the_angle_and_keeps_its_distance(rotate, degrees):
    got = centre(Augmentation(AugmentationRanges(rotation=30))(disc(101, 161, 5, right=30.0), still(rotate=rotate)))
    assert math.hypot(*got) == pytest.approx(30, abs=0.3)
    assert abs(math.degrees(math.atan2(*got))) == pytest.approx(abs(degrees), abs=0.5)


def test_shift_is_a_share_of_the_image():
    got = centre(Augmentation(AugmentationRanges(shift=0.2))(disc(100, 150, 10), still(shift_x=0.0, shift_y=1.0)))
    assert got == pytest.approx((-20.0, 30.0), abs=0.2)


def test_what_comes_from_outside_is_black():
    got = Augmentation(AugmentationRanges(shift=0.5))(
        torch.full((1, 40, 40), 255, dtype=torch.uint8), still(shift_x=0.0)
    )
    assert (got[:, :, :19] == 0).all()
    assert (got[:, :, 21:] > 254.9).all()


@pytest.mark.parametrize("scale", [0.5, 1.5])
def test_scale_is_of_lengths(scale):
    got = Augmentation(AugmentationRanges(scale=(scale, scale)))(disc(120, 160, 24), still())
    area = float((got / 255).sum())
    assert math.sqrt(area / math.pi) == pytest.approx(24 * scale, rel=0.02)


# --- greys


def test_gamma_keeps_order_and_ends():
    ramp = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    for value in (0.0, 0.3, 0.99):
        got = Augmentation(AugmentationRanges(log_gamma=0.5))(ramp, torch.full((1, DRAWS), value)).flatten()
        assert (got.diff() >= 0).all()
        assert got[0] < 2.6
        assert got[-1] == pytest.approx(255)
    dark = Augmentation(AugmentationRanges(log_gamma=0.5))(ramp, torch.ones(1, DRAWS))[0, 8, 0]
    assert float(dark) == pytest.approx(255 * (128 / 255) ** math.exp(0.5), abs=0.01)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), log_slope=st.floats(0.1, 2.0))
def test_a_tone_curve_keeps_order_and_ends_and_differs_from_image_to_image(seed, log_slope):
    ramp = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16).expand(3, -1, -1)
    got = Augmentation(AugmentationRanges(log_slope=log_slope))(ramp, draws(3, seed)).flatten(1)
    assert (got.diff(dim=1) > 0).all()
    torch.testing.assert_close(got[:, [0, -1]], torch.tensor([[0.0, 255.0]] * 3))
    assert (got[0] - got[1]).abs().max() > 1


def test_the_slopes_of_a_tone_curve():
    """One stretch e times as steep as the other four: a fifth of the greys takes e / (4 + e) of the range."""
    u = still()
    u[0, SLOPES.start] = 1.0
    got = (
        Augmentation(AugmentationRanges(log_slope=1.0))(
            torch.tensor([[[0, 51, 153, 255]]], dtype=torch.uint8), u
        ).flatten()
        / 255
    )
    first = math.e / (4 + math.e)
    assert got.tolist() == pytest.approx([0, first, first + (1 - first) / 2, 1], abs=1e-5)


def test_light_is_smooth_and_within_its_range():
    flat = torch.full((200, 60, 80), 128, dtype=torch.uint8)
    got = Augmentation(AugmentationRanges(log_light=0.35))(flat, draws(200)) / 128
    assert 0.6 < float(got.min()) < 0.85
    assert 1.2 < float(got.max()) < 1.65
    assert float(got.diff(dim=1).abs().max()) < 0.05
    assert float((got.amax((1, 2)) - got.amin((1, 2))).median()) > 0.2


@pytest.mark.parametrize("mix", [0.0, 0.25, 1.0])
def test_blur_is_binomial(mix):
    """From the image as it is (0) to 5x5 pixels (1)."""
    point = torch.zeros(1, 9, 9, dtype=torch.uint8)
    point[0, 4, 4] = 255
    u = still()
    u[0, [BLUR, BLUR_MIX]] = torch.tensor([0.0, mix])
    row = np.array([0, 0, 1, 4, 6, 4, 1, 0, 0]) / 16
    got = Augmentation(AugmentationRanges(blur_chance=0.5))(point, u)[0]
    np.testing.assert_allclose(got.numpy(), (1 - mix) * point[0].numpy() + mix * 255 * np.outer(row, row), atol=0.01)


def test_blur_has_its_chance():
    u = draws(400)
    got = Augmentation(AugmentationRanges(blur_chance=0.3))(IMAGES[:1].expand(400, -1, -1), u)
    changed = (got - IMAGES[:1]).abs().amax((1, 2)) > 0.01
    assert 80 < int(changed.sum()) < 160


@pytest.mark.parametrize("chance", [0.25, 0.75])
def test_erasing_has_its_chance_and_its_size(chance):
    flat = torch.full((300, 40, 40), 100, dtype=torch.uint8)
    changed = Augmentation(AugmentationRanges(erase_chance=chance))(flat, draws(300)).sub(100).abs() > 0.01
    share = changed.float().mean((1, 2))
    assert float((share > 0).float().mean()) == pytest.approx(chance, abs=0.09)
    assert share[share > 0].min() >= 0.05**2
    assert share.max() <= 0.43**2


def test_noise_is_as_strong_as_it_says():
    flat = torch.full((1, 128, 128), 128, dtype=torch.uint8)
    u = still()
    u[0, NOISE] = 1.0
    got = Augmentation(AugmentationRanges(noise=0.05))(flat, u)
    assert float(got.std()) == pytest.approx(0.05 * 255, rel=0.05)
    assert float(got.mean()) == pytest.approx(128, abs=0.5)
