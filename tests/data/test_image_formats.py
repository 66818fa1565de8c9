"""Image formats are entries of one registry: one from outside is decoded, listed, packed and named like the others."""

from __future__ import annotations

import struct

import numpy as np
import pytest

import images
from preparing import run
from thorax.data.decoders import (
    EXTENSIONS,
    IMAGE_FORMATS,
    Header,
    ImageFormat,
    content_types,
    decode,
    format_of,
    header,
    is_image,
    kinds,
)
from thorax.data.formats import read_channel
from thorax.errors import ThoraxError

PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


def toy(pixels):
    return b"TOY!" + struct.pack("<HH", *pixels.shape) + pixels.tobytes()


def toy_header(file):
    _, height, width = struct.unpack("<4sHH", file.read(8))
    return Header("TOY", width, height, "L", 8)


def toy_decode(data, scaled):
    height, width = struct.unpack("<HH", data[4:8])
    return np.frombuffer(data, np.uint8, offset=8).reshape(height, width)


@pytest.fixture
def registered():
    IMAGE_FORMATS.register("TOY", ImageFormat("TOY", (b"TOY!",), (".toy",), "image/toy", toy_header, toy_decode))
    yield
    IMAGE_FORMATS.remove("TOY")


def test_the_formats_of_the_package():
    assert list(IMAGE_FORMATS) == ["JPEG", "PNG", "TIFF", "DICOM", "PGM", "PPM", "BMP", "GIF", "WebP", "JPEG 2000"]
    assert content_types()[:4] == ("image/jpeg", "image/png", "image/tiff", "application/dicom")
    portable = ("image/x-portable-graymap", "image/x-portable-pixmap")
    assert content_types()[4:] == (*portable, "image/bmp", "image/gif", "image/webp", "image/jp2")
    grey = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".dcm", ".dicom", ".dic", ".ima", ".pgm", ".ppm"}
    assert set(EXTENSIONS) == grey | {".bmp", ".dib", ".gif", ".webp", ".jp2", ".j2k", ".j2c", ".jpx"}
    assert len(EXTENSIONS) == 21


def test_the_mark_of_dicom_goes_before_what_its_free_bytes_look_like():
    tiff = b"II*\0" + bytes(124)
    assert format_of(tiff).name == "TIFF"
    assert format_of(tiff + b"DICM").name == "DICOM"
    assert format_of(b"GIF8") is None


def test_a_registered_format_is_read_everywhere(registered, tmp_path):
    assert header(toy(PIXELS), "x") == Header("TOY", 4, 3, "L", 8)
    np.testing.assert_array_equal(decode(toy(PIXELS), "x"), PIXELS)
    assert "image/toy" in content_types() and is_image(tmp_path / "a.toy")
    for name in ("A/1.toy", "B/2.toy"):
        images.put(tmp_path / "set" / name, toy(PIXELS))
    assert list(read_channel("train", tmp_path / "set").ids) == ["A/1.toy", "B/2.toy"]
    assert run("pack", tmp_path / "set", tmp_path / "out", "--processes", 1) == 0
    packed = read_channel("train", tmp_path / "out")
    assert [source.read() for source in packed.sources] == [toy(PIXELS)] * 2


def test_without_it_the_image_is_unknown(tmp_path):
    assert not is_image(tmp_path / "a.toy")
    with pytest.raises(ThoraxError, match=f"its content is neither {kinds('nor')}"):
        decode(toy(PIXELS), "x")
