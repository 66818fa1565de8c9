"""BMP, GIF, WebP and JPEG 2000: read as Pillow reads them, one picture a file, within the limits of all."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import images
from thorax.data.decoders import IMAGE_FORMATS, decode, format_of, header, is_image
from thorax.errors import ThoraxError

GREY = images.grey()
LOSSLESS = {"BMP": {}, "GIF": {}, "WEBP": {"lossless": True}, "JPEG2000": {"irreversible": False}}
NAMES = {"BMP": "BMP", "GIF": "GIF", "WEBP": "WebP", "JPEG2000": "JPEG 2000"}


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1"])
@pytest.mark.parametrize("kind", list(LOSSLESS))
def test_the_grey_levels_are_those_of_the_picture(kind, mode):
    if (kind, mode) in {("JPEG2000", "1")}:
        pytest.skip("Pillow writes no JPEG 2000 of 1 bit")
    written = Image.fromarray(GREY).convert(mode)
    data = images.data(written, kind, **LOSSLESS[kind])
    with Image.open(io.BytesIO(data)) as again:  # GIF has a palette of 256 colours
        np.testing.assert_array_equal(decode(data, "x"), np.asarray((again if kind == "GIF" else written).convert("L")))
    found = header_of(data)
    assert (found.kind, found.width, found.height) == (NAMES[kind], 48, 40)
    assert decode(data, "x", lambda width, height: (24, 20)).shape == (20, 24)


def header_of(data):
    return header(data, "x")


def test_16_bits_of_jpeg_2000():
    deep = GREY.astype(np.uint16) * 257
    data = images.data(Image.fromarray(deep), "JPEG2000", irreversible=False)
    assert header_of(data).bits == 16
    np.testing.assert_array_equal(decode(data, "x"), GREY)


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_only_single_pictures_are_read(kind):
    out = io.BytesIO()
    frames = [Image.fromarray(images.grey(seed=k)) for k in range(3)]
    frames[0].save(out, kind, save_all=True, append_images=frames[1:])
    for read in (decode, header):
        with pytest.raises(
            ThoraxError, match=f"x cannot be read as {NAMES[kind]}: it has 3 frames; write each as a file"
        ):
            read(out.getvalue(), "x")


@pytest.mark.parametrize("kind", list(LOSSLESS))
def test_damage_is_one_line(kind):
    data = images.data(GREY, kind)
    for cut in (20, 60, len(data) // 2):
        try:
            decode(data[:cut], "x")
        except ThoraxError as error:
            assert "\n" not in str(error)  # noqa: PT017  a cut GIF may still be one


def test_words_that_begin_with_bm_are_no_bmp(tmp_path):
    (tmp_path / "notes").write_bytes(b"BMI of the patients: 27.1, 31.2, 22.0")
    assert not is_image(tmp_path / "notes")
    assert format_of(b"RIFF\x10\0\0\0WAVEfmt ") is None
    assert {"BMP", "GIF", "WebP", "JPEG 2000"} <= set(IMAGE_FORMATS)


def test_a_bmp_that_claims_too_much():
    data = bytearray(images.data(GREY, "BMP"))
    data[18:26] = (100_000).to_bytes(4, "little") * 2
    with pytest.raises(ThoraxError, match="more than the 67108864"):
        decode(bytes(data), "x")
