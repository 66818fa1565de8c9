"""DICOM with one frame, by pydicom: stored samples -> modality LUT or rescale -> VOI LUT or window -> grey levels.

With at most 16 bits a sample, the whole way from sample to grey level is one table of at most 65,536 entries.
"""

from __future__ import annotations

import functools
import io
import logging
import struct
import warnings
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from thorax.data.decoders import decoder_process
from thorax.data.decoders.limits import (
    MAX_BYTES,
    Header,
    ImageFormat,
    NotInstalled,
    Scaled,
    UnsupportedImage,
    check_size,
    full_scale,
    resized,
)

#: Elements of the largest header; real ones have some hundreds.
MAX_ELEMENTS = 100_000
_TAGS = (
    "BitsAllocated BitsStored Columns HighBit NumberOfFrames PhotometricInterpretation PixelRepresentation "
    "PlanarConfiguration Rows SamplesPerPixel ModalityLUTSequence RescaleIntercept RescaleSlope VOILUTFunction "
    "VOILUTSequence WindowCenter WindowWidth PixelData "
)
_NEEDED = _TAGS.split()
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_PATIENT_ID = 0x00100020
_DEFLATED = "1.2.840.10008.1.2.1.99"
_RLE = "1.2.840.10008.1.2.5"
_JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
_JPEG_2000 = tuple(f"1.2.840.10008.1.2.4.{k}" for k in (90, 91, 201, 202, 203))
#: In the order they are tried: the first that is installed and can decode the image.
_PLUGINS = ("pydicom", "pillow", "pylibjpeg", "pyjpegls", "gdcm")
#: What to install for syntaxes that neither pydicom nor Pillow decodes.
_PACKAGE = {"1.2.840.10008.1.2.4.80": "pyjpegls", "1.2.840.10008.1.2.4.81": "pyjpegls"} | dict.fromkeys(
    _JPEG_2000, "pylibjpeg pylibjpeg-openjpeg"
)


def header(file: BinaryIO) -> Header:
    """What the data set says; its pixels are not read."""
    dataset, _ = _read(file, pixels=False)
    mode, bits = str(dataset.PhotometricInterpretation), int(dataset.BitsStored)
    return Header("DICOM", int(dataset.Columns), int(dataset.Rows), mode, bits)


def decode(data: bytes, scaled: Scaled | None) -> np.ndarray:
    """(h, w) uint8, air black: MONOCHROME1 is inverted. PatientOrientation and PixelAspectRatio are not applied."""
    dataset, syntax = _read(io.BytesIO(data), pixels=True)
    samples = _samples(dataset, syntax, data)
    if samples.ndim == 3:
        grey = Image.fromarray(samples).convert("L")
    else:
        grey = Image.fromarray(_table(dataset, samples)[samples.view(f"u{samples.dtype.itemsize}")])
    return np.asarray(resized(grey, scaled(*grey.size) if scaled is not None else None))


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


def _opened(file: BinaryIO) -> tuple[_Bounded, Any]:
    """The file at its start, and its transfer syntax, for which a decoder is installed."""
    pydicom, bounded = _pydicom(), _Bounded(file)
    bounded.seek(132)
    meta = pydicom.filereader.read_dataset(bounded, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    syntax = meta.get("TransferSyntaxUID")
    if not syntax:
        raise UnsupportedImage("it names no transfer syntax")
    if syntax == _DEFLATED:
        raise UnsupportedImage(
            "its transfer syntax Deflated Explicit VR Little Endian is not read; decompress it, for example with"
            " dcmconv --write-xfer-little"
        )
    _available(syntax)
    bounded.seek(0)
    return bounded, syntax


def _read(file: BinaryIO, pixels: bool) -> tuple[Any, str]:
    """The data set, checked as far as its header goes, and its transfer syntax."""
    bounded, syntax = _opened(file)
    dataset = _pydicom().dcmread(bounded, stop_before_pixels=not pixels, specific_tags=_NEEDED)
    _check(dataset)
    if pixels and "PixelData" not in dataset:
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
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "PhotometricInterpretation"):
        if dataset.get(keyword) in (None, ""):
            raise UnsupportedImage(f"it has no {keyword}: not an image")
    check_size(int(dataset.Columns), int(dataset.Rows))
    if (frames := int(dataset.get("NumberOfFrames") or 1)) > 1:
        raise UnsupportedImage(f"it has {frames} frames; write each as a file of its own")
    allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    channels = int(dataset.get("SamplesPerPixel") or 1)
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        raise UnsupportedImage(
            f"it has {stored} of {allocated} bits a sample (BitsStored, BitsAllocated); up to 16 are read"
        )
    if int(dataset.get("HighBit", stored - 1)) != stored - 1:
        raise UnsupportedImage(f"it has HighBit {dataset.HighBit} with {stored} bits stored; {stored - 1} is expected")
    kind = str(dataset.PhotometricInterpretation)
    if kind not in _GREY + _COLOUR:
        raise UnsupportedImage(f"its photometric interpretation {kind} is not read; {', '.join(_GREY + _COLOUR)} are")
    if channels != (1 if kind in _GREY else 3) or (channels == 3 and allocated != 8):
        raise UnsupportedImage(f"it has {channels} samples of {allocated} bits a pixel, which {kind} has not")


