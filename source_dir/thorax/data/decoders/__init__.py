"""Any image to one grey channel of 8 bits. What a file is, its content tells: never its name."""

from __future__ import annotations

import importlib
import io
import stat
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from thorax.data.decoders.limits import (
    MAX_BYTES,
    MAX_PIXELS,
    DecodeError,
    DecoderMissing,
    Header,
    NotInstalled,
    Scaled,
    UnsupportedImage,
)
from thorax.data.source import ByteRange, Source
from thorax.errors import ThoraxError

__all__ = [
    "EXTENSIONS",
    "FORMATS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "DecodeError",
    "DecoderMissing",
    "Header",
    "decode",
    "dicom_patient",
    "header",
    "is_image",
]

FORMATS = ("JPEG", "PNG", "TIFF", "DICOM", "PGM")
EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".dcm", ".dicom", ".pgm"})
_DECODERS = {"JPEG": "raster", "PNG": "raster", "TIFF": "tiff", "DICOM": "dicom", "PGM": "pgm"}
#: Bytes that hold the header of nearly every image.
HEAD = 2**16
_FIRST = 132
_DICOM_MARK = b"DICM"
_STARTS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"P5\n": "PGM",
    b"P5 ": "PGM",
}
_OTHERS = {
    b"PK": "a ZIP archive",
    b"GIF8": "a GIF",
    b"BM": "a BMP",
    b"\x1f\x8b": "a gzip file",
    b"%PDF": "a PDF",
    b"\x80": "a Python pickle",
    b"<": "HTML or XML",
    b"RIFF": "a WebP or another RIFF file",
    b"\0\0\0\x0cjP": "a JPEG 2000 file outside DICOM",
    b"\xff\x4f\xff\x51": "a JPEG 2000 stream",
    b"SIMPLE": "a FITS file",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
}


def decode(source: Source | bytes, name: str, scaled: Scaled | None = None) -> np.ndarray:
    """One grey image.

    JPEG and PNG of any mode, TIFF of one page, DICOM of one frame, binary PGM. Images of 8 bits keep their grey levels;
    of more bits
    see `limits.full_scale`; DICOM see `dicom`. A smaller size is made with an antialiasing bilinear filter.

    Args:
        source: a path, a stretch of a larger file, or the bytes of the image.
        name: what to call the image in errors.
        scaled: maps (width, height) to the wanted (width, height); None keeps the image's own size.

    Returns:
        (h, w) uint8: 0 black to 255 white.

    Raises:
        DecodeError: empty, none of FORMATS, damaged, cut short, or larger than MAX_PIXELS or MAX_BYTES.
        DecoderMissing: a package that this image needs is not installed.
    """
    kind = ""
    try:
        data = _bytes(source)
        kind = _kind(data[:_FIRST])
        image: np.ndarray = _decoder(kind).decode(data, scaled)
        return image
    except (
        Exception
    ) as error:  # Pillow and pydicom raise OSError, SyntaxError, ValueError, struct.error ... for damaged files
        raise _told(name, kind, error) from None


def header(source: Source | bytes, name: str) -> Header:
    """What the first bytes of an image tell; its pixels are not read.

    Raises:
        DecodeError: as decode, as far as the first bytes show it.
    """
    if isinstance(source, ByteRange) and source.size > HEAD:
        try:
            return header(source.head(HEAD), name)
        except ThoraxError:
            pass  # a header of more than HEAD bytes, or an image that is damaged: its whole tells
    kind = ""
    try:
        with _open(source) as file:
            kind = _kind(file.read(_FIRST))
            file.seek(0)
            told: Header = _decoder(kind).header(file)
            return told
    except Exception as error:
        raise _told(name, kind, error) from None


def dicom_patient(source: Source) -> str | None:
    """The PatientID in the header of a DICOM image ("" without one, or where it cannot be read).

    None where the image is none.
    """
    for size in (HEAD, source.size) if isinstance(source, ByteRange) else (0,):
        try:
            with _open(source.head(size) if isinstance(source, ByteRange) else source) as file:
                if not file.read(_FIRST).endswith(_DICOM_MARK):
                    return None
                number = str(_decoder("DICOM").patient(file))
                if number or file.tell() < HEAD:  # else the header is longer
                    return number
        except Exception:  # whoever decodes the image tells what is wrong with it
            pass
    return ""


def is_image(path: Path) -> bool:
    """Whether a file in a folder is taken for an image.

    By its ending, or without one (as PACS write DICOM) by its content.
    """
    if path.suffix.lower() in EXTENSIONS:
        return True
    if path.suffix and not path.suffix[1:].isdigit():  # a UID for a name ends in .123
        return False
    try:
        with path.open("rb") as file:
            return file.read(_FIRST).endswith(_DICOM_MARK)
    except OSError:
        return False


def _decoder(kind: str):  # type: ignore[no-untyped-def]  # a module of this package
    return importlib.import_module(f"thorax.data.decoders.{_DECODERS[kind]}")


def _kind(first: bytes) -> str:
    if not first:
        raise UnsupportedImage("the file is empty (0 bytes)")
    if first[128:].startswith(_DICOM_MARK):
        return "DICOM"
    for start, kind in _STARTS.items():
        if first.startswith(start):
            return kind
    looks = next((f" (it looks like {what})" for start, what in _OTHERS.items() if first.startswith(start)), "")
    raise UnsupportedImage(f"its content is neither JPEG, PNG, TIFF nor DICOM{looks}")


def _open(source: Source | bytes) -> BinaryIO:
    if isinstance(source, Path):
        about = source.stat()
        if not stat.S_ISREG(about.st_mode):
            raise UnsupportedImage("it is not a file")
        _check_bytes(about.st_size)
        return source.open("rb")
    return io.BytesIO(source.read() if isinstance(source, ByteRange) else source)


def _bytes(source: Source | bytes) -> bytes:
    if isinstance(source, Path):
        with _open(source) as file:
            return file.read()
    data = source.read() if isinstance(source, ByteRange) else source
    _check_bytes(len(data))
    return data


def _check_bytes(size: int) -> None:
    if size > MAX_BYTES:
        raise UnsupportedImage(f"it has {size} bytes, more than the {MAX_BYTES} that are read")


def _told(name: str, kind: str, error: Exception) -> DecodeError:
    """The one line about an image that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return DecodeError(f"{name} does not exist")
    if isinstance(error, ThoraxError):  # from ByteRange; it names the place
        return DecodeError(str(error))
    if isinstance(error, Image.DecompressionBombError):
        reason = f"it claims more than the {MAX_PIXELS} pixels that are read"
    elif isinstance(error, UnidentifiedImageError):
        reason = "it is damaged, cut short or of a kind that is not read"
    elif isinstance(error, MemoryError):
        reason = "there is not enough memory for it"
    else:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        reason = said.strip().splitlines()[0] if said.strip() else type(error).__name__
    missing = isinstance(error, NotInstalled)
    return (DecoderMissing if missing else DecodeError)(
        f"{name} cannot be read{f' as {kind}' if kind else ''}: {reason}"
    )
