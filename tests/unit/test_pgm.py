"""Binary PGM, the film of `pack --encode raw`."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import films
from thorax.data.decoders import UnreadableFilm, decode, header

FILM = films.grey(20, 30)


def pgm(film: np.ndarray, head: bytes = b"P5 30 20 255\n") -> bytes:
    return head + film.tobytes()


@pytest.mark.parametrize("head", [b"P5 30 20 255\n", b"P5\n# by hand\n30 20\n# white\n255\n", b"P5\n30\r\n20\t255 "])
def test_grey_levels_are_those_of_the_file(head):
    np.testing.assert_array_equal(decode(pgm(FILM, head), "film"), FILM)
    told = header(pgm(FILM, head), "film")
    assert (told.kind, told.width, told.height, told.mode, told.bits) == ("PGM", 30, 20, "L", 8)


def test_pillow_writes_what_is_read():
    out = io.BytesIO()
    Image.fromarray(FILM).save(out, "PPM")
    np.testing.assert_array_equal(decode(out.getvalue(), "film"), FILM)


def test_other_whites_are_scaled_and_16_bits_are_big_endian():
    np.testing.assert_array_equal(decode(b"P5 3 1 100\n" + bytes([0, 40, 100]), "film"), [[0, 102, 255]])
    wide = np.array([[0, 2048, 4095]], ">u2")
    np.testing.assert_array_equal(decode(b"P5 3 1 4095\n" + wide.tobytes(), "film"), [[0, 128, 255]])


def test_another_size_is_that_of_any_other_format():
    scaled = decode(pgm(FILM), "film", lambda *_: (15, 10))
    np.testing.assert_array_equal(scaled, decode(films.data(FILM), "film", lambda *_: (15, 10)))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (pgm(FILM)[:-1], "it is cut short: 30x20 pixels are announced, 599 are there"),
        (b"P5 30 20\n", "its header is damaged"),
        (b"P5 30 -20 255\n", "its header is damaged"),
        (b"P5 0 20 255\n", "it has 0x20 pixels"),
        (b"P5 99999999 99999999 255\n", "it claims 99999999x99999999 pixels"),
        (b"P5 1 1 0\n\0", "its white is 0, out of 1 to 65535"),
        (b"P5 1 1 99999\n\0", "its white is 99999, out of 1 to 65535"),
        (b"P5 " + b"#" * 9000, "its header is damaged"),
    ],
)
def test_damaged_ones_are_refused(data, told):
    with pytest.raises(UnreadableFilm, match=f"film cannot be read as PGM: {told}"):
        decode(data, "film")