def _samples(dataset: Any, syntax: str, data: bytes) -> np.ndarray:
    """(h, w) int8 to uint16 as stored, or (h, w, 3) uint8 RGB."""
    pydicom = _pydicom()
    uid = pydicom.uid.UID(syntax)
    decoder, shape = _available(uid), (int(dataset.Rows), int(dataset.Columns))
    if uid.is_encapsulated:
        frame = pydicom.encaps.get_frame(dataset.PixelData, 0, number_of_frames=1)
        if syntax == _RLE:
            _check_rle(frame, shape[0] * shape[1])
        else:
            dataset.PixelData = pydicom.encaps.encapsulate([_checked_stream(frame, dataset, syntax)])
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
    grey = samples.ndim == 2 and samples.dtype.itemsize <= 2
    if samples.shape[:2] != shape or not (
        grey or (samples.shape[2:] == (3,) and samples.dtype == np.uint8 and kind == "RGB")
    ):
        raise UnsupportedImage(f"its pixels are {samples.dtype} of shape {samples.shape}, its header says otherwise")
    return np.ascontiguousarray(samples, samples.dtype.newbyteorder("="))


def by_plugin(data: bytes, plugin: str) -> tuple[np.ndarray, str]:
    """The samples of a whole file by one plugin, and their photometric interpretation."""
    dataset, syntax = _read(io.BytesIO(data), pixels=True)
    frame = _pydicom().encaps.get_frame(dataset.PixelData, 0, number_of_frames=1)
    dataset.PixelData = _pydicom().encaps.encapsulate([_checked_stream(frame, dataset, syntax)])
    samples, about = _available(_pydicom().uid.UID(syntax)).as_array(dataset, index=0, decoding_plugin=plugin)
    return samples, str(about["photometric_interpretation"])


def _check_rle(frame: bytes, pixels: int) -> None:
    """Raises UnsupportedImage where a segment unpacks to more than a byte a pixel (PS3.5 annex G): pydicom would
    unpack all of it."""
    if len(frame) < 64 or len(frame) > 12 * pixels + 4096:
        raise UnsupportedImage(f"its run lengths take {len(frame)} bytes for {pixels} pixels")
    starts = struct.unpack("<16L", frame[:64])
    ends = [*starts[2 : starts[0] + 1], len(frame)]
    for start, end in zip(starts[1:], ends, strict=False):
        at, unpacked = start, 0
        while at < end and unpacked <= pixels + 256:
            code = frame[at]
            if code > 128:
                at, unpacked = at + 2, unpacked + 257 - code
            elif code < 128:
                at, unpacked = at + 2 + code, unpacked + code + 1
            else:
                at += 1
        if unpacked > pixels + 256:
            raise UnsupportedImage(f"its run lengths unpack to more than {pixels} pixels")


