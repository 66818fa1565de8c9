"""Binary PGM, the image of `pack --encode raw`."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import images
from thorax.data.decoders import DecodeError, decode, header

IMAGE = images.grey(20, 30)


def pgm(image: np.ndarray, head: bytes = b"P5 30 20 255\n") -> bytes:
    return head + image.tobytes()


@pytest.mark.parametrize("head", [b"P5 30 20 255\n", b"P5\n# by hand\n30 20\n# white\n255\n", b"P5\n30\r\n20\t255 "])
def test_grey_levels_are_those_of_the_file(head):
    np.testing.assert_array_equal(decode(pgm(IMAGE, head), "image"), IMAGE)
    seen = header(pgm(IMAGE, head), "image")
    assert (seen.kind, seen.width, seen.height, seen.mode, seen.bits) == ("PGM", 30, 20, "L", 8)


def test_pillow_writes_what_is_read():
    out = io.BytesIO()
    Image.fromarray(IMAGE).save(out, "PPM")
    np.testing.assert_array_equal(decode(out.getvalue(), "image"), IMAGE)


def test_other_whites_are_scaled_and_16_bits_are_big_endian():
    np.testing.assert_array_equal(decode(b"P5 3 1 100\n" + bytes([0, 40, 100]), "image"), [[0, 102, 255]])
    wide = np.array([[0, 2048, 4095]], ">u2")
    np.testing.assert_array_equal(decode(b"P5 3 1 4095\n" + wide.tobytes(), "image"), [[0, 128, 255]])


def test_another_size_is_that_of_any_other_format():
    scaled = decode(pgm(IMAGE), "image", lambda *_: (15, 10))
    np.testing.assert_array_equal(scaled, decode(images.data(IMAGE), "image", lambda *_: (15, 10)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pgm(IMAGE)[:-1], "it is cut short: 30x20 pixels are announced, 599 are there"),
        (b"P5 30 20\n", "its header is damaged"),
        (b"P5 30 -20 255\n", "its header is damaged"),
        (b"P5 0 20 255\n", "it has 0x20 pixels"),
        (b"P5 99999999 99999999 255\n", "it claims 99999999x99999999 pixels"),
        (b"P5 1 1 0\n\0", "its white is 0, out of 1 to 65535"),
        (b"P5 1 1 99999\n\0", "its white is 99999, out of 1 to 65535"),
        (b"P5 " + b"#" * 9000, "its header is damaged"),
    ],
)
def test_damaged_ones_are_refused(data, message):
    with pytest.raises(DecodeError, match=f"image cannot be read as PGM: {message}"):
        decode(data, "image")
