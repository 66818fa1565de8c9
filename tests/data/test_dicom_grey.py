"""From stored samples to grey levels against pydicom's own pipeline, in every mode and bit depth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut

import dicoms
import images
from thorax.data.decoders import dicom
from thorax.data.images import DecodeError, decode

IMAGE = images.grey()
SMOOTH = images.smooth(40, 48).astype(int)


def by_pydicom(dataset, samples):
    """Grey levels as pydicom shows them: its LUTs and windows, then its range of output values to 0..255."""
    values = apply_voi_lut(apply_modality_lut(samples, dataset), dataset).astype(float)
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    signed, bits = dataset.PixelRepresentation, dataset.BitsStored
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    low, high = sorted((low * slope + intercept, high * slope + intercept))
    if "VOILUTSequence" in dataset:
        low, high = 0, (1 << dataset.VOILUTSequence[0].LUTDescriptor[2]) - 1
    levels = ((values - low) / (high - low) * 255).clip(0, 255)
    return 255 - levels if dataset.PhotometricInterpretation == "MONOCHROME1" else levels


@settings(max_examples=50, deadline=None)
@given(
    bits=st.integers(2, 15),
    signed=st.booleans(),
    photometric=st.sampled_from(["MONOCHROME1", "MONOCHROME2"]),
    rescale=st.none() | st.tuples(st.sampled_from([0.5, 1, 2.25]), st.sampled_from([-1024, 0, 33])),
    window=st.none() | st.tuples(st.floats(-500, 3000), st.floats(2, 5000), st.sampled_from(["LINEAR", "SIGMOID"])),
)
def test_any_depth_rescale_and_window_is_pydicoms(bits, signed, photometric, rescale, window):
    """The range of 16 stored bits is found by content, which pydicom does not do."""
    samples = (SMOOTH * ((1 << bits) - 1) // 255) - ((1 << bits - 1) if signed else 0)
    elements = {}
    if rescale:
        elements |= {"RescaleSlope": rescale[0], "RescaleIntercept": rescale[1]}
    if window:
        elements |= {"WindowCenter": window[0], "WindowWidth": window[1], "VOILUTFunction": window[2]}
    stored = samples.astype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")
    dataset = dicoms.data_set(stored, bits, photometric, **elements)
    want = by_pydicom(dataset, stored)
    assert np.abs(decode(dicoms.written(dataset), "image") - want).max() <= 0.51


@settings(max_examples=40, deadline=None)
@given(bits=st.integers(1, 16), top=st.integers(0, 15), signed=st.booleans(), noise=st.integers(0, 2**16 - 1))
def test_bits_outside_the_stored_ones_are_cut_off(bits, top, signed, noise):
    """Whatever lies above HighBit and below the lowest stored bit, and wherever HighBit is."""
    top, lowest = max(top, bits - 1), max(top, bits - 1) + 1 - bits
    codes = SMOOTH * ((1 << bits) - 1) // 255
    raw = (codes << lowest) | (noise & ~(((1 << bits) - 1) << lowest) & 0xFFFF)
    window = {"WindowCenter": 0 if signed else 1 << bits >> 1, "WindowWidth": max(2, 1 << bits)}
    values = np.where(codes >> (bits - 1), codes - (1 << bits), codes) if signed else codes
    stored = raw.astype(np.uint16).view("i2" if signed else "u2")
    got = decode(dicoms.dicom(stored, bits, HighBit=top, **window), "image")
    assert np.abs(got - by_pydicom(dicoms.data_set(stored, bits, **window), values)).max() <= 0.51


def test_bits_that_are_cut_off_are_said_once(caplog):
    dicom._say_once.cache_clear()
    wide = (SMOOTH * 4095 // 255).astype(np.uint16)
    for _ in range(2):
        decode(dicoms.dicom(wide, 10), "image")
    (line,) = caplog.messages
    assert line.startswith("warning: a DICOM image's samples have more than the 10 bits that BitsStored says: they are")
    dicom._say_once.cache_clear()
    for whole, bits, elements in (
        (wide, 12, {}),
        (wide.astype("i2") - 2048, 12, {}),
        (framed(wide, 63536), 12, {"PixelPaddingValue": 63536}),
    ):
        decode(dicoms.dicom(whole, bits, **elements), "image")
    assert len(caplog.messages) == 1


def test_voi_and_modality_luts_are_pydicoms():
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    curve = np.rint(4095 * (np.arange(4096) / 4095) ** 0.7).astype(int)
    for tables in ([curve], [curve[::-1], curve]):  # of several the first
        dataset = dicoms.data_set(ramp, 12, VOILUTSequence=[dicoms.table(values, 0, 12) for values in tables])
        assert np.abs(decode(dicoms.written(dataset), "image") - by_pydicom(dataset, ramp)).max() <= 0.51
    lut = {"ModalityLUTSequence": [dicoms.table(curve, 0, 12, "Modality")], "WindowCenter": 2048, "WindowWidth": 4096}
    dataset = dicoms.data_set(ramp, 12, **lut)
    want = curve[ramp] * (255 / 4095)  # pydicom itself reads tables of 8 and 16 bits alone
    assert np.abs(decode(dicoms.written(dataset), "image") - want).max() <= 1


# --- padding, hot pixels, signs


def framed(samples, value):
    """The image in a frame of one value."""
    whole = np.full((samples.shape[0] + 20, samples.shape[1] + 20), value, samples.dtype)
    whole[10:-10, 10:-10] = samples
    return whole


@pytest.mark.parametrize(
    ("kind", "value", "elements"),
    [
        ("u2", 65535, {"PixelPaddingValue": 65535}),
        ("u2", 60000, {"PixelPaddingValue": 50000, "PixelPaddingRangeLimit": 65535}),
        ("u2", 60000, {"PixelPaddingValue": 65535, "PixelPaddingRangeLimit": 50000}),
        ("i2", -2000, {"PixelPaddingValue": -2000}),
        ("i2", -32768, {"PixelPaddingValue": -32768, "PixelPaddingRangeLimit": -31000}),
    ],
)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_changes_nothing_else(kind, value, elements, photometric):
    samples = (SMOOTH * 4095 // 255).astype(kind)
    plain = decode(dicoms.dicom(samples, photometric=photometric), "image")
    got = decode(dicoms.dicom(framed(samples, value), photometric=photometric, **elements), "image")
    np.testing.assert_array_equal(got[10:-10, 10:-10], plain)
    assert plain.max() - plain.min() > 150
    frame = np.ones(got.shape, bool)
    frame[10:-10, 10:-10] = False
    assert not got[frame].any()


def test_padding_with_more_bits_than_are_stored():
    samples = (SMOOTH * 4095 // 255).astype(np.uint16)
    whole = framed(samples, 63536)  # the 12 bits that are stored of it are 2096, a grey of the image
    got = decode(dicoms.dicom(whole, 12, PixelPaddingValue=63536), "image")
    np.testing.assert_array_equal(got[10:-10, 10:-10], decode(dicoms.dicom(samples, 12), "image"))
    assert not got[:10].any()


def test_padding_of_the_whole_image_is_black():
    assert not decode(dicoms.dicom(np.full((9, 9), 700, np.uint16), PixelPaddingValue=700), "image").any()


@pytest.mark.parametrize("kind", ["u2", "i2"])
@pytest.mark.parametrize("depth", [10, 12, 14])
def test_a_hot_pixel_is_not_the_white(kind, depth):
    samples = (SMOOTH * ((1 << depth) - 1) // 255).astype(kind)
    plain = decode(dicoms.dicom(samples), "image")
    hot = samples.copy()
    hot[3, 5] = 32767
    got = decode(dicoms.dicom(hot), "image").copy()
    assert got[3, 5] == 255
    got[3, 5] = plain[3, 5]
    np.testing.assert_array_equal(got, plain)
    assert abs(int(plain.max()) - SMOOTH.max()) <= 1


@pytest.mark.parametrize("bits", [12, 16])
def test_signed_samples_of_which_none_is_negative_use_the_range_of_unsigned_ones(bits):
    samples = (SMOOTH * 2047 // 255).astype(np.int16)
    want = decode(dicoms.dicom(samples.astype(np.uint16), 11 if bits == 12 else 16), "image")
    np.testing.assert_array_equal(decode(dicoms.dicom(samples, bits), "image"), want)


def test_presentation_lut_shape_inverse_is_honoured_once():
    plain = decode(dicoms.dicom(IMAGE), "image")
    for photometric, shape, want in (
        ("MONOCHROME2", "IDENTITY", plain),
        ("MONOCHROME2", "INVERSE", 255 - plain),
        ("MONOCHROME1", "INVERSE", 255 - plain),
    ):
        got = decode(dicoms.dicom(IMAGE, photometric=photometric, PresentationLUTShape=shape), "image")
        np.testing.assert_array_equal(got, want)


# --- kinds that were refused


@pytest.mark.parametrize("bits", [8, 16])
def test_palette(bits):
    ramp = np.arange(256)
    tables = {"Red": ramp[::-1], "Green": ramp, "Blue": (ramp * 7) % 256}
    elements = {}
    for name, values in tables.items():
        entries = values.astype(f"u{bits // 8}") * (257 if bits == 16 else 1)
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        elements[f"{name}PaletteColorLookupTableData"] = entries.astype(f"<u{bits // 8}").tobytes()
    dataset = dicoms.data_set(IMAGE, photometric="PALETTE COLOR", **elements)
    colours = apply_color_lut(IMAGE, dataset).astype(float) / (257 if bits == 16 else 1)
    want = colours @ [0.299, 0.587, 0.114]
    assert np.abs(decode(dicoms.written(dataset), "image") - want).max() <= 1


def test_one_bit():
    bits = IMAGE > 127
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    one = dicoms.dicom(IMAGE, BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=packed)
    np.testing.assert_array_equal(decode(one, "image"), np.where(bits, 255, 0))


def test_thirty_two_bits_with_a_window_or_with_sixteen_of_them_stored():
    wide = (SMOOTH * 70000).astype(np.uint32)
    window = {"WindowCenter": 255 * 35000, "WindowWidth": 255 * 70000, "VOILUTFunction": "LINEAR_EXACT"}
    assert np.abs(decode(dicoms.dicom(wide, **window), "image") - SMOOTH).max() <= 1
    stored = (SMOOTH * 4095 // 255).astype(np.uint32)
    want = decode(dicoms.dicom(stored.astype(np.uint16), 12), "image")
    np.testing.assert_array_equal(decode(dicoms.dicom(stored, 12), "image"), want)
    with pytest.raises(DecodeError, match="it has 32-bit samples and no window, so no known black and white; write"):
        decode(dicoms.dicom(wide), "image")


@pytest.mark.parametrize(("keyword", "kind"), [("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")])
def test_floats_with_a_window(keyword, kind):
    def written(**elements):
        dataset = dicoms.data_set(IMAGE, PixelData=None, BitsStored=None, HighBit=None, **elements)
        dataset.BitsAllocated = 8 * int(kind[-1])
        del dataset.PixelRepresentation
        setattr(dataset, keyword, (SMOOTH / 255).astype(kind).tobytes())
        return dicoms.written(dataset)

    window = {"WindowCenter": 0.5, "WindowWidth": 1, "VOILUTFunction": "LINEAR_EXACT"}
    assert np.abs(decode(written(**window), "image") - SMOOTH).max() <= 1
    with pytest.raises(DecodeError, match="it has floating-point samples and no window, so no known black and white"):
        decode(written(), "image")


@pytest.mark.parametrize("bits", [12, 16])
def test_colours_of_sixteen_bits(bits):
    whole = (1 << bits) - 1
    planes = [SMOOTH, IMAGE.astype(int), IMAGE[::-1].astype(int)]
    stored = np.stack([p * whole // 255 for p in planes], -1).astype(np.uint16)
    want = stored / whole * 255 @ [0.299, 0.587, 0.114]
    assert np.abs(decode(dicoms.dicom(stored, bits, "RGB"), "image") - want).max() <= 1
