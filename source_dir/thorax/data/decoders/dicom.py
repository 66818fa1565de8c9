"""DICOM with one frame, by pydicom: opened (dicom_file), checked, decoded, and brought to grey levels (dicom_grey)."""

from __future__ import annotations

import functools
import io
import logging
import warnings
from functools import partial
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from thorax.data.decoders import decoder_process
from thorax.data.decoders.dicom_file import DEFLATED, EXPLICIT, inflated, resembles_dicom, with_preamble
from thorax.data.decoders.dicom_grey import GREYS, bits_cut_off, colour_levels, grey_levels, padding, stored_samples
from thorax.data.decoders.dicom_streams import JPEG_2000, check_rle, checked_stream
from thorax.data.decoders.limits import (
    GRAY,
    GREY,
    MAX_BYTES,
    RGB,
    Header,
    ImageFormat,
    NotInstalled,
    Scaled,
    UnsupportedImage,
    check_size,
    resized,
)

#: Elements of the largest header; real ones have some hundreds.
MAX_ELEMENTS = 100_000
_TAGS = (
    "BitsAllocated BitsStored Columns HighBit NumberOfFrames PhotometricInterpretation PixelRepresentation "
    "PlanarConfiguration Rows SamplesPerPixel ModalityLUTSequence RescaleIntercept RescaleSlope VOILUTFunction "
    "VOILUTSequence WindowCenter WindowWidth PixelPaddingValue PixelPaddingRangeLimit PresentationLUTShape "
    "RedPaletteColorLookupTableDescriptor GreenPaletteColorLookupTableDescriptor BluePaletteColorLookupTableDescriptor "
    "RedPaletteColorLookupTableData GreenPaletteColorLookupTableData BluePaletteColorLookupTableData "
    "FloatPixelData DoubleFloatPixelData PixelData "
)
_NEEDED = _TAGS.split()
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_PALETTE = "PALETTE COLOR"
_READ = (*GREYS, _PALETTE, *_COLOUR)
#: Elements that hold pixels, and the bits of one sample where these are no integers.
_FLOATS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}
_PATIENT_ID = 0x00100020
_RLE = "1.2.840.10008.1.2.5"
_JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
#: In the order they are tried: the first that is installed and can decode the image.
_PLUGINS = ("pydicom", "pillow", "pylibjpeg", "pyjpegls", "gdcm")
#: What to install for syntaxes that neither pydicom nor Pillow decodes.
_PACKAGE = {"1.2.840.10008.1.2.4.80": "pyjpegls", "1.2.840.10008.1.2.4.81": "pyjpegls"} | dict.fromkeys(
    JPEG_2000, "pylibjpeg pylibjpeg-openjpeg"
)


def header(file: BinaryIO) -> Header:
    """What the data set says; its pixels are not read."""
    dataset, _ = _read(file, pixels=False)
    mode, bits = str(dataset.PhotometricInterpretation), int(dataset.get("BitsStored") or dataset.BitsAllocated)
    return Header("DICOM", int(dataset.Columns), int(dataset.Rows), mode, bits)


def decode(data: bytes, scaled: Scaled | None, grey: int = GREY, color: str = GRAY) -> np.ndarray:
    """(h, w) uint8, air black, in colour (h, w, 3) of what is not grey: see dicom_grey.

    PatientOrientation and PixelAspectRatio are not applied.
    """
    dataset, syntax = _read(io.BytesIO(data), pixels=True)
    raw = _samples(dataset, syntax, data)
    if raw.ndim == 3:
        levels = _of_colour(dataset, raw, color)
    elif raw.dtype.kind == "f":
        levels = grey_levels(dataset, raw, None, grey)
    else:
        samples = stored_samples(dataset, raw)
        if dataset.PhotometricInterpretation == _PALETTE:
            levels = _of_palette(dataset, samples, color)
        else:
            padded = padding(dataset, raw, samples)
            if bits_cut_off(dataset, raw, samples, padded):
                _say_once(
                    f"samples have more than the {dataset.BitsStored} bits that BitsStored says: they are cut off"
                )
            levels = grey_levels(dataset, samples, padded if grey > 1 else None, grey)
    image = Image.fromarray(levels)
    return np.asarray(resized(image, scaled(*image.size) if scaled is not None else None, grey))


@functools.cache
def _say_once(what: str) -> None:
    """A warning to standard error, once a process: a set of such images has thousands."""
    logging.getLogger("thorax").warning("warning: a DICOM image's %s (said once a process)", what)


def _of_colour(dataset: Any, samples: np.ndarray, color: str) -> np.ndarray:
    if samples.dtype == np.uint8:
        return _of_8_bits(samples, color)
    return colour_levels(samples & ((1 << int(dataset.BitsStored)) - 1), int(dataset.BitsStored), color)


def _of_8_bits(samples: np.ndarray, color: str) -> np.ndarray:
    return samples if color == RGB else np.asarray(Image.fromarray(samples).convert("L"))


