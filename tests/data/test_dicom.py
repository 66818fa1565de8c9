"""DICOM: every transfer syntax to the same grey levels, the way from sample to grey by hand, and what is refused."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import uid
from pydicom.pixels.decoders.base import get_decoder

import dicoms
import images
from thorax.data.decoders import decoder_process, dicom_patient, header, is_image
from thorax.data.decoders import dicom as decoder
from thorax.data.images import DecodeError, DecoderMissing, Preprocessing, decode

IMAGE = images.grey()
TWELVE = (images.smooth(40, 48).astype(np.uint16) * 16) + (IMAGE % 16)  # 12 bits, up to 4095
GREY = np.rint(TWELVE * (255 / 4095)).astype(np.uint8)


def lossless(syntax):
    """The image of 12 bits, compressed; skipped where no encoder is installed."""
    if syntax == uid.JPEGLosslessSV1:
        return jpeg_lossless()
    pytest.importorskip({uid.JPEGLSLossless: "jpeg_ls", uid.JPEG2000Lossless: "openjpeg"}.get(syntax, "pydicom"))
    return dicoms.dicom(TWELVE, 12, syntax=syntax)


def jpeg_lossless():
    gdcm = pytest.importorskip("gdcm")
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder) / "plain.dcm", Path(folder) / "packed.dcm"
        plain.write_bytes(dicoms.dicom(TWELVE, 12))
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(plain))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFileName(str(packed))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return packed.read_bytes()


@pytest.mark.parametrize(
    "syntax",
    [
        uid.ExplicitVRLittleEndian,
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.RLELossless,
        uid.JPEG2000Lossless,
        uid.JPEGLSLossless,
        uid.JPEGLosslessSV1,
    ],
    ids=lambda s: s.name,
)
def test_every_lossless_syntax_is_the_same_image(syntax):
    np.testing.assert_array_equal(decode(lossless(syntax), "image"), GREY)


def test_jpeg_baseline():
    image = images.smooth(80, 96)
    got = decode(
        dicoms.dicom(image, syntax=uid.JPEGBaseline8Bit, frame=images.data(image, "JPEG", quality=100)), "image"
    )
    assert np.abs(got.astype(int) - image).max() <= 2


def test_jpeg_2000_by_another_hand():
    frame = images.data(Image.fromarray(TWELVE * 16), "JPEG2000", irreversible=False)  # a JP2 box around 16 bits
    got = decode(dicoms.dicom(TWELVE * 16, syntax=uid.JPEG2000, frame=frame), "image")
    assert np.abs(got.astype(int) - GREY).max() <= 1


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_stored_bits_use_their_full_range(bits, signed):
    """The image of 8 bits, stretched to more: the same greys."""
    top = (1 << bits) - 1
    stretched = np.rint(IMAGE.astype(float) * (top / 255)).astype(int) - (signed << (bits - 1))
    stored = stretched.astype(f"{'i' if signed else 'u'}{1 if bits == 8 else 2}")
    assert np.abs(decode(dicoms.dicom(stored, bits), "image").astype(int) - IMAGE).max() <= 1


def test_bits_above_the_stored_ones_are_no_part_of_the_image():
    np.testing.assert_array_equal(decode(dicoms.dicom(TWELVE | 0xA000, 12), "image"), GREY)


def test_dicom_and_png_are_the_same_tensor():
    prepared = Preprocessing(24, 32)
    want = prepared.image(images.data(IMAGE)).astype(int)
    for pixels in (IMAGE, IMAGE.astype(np.uint16) * 257):
        assert np.abs(prepared.image(dicoms.dicom(pixels)).astype(int) - want).max() <= 1


def test_monochrome1_is_inverted():
    np.testing.assert_array_equal(decode(dicoms.dicom(TWELVE, 12, "MONOCHROME1"), "image"), 255 - GREY)
    windowed = {"WindowCenter": 2000, "WindowWidth": 900}
    plain = decode(dicoms.dicom(TWELVE, 12, **windowed), "image")
    np.testing.assert_array_equal(decode(dicoms.dicom(TWELVE, 12, "MONOCHROME1", **windowed), "image"), 255 - plain)


RAMP = np.arange(0, 4096, dtype=np.uint16).reshape(64, 64)


def at(content, *samples):
    """Grey levels of these samples of the ramp."""
    return [int(decode(content, "image").ravel()[s]) for s in samples]


@pytest.mark.parametrize(
    ("elements", "samples", "greys"),
    [
        # PS3.3 C.11.2.1.2.1: ((x - (c - 0.5)) / (w - 1) + 0.5), so 2048/4096 leaves 12 bits as they are
        ({"WindowCenter": 2048, "WindowWidth": 4096}, (0, 2048, 4095), (0, 128, 255)),
        ({"WindowCenter": 1000, "WindowWidth": 201}, (0, 899, 1000, 1100, 4095), (0, 0, 128, 255, 255)),
        ({"WindowCenter": [1000, 3000], "WindowWidth": [201, 11]}, (899, 1000, 1100), (0, 128, 255)),
        (
            {"WindowCenter": 1000, "WindowWidth": 200, "VOILUTFunction": "LINEAR_EXACT"},
            (900, 1000, 1100),
            (0, 128, 255),
        ),
        (
            {"WindowCenter": 1000, "WindowWidth": 200, "VOILUTFunction": "SIGMOID"},
            (0, 900, 1000, 1100, 4095),
            (0, 30, 128, 225, 255),
        ),
        # values after the rescale are windowed: 2 x - 1000
        (
            {"WindowCenter": 0, "WindowWidth": 401, "RescaleSlope": 2, "RescaleIntercept": -1000},
            (400, 500, 600),
            (1, 128, 255),
        ),
        # a rescale alone changes nothing: its whole range is black to white; a negative slope inverts
        ({"RescaleSlope": 2, "RescaleIntercept": -1000}, (0, 2048, 4095), (0, 128, 255)),
        ({"RescaleSlope": -1, "RescaleIntercept": 4095}, (0, 4095), (255, 0)),
        # a width of 0 is no window
        ({"WindowCenter": 10, "WindowWidth": 0}, (0, 4095), (0, 255)),
        # VOI LUT: 4 entries from 1000 on, clamped on both sides, before any window
        (
            {
                "VOILUTSequence": [dicoms.table(np.array([0, 100, 200, 255]), 1000, 8)],
                "WindowCenter": 5,
                "WindowWidth": 5,
            },
            (0, 1001, 1002, 4000),
            (0, 100, 200, 255),
        ),
        # 12 bits of a table that says 16
        ({"VOILUTSequence": [dicoms.table(np.arange(4096)[::-1], 0, 16)]}, (0, 4095), (255, 0)),
        (
            {
                "ModalityLUTSequence": [dicoms.table(np.arange(4096) * 16, 0, 16, "Modality")],
                "WindowCenter": 32768,
                "WindowWidth": 65536,
            },
            (0, 2048, 4095),
            (0, 128, 255),
        ),
    ],
    ids=[
        "whole",
        "window",
        "two",
        "exact",
        "sigmoid",
        "rescale",
        "rescale alone",
        "negative",
        "no width",
        "lut",
        "lut of 12 bits",
        "modality",
    ],
)
def test_from_sample_to_grey(elements, samples, greys):
    got = at(dicoms.dicom(RAMP, 12, **elements), *samples)
    assert got == pytest.approx(greys, abs=1)


def test_our_window_is_pydicoms():
    from pydicom.pixels import apply_windowing

    for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        ds = dicoms.data_set(RAMP, 12, WindowCenter=1700, WindowWidth=900, VOILUTFunction=function)
        want = apply_windowing(RAMP, ds) / 4095 * 255
        assert np.abs(decode(dicoms.written(ds), "image") - want).max() <= 0.5 + 1e-6


def test_ten_bits_in_sixteen_without_a_window_are_not_black():
    assert at(dicoms.dicom(RAMP), 4095) == [255]  # BitsStored says 16


@pytest.mark.parametrize("kind", ["RGB", "YBR_FULL"])
def test_colour_becomes_grey(kind):
    colour = Image.merge("RGB", [Image.fromarray(p) for p in (IMAGE, images.smooth(40, 48), IMAGE[::-1].copy())])
    stored = np.asarray(colour if kind == "RGB" else colour.convert("YCbCr"))
    assert (
        np.abs(
            decode(dicoms.dicom(stored, photometric=kind), "image").astype(int) - np.asarray(colour.convert("L"))
        ).max()
        <= 2
    )


def test_colour_jpeg():
    image = images.smooth(80, 96)
    frame = images.data(Image.fromarray(image).convert("RGB"), "JPEG", quality=98)
    got = decode(
        dicoms.dicom(np.stack([image] * 3, -1), photometric="YBR_FULL_422", syntax=uid.JPEGBaseline8Bit, frame=frame),
        "image",
    )
    assert np.abs(got.astype(int) - image).max() <= 3


def test_header_reads_no_pixels():
    content = dicoms.dicom(TWELVE, 12, "MONOCHROME1")
    seen = header(content[: -TWELVE.nbytes], "image")
    assert (seen.kind, seen.width, seen.height, seen.mode, seen.bits) == ("DICOM", 48, 40, "MONOCHROME1", 12)


def test_a_dicom_needs_no_ending(tmp_path):
    content = dicoms.dicom(TWELVE, 12)
    for name in ("image", "xray.jpg", "1.2.840.7"):
        (tmp_path / name).write_bytes(content)
        np.testing.assert_array_equal(decode(tmp_path / name, name), GREY)


def test_a_image_that_ends_gdcm_ends_no_more_than_that(monkeypatch):
    """GDCM aborts or crashes on some damaged images: here its process does so always, then is itself again."""
    good = jpeg_lossless()
    with monkeypatch.context() as broken:
        decoder_process._end()
        broken.setattr(decoder_process, "_START", "import os, sys; sys.stdin.buffer.read(100); os.abort()")
        for _ in range(2):
            with pytest.raises(
                DecodeError, match=r"^image cannot be read as DICOM: the decoder of its transfer syntax broke off"
            ):
                decode(good, "image")
    np.testing.assert_array_equal(decode(good, "image"), GREY)


def test_a_image_that_takes_gdcm_for_ever_is_given_up(monkeypatch):
    good = jpeg_lossless()
    decoder_process._end()
    monkeypatch.setattr(decoder_process, "LONGEST", 0.2)
    monkeypatch.setattr(decoder_process, "_START", "import time; time.sleep(100)")
    with pytest.raises(DecodeError, match="broke off"):
        decode(good, "image")


# --- what is refused

FRAME = images.data(IMAGE, "JPEG")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            lambda: dicoms.dicom(np.zeros((80, 48), np.uint8), Rows=40, NumberOfFrames=2),
            "it has 2 frames; write each as a file of its own",
        ),
        (lambda: dicoms.dicom(IMAGE, PixelData=None), r"it has no pixels \(PixelData\)"),
        (lambda: dicoms.dicom(IMAGE, Rows=None), "it has no Rows: not an image"),
        (lambda: dicoms.dicom(IMAGE, Rows=0), "it has 48x0 pixels"),
        (lambda: dicoms.dicom(IMAGE, Rows=41), "pixel data .* bytes"),
        (
            lambda: dicoms.dicom(IMAGE, Rows=65535, Columns=65535),
            "it claims 65535x65535 pixels, more than the 67108864 that are read",
        ),
        (lambda: dicoms.dicom(IMAGE, BitsAllocated=12, BitsStored=12, HighBit=11), "it has 12 of 12 bits a sample"),
        (lambda: dicoms.dicom(IMAGE, BitsStored=12), "it has 12 of 8 bits a sample"),
        (lambda: dicoms.dicom(TWELVE, 12, HighBit=16), "it has HighBit 16 with 12 of 16 bits stored; 11 to 15 can be"),
        (
            lambda: dicoms.dicom(TWELVE, 12, syntax=uid.JPEG2000, frame=FRAME, HighBit=15),
            "it has HighBit 15 with 12 bits stored in a compressed image; 11 is expected",
        ),
        (
            lambda: dicoms.dicom(IMAGE, SamplesPerPixel=3),
            "it has 3 samples of 8 bits a pixel, which MONOCHROME2 has not",
        ),
        (
            lambda: dicoms.dicom(IMAGE, photometric="PALETTE COLOR"),
            "its palette is not there, or in segments, which are not read",
        ),
        (
            lambda: dicoms.dicom(np.stack([IMAGE] * 3, -1), photometric="YBR_PARTIAL_420"),
            "its photometric interpretation YBR_PARTIAL_420 is not read; MONOCHROME1, MONOCHROME2, PALETTE COLOR, RGB,",
        ),
        (
            lambda: dicoms.dicom(RAMP, 12, WindowCenter=5, WindowWidth=9, VOILUTFunction="CURVE"),
            "its VOI LUT function CURVE is not read; LINEAR",
        ),
        (
            lambda: dicoms.dicom(IMAGE, syntax=uid.JPEGBaseline8Bit, frame=FRAME, Rows=39),
            "its header says 48x39 pixels of 1 samples, its compressed image 48x40 of 1",
        ),
        (
            lambda: dicoms.dicom(IMAGE, syntax=uid.MPEG4HP41, frame=FRAME),
            "its transfer syntax MPEG-4 .* holds no image that is read",
        ),
        (lambda: dicoms.dicom(IMAGE)[:140], "it names no transfer syntax"),
        (lambda: dicoms.dicom(IMAGE)[:-9], "pixel data .* bytes"),
    ],
    ids=lambda v: v[:24] if isinstance(v, str) else "",
)
def test_what_is_no_image_is_refused_in_one_line(content, message):
    with pytest.raises(DecodeError, match=rf"(?i)^image cannot be read as DICOM: .*{message}") as caught:
        decode(content(), "image")
    assert "\n" not in str(caught.value)


def test_a_deflated_data_set_is_the_same_image(tmp_path):
    content = dicoms.deflated(dicoms.data_set(TWELVE, 12, PatientID="P7"))
    np.testing.assert_array_equal(decode(content, "image"), GREY)
    seen = header(content, "image")
    assert (seen.width, seen.height, seen.bits) == (48, 40, 12)
    (tmp_path / "a.dcm").write_bytes(content)
    assert dicom_patient(tmp_path / "a.dcm") == "P7"
    with pytest.raises(DecodeError, match="image cannot be read as DICOM"):
        decode(content[:-500], "image")


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
@pytest.mark.parametrize("meta", [True, False])
def test_a_file_without_preamble_is_dicom_if_it_parses_as_such(tmp_path, syntax, meta):
    """As old archives hold them: the file meta information alone, or the bare data set."""
    whole = dicoms.dicom(TWELVE, 12, syntax=syntax, PatientID="P7")
    bare = whole[132:] if meta else whole[144 + int.from_bytes(whole[140:144], "little") :]
    (tmp_path / "1.2.840.7").write_bytes(bare)
    np.testing.assert_array_equal(decode(bare, "image"), GREY)
    assert header(tmp_path / "1.2.840.7", "image").kind == "DICOM"
    assert is_image(tmp_path / "1.2.840.7") and dicom_patient(tmp_path / "1.2.840.7") == "P7"
    assert not is_image(images.put(tmp_path / "README", b"\x08\x00 no data set, only bytes that begin like one"))
    (tmp_path / "cut").write_bytes(bare[:120])
    with pytest.raises(DecodeError, match=r"^cut cannot be read as DICOM: "):
        decode(tmp_path / "cut", "cut")


@pytest.mark.parametrize(
    ("syntax", "package"),
    [
        (uid.JPEGLosslessSV1, "python-gdcm"),
        (uid.JPEGLSLossless, "pyjpegls"),
        (uid.JPEG2000, "pylibjpeg pylibjpeg-openjpeg"),
    ],
)
@pytest.mark.parametrize("look", [decode, header])
def test_a_missing_decoder_is_named_with_its_package(monkeypatch, syntax, package, look):
    monkeypatch.setattr(get_decoder(syntax), "_available", {})
    with pytest.raises(
        DecoderMissing,
        match=(
            rf"^image cannot be read as DICOM: its transfer syntax {syntax.name[:8]}.*needs a decoder; pip install"
            rf" {package}$"
        ),
    ):
        look(dicoms.dicom(IMAGE, syntax=syntax, frame=FRAME), "image")


def test_jpeg_of_twelve_bits_names_its_decoder():
    with pytest.raises(
        DecoderMissing,
        match=r"JPEG Extended .* with 12 bits needs a decoder; pip install pylibjpeg pylibjpeg-libjpeg \(GPL\)$",
    ):
        decode(dicoms.dicom(TWELVE, 12, syntax=uid.JPEGExtended12Bit, frame=FRAME), "image")


def test_without_pydicom_one_line_says_what_to_install(monkeypatch):
    content = dicoms.dicom(IMAGE)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    decoder._pydicom.cache_clear()
    try:
        with pytest.raises(
            DecoderMissing,
            match=r"^image cannot be read as DICOM: DICOM needs a package that is not installed; pip install pydicom$",
        ):
            decode(content, "image")
    finally:
        decoder._pydicom.cache_clear()
