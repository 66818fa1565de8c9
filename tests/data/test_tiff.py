"""TIFF, and the range of 16-bit images in PNG and TIFF."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import images as xrays
from thorax.data.decoders import header
from thorax.data.images import DecodeError, Preprocessing, decode

IMAGE = xrays.grey()
WIDE = xrays.smooth(40, 48).astype(np.uint16) * 16 + IMAGE % 16  # 12 bits
SIXTEEN = 65535.0


def tiff(
    rows: bytes, width: int, height: int, bits: int, order: str = "<", white_is_zero: bool = False, **tags: int
) -> bytes:
    """An uncompressed TIFF of one strip, written by hand: Pillow writes no 12 bits and no white that is 0."""
    mark = b"II" if order == "<" else b"MM"
    entries = {
        256: width,
        257: height,
        258: bits,
        259: 1,
        262: int(not white_is_zero),
        273: 8,
        277: 1,
        278: height,
        279: len(rows),
    }
    entries |= {int(tag[1:]): value for tag, value in tags.items()}
    directory = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    at = 8 + len(rows) + len(rows) % 2
    return (
        mark
        + struct.pack(f"{order}HI", 42, at)
        + rows.ljust(at - 8, b"\0")
        + struct.pack(f"{order}H", len(entries))
        + directory
        + bytes(4)
    )


def packed_12(pixels: np.ndarray) -> bytes:
    """Two samples of 12 bits in three bytes, most significant bits first."""
    a, b = pixels[:, ::2].astype(int), pixels[:, 1::2].astype(int)
    return np.stack([a >> 4, (a & 15) << 4 | b >> 8, b & 255], -1).astype(np.uint8).tobytes()


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "I;16"])
def test_any_mode_is_the_same_grey(mode, compression):
    image = Image.fromarray(IMAGE)
    image = Image.fromarray(IMAGE.astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    np.testing.assert_array_equal(decode(xrays.data(image, "TIFF", compression=compression), "image"), IMAGE)


def test_one_bit():
    np.testing.assert_array_equal(
        decode(xrays.data(Image.fromarray(IMAGE > 127), "TIFF", compression="group4"), "image"),
        np.where(IMAGE > 127, 255, 0),
    )


@pytest.mark.parametrize(
    ("bits", "order", "rows", "white_is_zero"),
    [
        (8, "<", IMAGE.tobytes(), False),
        (8, ">", IMAGE.tobytes(), True),
        (12, "<", packed_12(WIDE), False),
        (16, "<", (IMAGE.astype("<u2") * 257).tobytes(), False),
        (16, "<", (IMAGE.astype("<u2") * 257).tobytes(), True),
        (16, ">", (IMAGE.astype(np.uint16) * 257).byteswap().tobytes(), False),
    ],
)
def test_samples_by_hand(bits, order, rows, white_is_zero):
    want = np.rint(WIDE * (255 / 4095)).astype(np.uint8) if bits == 12 else IMAGE
    content = tiff(rows, 48, 40, bits, order, white_is_zero)
    np.testing.assert_array_equal(decode(content, "image"), 255 - want if white_is_zero else want)
    seen = header(content, "image")
    assert (seen.kind, seen.width, seen.height, seen.mode, seen.bits) == ("TIFF", 48, 40, "L", bits)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation):
    content = xrays.turned(IMAGE, orientation, "TIFF")
    np.testing.assert_array_equal(decode(content, "image"), IMAGE)
    seen = header(content, "image")
    assert (seen.width, seen.height) == (48, 40)
    assert (
        Preprocessing(20, 20, fit="pad").image(content)[:, 0].any()
        and not Preprocessing(20, 20, fit="pad").image(content)[0].any()
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            xrays.data(IMAGE, "TIFF", save_all=True, append_images=[Image.fromarray(IMAGE)]),
            "it has several pages; write each as a file of its own",
        ),
        (
            xrays.data(Image.fromarray(IMAGE.astype(np.float32)), "TIFF"),
            "it has floating-point samples, with no known black and white",
        ),
        (xrays.data(Image.fromarray(IMAGE.astype(np.int32)), "TIFF"), "it has signed or 32-bit samples"),
        (tiff(bytes(100), 60000, 60000, 8), "it claims more than the 67108864 pixels that are read"),
        (tiff(bytes(100), 48, 40, 8, t322=60000, t323=60000, t324=8), "it claims 60000x60000 pixels"),
        (
            tiff(packed_12(WIDE), 48, 40, 12, white_is_zero=True),
            "it is damaged, cut short or of a kind that is not read",
        ),
        (tiff(IMAGE.tobytes(), 48, 40, 8)[:900], ""),
        (xrays.data(IMAGE, "TIFF", compression="tiff_lzw")[:-40], ""),
    ],
    ids=["pages", "float", "integer", "huge", "huge tile", "12 bits white is zero", "cut", "cut lzw"],
)
def test_refused(content, message):
    with pytest.raises(DecodeError, match=f"image cannot be read as TIFF: {message}"):
        decode(content, "image")


# --- the range of 16 bits


def as_png(pixels):
    return xrays.data(Image.fromarray(pixels))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_fewer_bits_in_sixteen_are_not_black(bits, kind):
    """An image of `bits` bits that was written into 16 bits as it is: the same greys as its 8-bit version."""
    stored = np.rint(IMAGE.astype(float) * (((1 << bits) - 1) / 255)).astype(np.uint16)
    assert np.abs(decode(xrays.data(Image.fromarray(stored), kind), "image").astype(int) - IMAGE).max() <= 1


@settings(max_examples=60, deadline=None)
@given(darkest=st.integers(0, 255), spread=st.integers(0, 255), factor=st.sampled_from([256, 257]))
def test_a_stretched_image_of_eight_bits_stays_as_dark_as_it_was(darkest, spread, factor):
    """However dark: 8 bits times 257 (or 256) is message from 10 to 14 bits; at most one grey level away."""
    xray = (darkest + IMAGE.astype(int) * spread // 255).clip(0, 255).astype(np.uint8)
    assert np.abs(decode(as_png(xray.astype(np.uint16) * factor), "image").astype(int) - xray).max() <= 1


def test_the_whole_range_is_kept_without_clipping():
    ramp = np.linspace(0, SIXTEEN, 4096).reshape(64, 64).round().astype(np.uint16)
    got = decode(as_png(ramp), "image")
    assert (got.min(), got.max()) == (0, 255)
    assert np.abs(got - ramp / 257).max() <= 0.5 + 1e-3


def test_sixteen_bits_in_colour():
    """RGB of 16 bits a channel, which Pillow cannot write: by hand."""
    import zlib

    rows = b"".join(
        b"\0" + (np.repeat(line[:, None], 3, 1).astype(">u2") * 257).astype(">u2").tobytes() for line in IMAGE
    )
    chunk = lambda name, body: struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))  # noqa: E731
    content = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 48, 40, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    np.testing.assert_array_equal(decode(content, "image"), IMAGE)
    assert header(content, "image").bits == 16