def _checked_stream(frame: bytes, dataset: Any, syntax: str) -> bytes:
    """A JPEG, JPEG-LS or JPEG 2000 stream with the size that the data set says; a JP2 box around it is taken off.

    Markers of ISO/IEC 10918-1 B.1.1 (SOF0..15 without DHT, JPG, DAC; SOF55 of JPEG-LS) and 15444-1 A.5.1.
    """
    claimed: tuple[int, ...] = ()
    if syntax in _JPEG_2000:
        if (start := frame.find(b"\xff\x4f\xff\x51")) >= 0 and len(frame) > start + 43:
            frame = frame[start:]
            right, bottom, left, top = struct.unpack(">4L", frame[8:24])
            claimed = right - left, bottom - top, int.from_bytes(frame[40:42], "big"), (frame[42] & 127) + 1
    else:
        at = 2
        while not claimed and at + 10 <= len(frame) and frame[at] == 0xFF:
            marker, length = frame[at + 1], struct.unpack(">H", frame[at + 2 : at + 4])[0]
            if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
                bits, height, width, samples = struct.unpack(">BHHB", frame[at + 4 : at + 10])
                claimed = width, height, samples, bits
            at += 1 if marker == 0xFF else 2 + length
    if not claimed:
        raise UnsupportedImage("its compressed image has no size")
    wanted = int(dataset.Columns), int(dataset.Rows), int(dataset.SamplesPerPixel)
    if claimed[:3] != wanted:
        raise UnsupportedImage(
            f"its header says {wanted[0]}x{wanted[1]} pixels of {wanted[2]} samples, its compressed image"
            f" {claimed[0]}x{claimed[1]} of {claimed[2]}"
        )
    if not 2 <= claimed[3] <= int(dataset.BitsAllocated):
        raise UnsupportedImage(
            f"its compressed image has {claimed[3]} bits a sample, its header {dataset.BitsAllocated}"
        )
    return frame


def _table(dataset: Any, samples: np.ndarray) -> np.ndarray:
    """(256,) or (65536,) uint8: the grey level of every sample, at the index of its bits read as unsigned."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi

    stored = np.arange(1 << 8 * samples.dtype.itemsize).astype(f"u{samples.dtype.itemsize}").view(samples.dtype)
    values = np.asarray(apply_modality_lut(stored, dataset), np.float64)
    if dataset.get("VOILUTSequence"):
        looked_up = np.asarray(apply_voi(np.rint(values).astype(np.int64), dataset), np.float64)
        share = looked_up / next(white for white in (255, 1023, 4095, 16383, 65535) if looked_up.max() <= white)
    elif (window := _window(dataset)) is not None:
        share = _windowed(values, *window, str(dataset.get("VOILUTFunction") or "LINEAR"))
    else:
        low, high = _range(int(dataset.BitsStored), samples)
        held = values[(stored >= low) & (stored <= high)]
        share = (values - held.min()) / max(held.max() - held.min(), np.finfo(float).tiny)
    if not np.isfinite(share).all():
        raise UnsupportedImage("its rescale slope, intercept or window is no number")
    grey = np.rint(share * 255).clip(0, 255).astype(np.uint8)
    return 255 - grey if dataset.PhotometricInterpretation == "MONOCHROME1" else grey


def _window(dataset: Any) -> tuple[float, float] | None:
    """Centre and width, the first where there are several; None without a usable one."""
    centre, width = (dataset.get(keyword) for keyword in ("WindowCenter", "WindowWidth"))
    centre, width = (
        v[0] if not isinstance(v, float | int | str) and v is not None and len(v) else v for v in (centre, width)
    )
    if centre in (None, "", []) or width in (None, "", []) or not float(width) > 0:
        return None
    return float(centre), float(width)


def _windowed(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    """Shares of white, 0..1: the functions of DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    if function == "SIGMOID":
        share: np.ndarray = 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
        return share
    if function == "LINEAR_EXACT":
        return ((values - centre) / width + 0.5).clip(0, 1)
    if function != "LINEAR":
        raise UnsupportedImage(f"its VOI LUT function {function} is not read; LINEAR, LINEAR_EXACT and SIGMOID are")
    return ((values - (centre - 0.5)) / max(width - 1, 1e-9) + 0.5).clip(0, 1)


def _range(bits: int, samples: np.ndarray) -> tuple[int, int]:
    """The lowest and highest sample of an image without window and LUT: of the stored bits, or, where 16 are stored,
    of the smallest of 8, 10, 12, 14 or 16 bits that holds the image."""
    if samples.dtype.kind == "u":
        return 0, full_scale(samples) if bits == 16 else (1 << bits) - 1
    if bits == 16:
        bits = next(b for b in (8, 10, 12, 14, 16) if -(1 << b - 1) <= samples.min() and samples.max() < 1 << b - 1)
    return -(1 << bits - 1), (1 << bits - 1) - 1


DICOM = ImageFormat(
    "DICOM", (b"DICM",), (".dcm", ".dicom", ".dic", ".ima"), "application/dicom", header, decode, offset=128
)