def _of_palette(dataset: Any, samples: np.ndarray, color: str) -> np.ndarray:
    from pydicom.pixels.processing import apply_color_lut

    if "RedPaletteColorLookupTableData" not in dataset:
        raise UnsupportedImage("its palette is not there, or in segments, which are not read")
    colours = np.asarray(apply_color_lut(samples, dataset))[..., :3]
    if colours.dtype == np.uint8:
        return _of_8_bits(np.ascontiguousarray(colours), color)
    return colour_levels(colours, 16, color)


@functools.cache
def _pydicom() -> Any:
    """pydicom, without its warnings about values that break the standard."""
    try:
        import pydicom
    except ImportError:
        raise NotInstalled("DICOM needs a package that is not installed; pip install pydicom") from None
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    warnings.filterwarnings("ignore", module=r"pydicom\b")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    return pydicom


class _Bounded:
    """A file that counts its reads: pydicom needs one or more for each element, and MAX_ELEMENTS are allowed."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.left = file, 4 * MAX_ELEMENTS
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise UnsupportedImage(f"it has more than {MAX_ELEMENTS} elements")
        return self.file.read(min(size, MAX_BYTES) if size >= 0 else -1)


def patient(file: BinaryIO) -> str:
    """The PatientID, or ""; little more than what comes before it is read.

    Raises:
        UnsupportedImage, NotInstalled, or what pydicom raises for damaged files.
    """
    bounded, _ = _opened(file)
    dataset = _pydicom().filereader.read_partial(
        bounded, stop_when=lambda tag, vr, length: tag > _PATIENT_ID, specific_tags=[_PATIENT_ID]
    )
    return str(dataset.get("PatientID") or "").strip(" \0")


def _opened(file: BinaryIO, pixel_bytes: int = 0) -> tuple[_Bounded, Any]:
    """The file at its start, and its transfer syntax, for which a decoder is installed.

    A data set without preamble gets one, a deflated one is inflated: its header, and `pixel_bytes` more.
    """
    pydicom, file = _pydicom(), with_preamble(file)
    bounded = _Bounded(file)
    bounded.seek(132)
    meta = pydicom.filereader.read_dataset(bounded, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    syntax = meta.get("TransferSyntaxUID")
    if not syntax:
        raise UnsupportedImage("it names no transfer syntax")
    if syntax == DEFLATED:
        bounded.file = inflated(file, file.tell(), pixel_bytes)
        bounded.seek, bounded.tell = bounded.file.seek, bounded.file.tell
        syntax = pydicom.uid.UID(EXPLICIT)
    _available(syntax)
    bounded.seek(0)
    return bounded, syntax


def _read(file: BinaryIO, pixels: bool) -> tuple[Any, str]:
    """The data set, checked as far as its header goes, and its transfer syntax."""
    bounded, syntax = _opened(file)
    if pixels and bounded.file is not file:  # a copy, of a deflated file without its pixels
        dataset = _pydicom().dcmread(bounded, stop_before_pixels=True, specific_tags=_NEEDED)
        _check(dataset)
        samples = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("SamplesPerPixel") or 1)
        bounded, syntax = _opened(file, samples * int(dataset.BitsAllocated) // 8 + 1)
    dataset = _pydicom().dcmread(bounded, stop_before_pixels=not pixels, specific_tags=_NEEDED)
    _check(dataset)
    if pixels and not any(keyword in dataset for keyword in ("PixelData", *_FLOATS)):
        raise UnsupportedImage("it has no pixels (PixelData)")
    return dataset, str(syntax)


def _available(syntax: Any) -> Any:
    """pydicom's decoder of a transfer syntax.

    Raises:
        UnsupportedImage: pydicom knows none.
        NotInstalled: it needs a package that is not installed.
    """
    from pydicom.pixels.decoders.base import get_decoder

    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise UnsupportedImage(f"its transfer syntax {syntax.name} ({syntax}) holds no image that is read") from None
    if not decoder.is_available:
        raise NotInstalled(
            f"its transfer syntax {syntax.name} ({syntax}) needs a decoder; pip install"
            f" {_PACKAGE.get(syntax, 'python-gdcm')}"
        )
    return decoder


def _check(dataset: Any) -> None:
    for keyword in ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation"):
        if dataset.get(keyword) in (None, ""):
            raise UnsupportedImage(f"it has no {keyword}: not an image")
    check_size(int(dataset.Columns), int(dataset.Rows))
    if (frames := int(dataset.get("NumberOfFrames") or 1)) > 1:
        raise UnsupportedImage(f"it has {frames} frames; write each as a file of its own")
    kind, channels = str(dataset.PhotometricInterpretation), int(dataset.get("SamplesPerPixel") or 1)
    if kind not in _READ:
        raise UnsupportedImage(f"its photometric interpretation {kind} is not read; {', '.join(_READ)} are")
    allocated, stored = int(dataset.BitsAllocated), dataset.get("BitsStored")
    wide = kind == "RGB" and allocated == 16
    if channels != (3 if kind in _COLOUR else 1) or (channels == 3 and allocated != 8 and not wide):
        raise UnsupportedImage(f"it has {channels} samples of {allocated} bits a pixel, which {kind} has not")
    if stored in (None, ""):
        if allocated not in _FLOATS.values():  # floats have no BitsStored
            raise UnsupportedImage("it has no BitsStored: not an image")
        return
    if allocated not in (1, 8, 16, 32) or not 1 <= stored <= allocated:
        raise UnsupportedImage(
            f"it has {stored} of {allocated} bits a sample (BitsStored, BitsAllocated); 1, 8, 16 and 32 are read"
        )
    if not stored - 1 <= int(dataset.get("HighBit", stored - 1)) < allocated:
        raise UnsupportedImage(
            f"it has HighBit {dataset.HighBit} with {stored} of {allocated} bits stored; {stored - 1} to"
            f" {allocated - 1} can be"
        )


def _samples(dataset: Any, syntax: str, data: bytes) -> np.ndarray:
    """(h, w) integers as they lie in the file, or floats, or (h, w, 3) uint8 or uint16 RGB."""
    pydicom = _pydicom()
    uid = pydicom.uid.UID(syntax)
    decoder, shape = _available(uid), (int(dataset.Rows), int(dataset.Columns))
    if not uid.is_encapsulated and dataset.get("BitsStored") and int(dataset.BitsAllocated) > 1:
        bits, dataset.BitsStored = dataset.BitsStored, dataset.BitsAllocated  # all bits: stored_samples cuts them
        try:
            samples, about = decoder.as_array(dataset, index=0)
        finally:
            dataset.BitsStored = bits
        return _fitting(samples, str(about["photometric_interpretation"]), shape)
    if uid.is_encapsulated:
        if int(dataset.get("HighBit", dataset.BitsStored - 1)) != dataset.BitsStored - 1:
            raise UnsupportedImage(
                f"it has HighBit {dataset.HighBit} with {dataset.BitsStored} bits stored in a compressed image;"
                f" {dataset.BitsStored - 1} is expected"
            )
        frame = pydicom.encaps.get_frame(dataset.PixelData, 0, number_of_frames=1)
        if syntax == _RLE:
            check_rle(frame, shape[0] * shape[1])
        else:
            dataset.PixelData = pydicom.encaps.encapsulate([checked_stream(frame, dataset, syntax)])
    plugins = [p for p in _PLUGINS if p in decoder.available_plugins] if uid.is_encapsulated else [""]
    if syntax == _JPEG_EXTENDED and int(dataset.BitsStored) > 8:  # Pillow and GDCM decode 8 bits
        plugins = [p for p in plugins if p == "pylibjpeg"]
        if not plugins:
            raise NotInstalled(
                f"its transfer syntax {uid.name} with {dataset.BitsStored} bits needs a decoder; pip install pylibjpeg"
                " pylibjpeg-libjpeg (GPL)"
            )
    for plugin in plugins:
        try:
            if plugin == "gdcm":
                samples, kind = decoder_process.decode_with_gdcm(data)
            else:
                samples, about = decoder.as_array(dataset, index=0, decoding_plugin=plugin)
                kind = about["photometric_interpretation"]
            break
        except RuntimeError as error:
            if plugin == plugins[-1]:
                raise UnsupportedImage(str(error).strip().splitlines()[-1].strip()) from None
    return _fitting(samples, str(kind), shape)


def _fitting(samples: np.ndarray, kind: str, shape: tuple[int, int]) -> np.ndarray:
    """The samples, in this machine's order of bytes; raises UnsupportedImage where the header says otherwise."""
    grey = samples.ndim == 2 and (samples.dtype.kind == "f" or samples.dtype.itemsize <= 4)
    colour = samples.shape[2:] == (3,) and samples.dtype in (np.uint8, np.uint16) and kind == "RGB"
    if samples.shape[:2] != shape or not (grey or colour):
        raise UnsupportedImage(f"its pixels are {samples.dtype} of shape {samples.shape}, its header says otherwise")
    return np.ascontiguousarray(samples, samples.dtype.newbyteorder("="))


def by_plugin(data: bytes, plugin: str) -> tuple[np.ndarray, str]:
    """The samples of a whole file by one plugin, and their photometric interpretation."""
    dataset, syntax = _read(io.BytesIO(data), pixels=True)
    frame = _pydicom().encaps.get_frame(dataset.PixelData, 0, number_of_frames=1)
    dataset.PixelData = _pydicom().encaps.encapsulate([checked_stream(frame, dataset, syntax)])
    samples, about = _available(_pydicom().uid.UID(syntax)).as_array(dataset, index=0, decoding_plugin=plugin)
    return samples, str(about["photometric_interpretation"])


DICOM = ImageFormat(
    "DICOM",
    (b"DICM",),
    (".dcm", ".dicom", ".dic", ".ima"),
    "application/dicom",
    header,
    decode,
    offset=128,
    earlier=partial(decode, grey=1),
    resembles=resembles_dicom,
    colored=partial(decode, color=RGB),
)
