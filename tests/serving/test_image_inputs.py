"""Images in every form: paths, bytes, arrays and PIL images."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import images
from thorax.data.images import DecodeError, decode
from thorax.serving.image_inputs import array_to_png, as_file, pil_to_png

GREY = images.grey()


@pytest.mark.parametrize("top", [0.3, 0.24, 0.05])
def test_floats_keep_their_brightness(top):
    image = np.linspace(0, top, 3000).reshape(60, 50)
    np.testing.assert_array_equal(decode(array_to_png(image), "x"), np.rint(255 * image))


@pytest.mark.parametrize(
    "array",
    [
        images.grey(),
        images.grey().astype("<u2") * 257,
        images.grey().astype(">u2") * 257,
        images.grey() / 255,
        (images.grey() / 255).astype("f2"),
    ],
)
def test_an_array_is_the_image_it_shows(array):
    np.testing.assert_allclose(
        decode(array_to_png(array), "").astype(int), images.grey(), atol=0 if array.dtype.kind == "u" else 1
    )


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.full((2, 2), 1.5), "must hold numbers in 0..1, found 1.5 to 1.5"),
        (np.full((2, 2), -0.1), "found -0.1"),
        (np.full((2, 2), np.nan), "found nan"),
        (np.full((2, 2), np.inf), "found inf"),
        (np.zeros((2, 2, 4), np.uint8), "of shape (2, 2, 4) is no image"),
        (np.zeros((2, 2, 3), np.uint16), "no image; give uint8"),
        (np.zeros((2, 2), np.uint32), "no image; give uint8"),
    ],
)
def test_an_array_out_of_range(array, expected):
    with pytest.raises(DecodeError) as caught:
        array_to_png(array)
    assert expected in str(caught.value)


# --- PIL images


@pytest.mark.parametrize(
    ("mode", "atol"), [("L", 0), ("RGB", 0), ("RGBA", 0), ("P", 0), ("CMYK", 0), ("YCbCr", 2), ("I;16", 1)]
)
def test_a_pil_image_of_any_mode_is_the_image_it_shows(mode, atol):
    wide = (GREY.astype(np.uint16) * 257).astype(np.uint16)
    grey = Image.fromarray(GREY)
    image = Image.fromarray(wide) if mode == "I;16" else (grey if mode == "P" else grey.convert("RGB")).convert(mode)
    assert image.mode == mode
    np.testing.assert_allclose(decode(pil_to_png(image), "").astype(int), GREY, atol=atol)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_pil_image_is_turned_upright_as_its_file_is(orientation):
    file = images.turned(GREY, orientation)
    with Image.open(io.BytesIO(file)) as image:
        np.testing.assert_array_equal(decode(pil_to_png(image), ""), decode(file, ""))


@pytest.mark.parametrize("mode", ["F", "I"])
def test_a_pil_image_without_a_range(mode):
    with pytest.raises(DecodeError, match=f"a PIL image of mode {mode} has no fixed range; give an array"):
        pil_to_png(Image.new(mode, (4, 4)))


def test_a_pil_image_of_half_a_file():
    half = Image.open(io.BytesIO(images.data(images.grey(400, 400))[:900]))
    with pytest.raises(DecodeError, match="the PIL image cannot be read"):
        pil_to_png(half)


def test_paths_and_bytes_stay_as_they_are():
    assert as_file("a/b.png") == as_file(Path("a/b.png")) == Path("a/b.png")
    assert as_file(b"bytes") == b"bytes"
    assert as_file(GREY) == as_file(Image.fromarray(GREY)) == array_to_png(GREY)
