"""Every decoder in colour, against Pillow, pydicom and the samples that were written."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread, uid
from pydicom.pixels.processing import apply_color_lut

import dicoms
import images
import pngs
import tiffs
from photos import photo, smooth_photo
from thorax.data.decoders import RGB, DecodeError, decode, header
from thorax.data.preprocessing import Preprocessing

PHOTO = photo()


def colors(content, scaled=None):
    return decode(content, "image", scaled, color=RGB)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("PPM", {}),
        ("JPEG2000", {}),
    ],
)
def test_lossless_pictures_keep_every_sample(kind, options):
    np.testing.assert_array_equal(colors(images.data(Image.fromarray(PHOTO), kind, **options)), PHOTO)


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_jpeg_as_pillow_decodes_it(mode, options):
    content = images.data(Image.fromarray(smooth_photo(60, 80)).convert(mode), "JPEG", quality=95, **options)
    np.testing.assert_array_equal(colors(content), np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


def test_a_jpeg_is_reduced_as_its_pixels_are():
    pixels = smooth_photo()
    content = images.data(Image.fromarray(pixels), "JPEG", quality=98, subsampling=0)
    got = colors(content, lambda width, height: (65, 50)).astype(int)
    want = np.asarray(Image.fromarray(pixels).resize((65, 50), Image.Resampling.BILINEAR, reducing_gap=3.0))
    assert got.shape == (50, 65, 3)
    assert np.abs(got - want).mean() < 1 and np.abs(got - want).max() <= 6


@pytest.mark.parametrize("mode", ["P", "PA", "RGBA", "LA", "1", "L", "I;16"])
def test_modes_of_png(mode):
    picture = Image.fromarray(PHOTO)
    if mode == "I;16":
        picture = Image.fromarray(images.grey().astype(np.uint16) * 257)
    elif mode in ("LA", "RGBA", "PA"):
        picture = picture.convert("RGBA")
        picture.putalpha(Image.fromarray(images.grey(seed=5)))
        picture = picture.quantize(64) if mode == "PA" else picture.convert(mode)
    else:
        picture = picture.convert(mode)
    content = images.data(picture, "PNG")
    black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
    again = Image.open(io.BytesIO(content))
    want = (
        np.repeat(images.grey()[:, :, None], 3, 2)
        if mode == "I;16"
        else np.asarray(Image.alpha_composite(black, again.convert("RGBA")).convert("RGB"))
    )
    assert np.abs(colors(content).astype(int) - want).max() <= 1


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [3, 4])
def test_png_of_16_bits(depth, interlaced):
    samples = np.dstack([PHOTO, np.full(PHOTO.shape[:2], 255)])[..., :depth].astype(np.uint16) * 257
    np.testing.assert_array_equal(colors(pngs.png16(samples, interlaced)), PHOTO)


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_of_16_bits(order):
    np.testing.assert_array_equal(colors(tiffs.colour(PHOTO.astype(np.uint16) * 257, order)), PHOTO)


@pytest.mark.parametrize("white", [255, 1023, 65535])
def test_ppm_says_its_white(white):
    samples = np.rint(PHOTO / 255 * white).astype(np.uint8 if white < 256 else ">u2")
    content = b"P6 48 40 %d\n" % white + samples.tobytes()
    assert np.abs(colors(content).astype(int) - PHOTO).max() <= 1
    assert np.abs(decode(content, "image").astype(int) - np.asarray(Image.fromarray(PHOTO).convert("L"))).max() <= 1
    found = header(content, "image")
    assert (found.kind, found.mode, found.width, found.height) == ("PPM", "RGB", 48, 40)
    with pytest.raises(DecodeError, match="it is cut short: 48x40 pixels are announced, 1919 are there"):
        colors(content[:-3])


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 6, 8])  # the helper's others are for one channel
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_orientation(orientation, kind):
    pixels = smooth_photo(40, 48)
    found = colors(images.turned(pixels, orientation, kind))
    assert found.shape == pixels.shape and np.abs(found.astype(int) - pixels).mean() < (1 if kind == "PNG" else 6)


@pytest.mark.parametrize("kind", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize("planar", [0, 1])
def test_dicom(kind, planar):
    stored = np.asarray(Image.fromarray(PHOTO).convert("YCbCr")) if kind == "YBR_FULL" else PHOTO
    content = dicoms.dicom(stored, photometric=kind)
    if planar and kind == "RGB":
        ds = dcmread(io.BytesIO(content))
        ds.PlanarConfiguration, ds.PixelData = 1, np.moveaxis(PHOTO, 2, 0).tobytes()
        content = dicoms.written(ds)
    assert np.abs(colors(content).astype(int) - PHOTO).max() <= (2 if kind == "YBR_FULL" else 0)


def test_dicom_of_16_bits_and_as_jpeg():
    np.testing.assert_array_equal(colors(dicoms.dicom(PHOTO.astype(np.uint16) * 257, photometric="RGB")), PHOTO)
    pixels = smooth_photo(80, 96)
    frame = images.data(Image.fromarray(pixels), "JPEG", quality=98, subsampling=0)
    content = dicoms.dicom(pixels, photometric="YBR_FULL_422", syntax=uid.JPEGBaseline8Bit, frame=frame)
    assert np.abs(colors(content).astype(int) - dcmread(io.BytesIO(content)).pixel_array).max() <= 3


def test_dicom_with_a_palette():
    index = images.grey()
    rng = np.random.default_rng(0)
    tables = {
        f"{name}PaletteColorLookupTable": rng.integers(0, 65536, 256).astype("<u2") for name in ("Red", "Green", "Blue")
    }
    about = {f"{name}Descriptor": [256, 0, 16] for name in tables} | {
        f"{name}Data": values.tobytes() for name, values in tables.items()
    }
    content = dicoms.dicom(index, photometric="PALETTE COLOR", **about)
    ds = dcmread(io.BytesIO(content))
    want = apply_color_lut(ds.pixel_array, ds)
    assert np.abs(colors(content).astype(int) - np.rint(want / 257)).max() <= 1


@pytest.mark.parametrize(
    "content",
    [
        images.data(images.smooth(), "JPEG"),
        images.data(images.grey()),
        images.data(images.grey(), "TIFF"),
        b"P5 48 40 255\n" + images.grey().tobytes(),
        dicoms.dicom(images.grey().astype(np.uint16) * 16, 12, "MONOCHROME1"),
    ],
)
def test_a_grey_file_has_its_grey_in_all_channels(content):
    for scaled in (None, lambda width, height: (20, 16)):
        grey = decode(content, "image", scaled)
        np.testing.assert_array_equal(colors(content, scaled), np.stack([grey] * 3, 2))


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_every_fit(fit):
    prepared = Preprocessing(24, 30, 3, fit, 32 if fit == "crop" else None, color=RGB)
    found = prepared.image(images.data(Image.fromarray(smooth_photo(80, 120))))
    each = [
        Preprocessing(24, 30, 1, fit, 32 if fit == "crop" else None).image(images.data(smooth_photo(80, 120)[..., k]))
        for k in range(3)
    ]
    np.testing.assert_array_equal(found, np.stack(each, 2))
