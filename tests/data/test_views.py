"""Views of test-time augmentation: what they show, by another library; and that chests are not mirrored."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from thorax.data.views import MOST, MOVES, Views, may_mirror
from thorax.errors import ThoraxError


def smooth(*shape: int) -> np.ndarray:
    """Images without edges: two ways of interpolation then agree."""
    rng = np.random.default_rng(1)
    small = torch.from_numpy(rng.uniform(60, 200, (shape[0], shape[3] if len(shape) == 4 else 1, 4, 4)))
    large = F.interpolate(small, size=shape[1:3], mode="bicubic", align_corners=True).numpy()
    return np.moveaxis(large, 1, 3).reshape(shape).clip(0, 255)


def by_torch(image: np.ndarray, degrees: float, scale: float, right: float, down: float) -> np.ndarray:
    """(H, W) float moved by torch's affine_grid: output to input coordinates in -1..1."""
    h, w = image.shape
    cos, sin = math.cos(math.radians(degrees)) / scale, math.sin(math.radians(degrees)) / scale
    x, y = -2 * right, -2 * down
    # A turn in pixels, written in coordinates that are -1..1 on both sides.
    rows = [[cos, sin * h / w, cos * x + sin * h / w * y], [-sin * w / h, cos, -sin * w / h * x + cos * y]]
    grid = F.affine_grid(torch.tensor([rows], dtype=torch.float64), [1, 1, h, w], align_corners=False)
    return F.grid_sample(torch.from_numpy(image)[None, None], grid, align_corners=False)[0, 0].numpy()


@pytest.mark.parametrize("k", range(1, MOST))
def test_each_view_is_what_torch_makes_of_the_image(k):
    images = smooth(2, 48, 64).astype(np.float32)
    found = Views(MOST).view(images, k)
    inside = (slice(None), slice(10, -10), slice(10, -10))  # outside both fill, in their own ways
    wanted = np.stack([by_torch(image.astype(np.float64), *MOVES[k]) for image in images])
    np.testing.assert_allclose(found[inside], wanted[inside], atol=0.05)
    np.testing.assert_allclose(
        Views(MOST).view(images.astype(np.uint8), k)[inside], found[inside].astype(np.uint8), atol=2
    )


def test_the_first_view_is_the_image_and_no_two_are_the_same():
    images = smooth(1, 32, 32).astype(np.uint8)
    seen = [Views(MOST).view(images, k) for k in range(MOST)]
    assert seen[0] is images
    assert len({view.tobytes() for view in seen}) == MOST


@pytest.mark.parametrize("shape", [(2, 30, 40, 3), (2, 30, 40)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_shape_and_type_stay_and_colours_move_together(shape, dtype):
    images = smooth(*shape).astype(dtype)
    views = Views(8)
    for k in range(8):
        found = views.view(images, k)
        assert (found.shape, found.dtype) == (shape, dtype)
        for c in range(3 if len(shape) == 4 else 0):
            alone = views.view(np.ascontiguousarray(images[..., c]), k)
            np.testing.assert_array_equal(found[:, 5:-5, 5:-5, c], alone[:, 5:-5, 5:-5])


def test_what_comes_from_outside_is_black():
    white = np.full((1, 40, 40), 255, np.uint8)
    assert Views(8).view(white, 4)[0, :, 0].max() == 0  # shifted to the right
    light = np.full((1, 40, 40), 3.0, np.float32)
    light[0, 20, 20] = -2.5  # normalised already: its darkest level
    assert Views(8).view(light, 4)[0, 5, 0] == -2.5


def test_only_what_was_mirrored_in_training_is_mirrored():
    assert not any(may_mirror(name) for name in ("xray", "none", None))
    assert all(may_mirror(name) for name in ("crop", "crop_color", "crop_color_transform"))
    images = smooth(1, 20, 24).astype(np.uint8)
    assert Views.of(4, {}) == Views(4) == Views.of(None, {"tta": 4, "augmentation_type": "xray"})
    mirrored = Views.of(4, {"augmentation_type": "crop"})
    np.testing.assert_array_equal(mirrored.view(images, 1), images[:, :, ::-1])
    np.testing.assert_array_equal(mirrored.view(images, 2), Views(4).view(images, 1))
    np.testing.assert_array_equal(mirrored.view(images, 3), Views(4).view(images[:, :, ::-1], 1))


@pytest.mark.parametrize("count", [0, -1, MOST + 1, 2.5, "4", True])
def test_numbers_of_views_that_there_are_not(count):
    with pytest.raises(ThoraxError, match=r"tta=.* must be a whole number of views, 1 .* to 16"):
        Views(count)


@pytest.mark.parametrize("most", [1, 3, 8, 100])
def test_the_mean_of_logits_whatever_the_size_of_a_pass(most):
    images, sizes = smooth(5, 16, 16).astype(np.uint8), []

    def logits(x: np.ndarray) -> np.ndarray:
        sizes.append(len(x))
        return np.stack([x.mean((1, 2)), x[:, 4, 9]], 1).astype(np.float32)

    found = Views(3).mean_logits(logits, images, most)
    assert max(sizes) <= most and sum(sizes) == 15
    wanted = np.mean([logits(Views(3).view(images, k)) for k in range(3)], axis=0)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
