"""Any image to one grey channel of 8 bits, or to RGB. The format of a file is found by its content, not by its name."""

from __future__ import annotations

import io
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from thorax.data.decoders import dicom
from thorax.data.decoders.dicom import DICOM
from thorax.data.decoders.dicom_file import WITHOUT_PREAMBLE
from thorax.data.decoders.limits import (
    FIRST,
    GRAY,
    GREY,
    IMAGE_FORMATS,
    MAX_BYTES,
    MAX_PIXELS,
    RGB,
    DecodeError,
    DecoderMissing,
    Header,
    ImageFormat,
    NotInstalled,
    Scaled,
    UnsupportedImage,
    stacked,
)
from thorax.data.decoders.pgm import PGM, PPM
from thorax.data.decoders.plain_raster import BMP, GIF, JPEG_2000, WEBP
from thorax.data.decoders.raster import JPEG, PNG
from thorax.data.decoders.tiff import TIFF
from thorax.data.source import ByteRange, Source
from thorax.errors import ThoraxError

__all__ = [
    "EXTENSIONS",
    "GRAY",
    "GREY",
    "IMAGE_FORMATS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "RGB",
    "DecodeError",
    "DecoderMissing",
    "Header",
    "ImageFormat",
    "content_types",
    "decode",
    "dicom_patient",
    "format_of",
    "header",
    "is_image",
    "kinds",
    "page_kinds",
]

for _entry in (JPEG, PNG, TIFF, DICOM, PGM, PPM, BMP, GIF, WEBP, JPEG_2000):
    IMAGE_FORMATS.register(_entry.name, _entry)

#: Endings of files that are never opened in search of images: texts, tables, archives, arrays, copies.
_TEXTS = ".txt .md .rst .csv .tsv .json .jsonl .xml .html .htm .pdf .doc .docx .xls .xlsx .ods .py .ipynb .yaml .yml"
_DATA = ".toml .ini .cfg .log .db .sqlite .zip .gz .bz2 .xz .tar .tgz .7z .rar .npy .npz .pkl .pt .pth .h5 .hdf5 .mat"
_OTHER = ".nii .mha .mhd .parquet .lst .rec .idx .manifest .sh .bat .exe .lnk .url .mp4 .avi .mov .sha256 .md5"
_COPIES = ".bak .old .orig .tmp .part .partial .crdownload .download .swp"
NOT_IMAGES = frozenset(f"{_TEXTS} {_DATA} {_OTHER} {_COPIES}".split())
#: Bytes that hold the header of nearly every image.
HEAD = 2**16
_OTHERS = {
    b"PK": "a ZIP archive",
    b"\x1f\x8b": "a gzip file",
    b"%PDF": "a PDF",
    b"\x80": "a Python pickle",
    b"<": "HTML or XML",
    b"RIFF": "a RIFF file, such as a sound or a video",
    b"SIMPLE": "a FITS file",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
}


class _Endings(Collection[str]):
    """Endings of all formats that are registered now, in lower case with the dot."""

    def __contains__(self, ending: object) -> bool:
        return any(ending in IMAGE_FORMATS[name].endings for name in IMAGE_FORMATS)

    def __iter__(self) -> Iterator[str]:
        return (ending for name in IMAGE_FORMATS for ending in IMAGE_FORMATS[name].endings)

    def __len__(self) -> int:
        return sum(1 for _ in self)


EXTENSIONS = _Endings()


def content_types() -> tuple[str, ...]:
    """The content types of requests that send one image file, one a format."""
    return tuple(IMAGE_FORMATS[name].content_type for name in IMAGE_FORMATS)


def kinds(word: str = "or") -> str:
    """The names of all formats, for errors: "JPEG, PNG ... or DICOM"; DICOM is the last of them."""
    *others, last = sorted(IMAGE_FORMATS, key=DICOM.name.__eq__)
    return f"{', '.join(others)} {word} {last}"


def page_kinds() -> list[dict[str, object]]:
    """What the web page and its Lambda know of each format: name, content type, endings, and the marks at the beginning
    of a file as (offset, hex bytes). Of several that fit the last one counts. DICOM is the last; its marks are also
    those of files without a preamble: whether such a file is one, the server finds out."""
    found: list[dict[str, object]] = []
    for name in sorted(IMAGE_FORMATS, key=DICOM.name.__eq__):
        entry = IMAGE_FORMATS[name]
        marks = [(entry.offset, mark.hex()) for mark in entry.magic]
        marks += [(0, start.hex()) for start in WITHOUT_PREAMBLE if entry is DICOM]
        about = {"name": name, "content_type": entry.content_type, "endings": list(entry.endings)}
        found.append({**about, "marks": marks})
    return found


def format_of(first: bytes) -> ImageFormat | None:
    """The format of a file that begins with these bytes (FIRST of them); None where it is none of IMAGE_FORMATS.

    Of several the one with its mark furthest in: the free 128 bytes before DICOM's may begin like another format.
    """
    found = [entry for name in IMAGE_FORMATS if (entry := IMAGE_FORMATS[name]).matches(first)]
    if found:
        return max(found, key=lambda entry: entry.offset)
    without = (IMAGE_FORMATS[name] for name in IMAGE_FORMATS)
    return next((entry for entry in without if entry.resembles is not None and entry.resembles(first)), None)


def decode(
    source: Source | bytes, name: str, scaled: Scaled | None = None, grey: int = GREY, color: str = GRAY
) -> np.ndarray:
    """One grey or RGB image.

    JPEG and PNG of any mode, TIFF of one page, DICOM of one frame, BMP, GIF, WebP and JPEG 2000 of one picture, binary
    PGM and PPM. Images of 8 bits keep their grey levels; for more bits see `limits.full_scale`, for DICOM see
    `dicom_grey`. A smaller size is made with an antialiasing bilinear filter.

    Args:
        source: a path, a stretch of a larger file, or the bytes of the image.
        name: what to call the image in errors.
        scaled: maps (width, height) to the wanted (width, height); None keeps the image's own size.
        grey: the rules of a stored bundle, see limits.GREY; for colour there is one set of rules.
        color: GRAY or RGB. A grey image has its levels in all three channels of RGB.

    Returns:
        (h, w) uint8: 0 black to 255 white; in RGB (h, w, 3).

    Raises:
        DecodeError: empty, none of IMAGE_FORMATS, damaged, cut short, or larger than MAX_PIXELS or MAX_BYTES.
        DecoderMissing: a package that this image needs is not installed.
    """
    kind = None
    try:
        data = _bytes(source)
        kind = _known_format(data[:FIRST])
        image = kind.by_rules(grey, color)(data, scaled)
        return stacked(image) if color == RGB else image
    except Exception as error:  # for damaged files Pillow and pydicom raise OSError, SyntaxError, struct.error ...
        raise _decode_error(name, kind, error) from None


def header(source: Source | bytes, name: str) -> Header:
    """What the first bytes of an image say; its pixels are not read.

    Raises:
        DecodeError: as decode, as far as the first bytes show it.
    """
    if isinstance(source, ByteRange) and source.size > HEAD:
        try:
            return header(source.head(HEAD), name)
        except ThoraxError:
            pass  # a header of more than HEAD bytes, or a damaged image: read the whole
    kind = None
    try:
        with _open(source) as file:
            kind = _known_format(file.read(FIRST))
            file.seek(0)
            return kind.header(file)
    except Exception as error:
        raise _decode_error(name, kind, error) from None


def dicom_patient(source: Source) -> str | None:
    """The PatientID in the header of a DICOM image, "" without one or where it cannot be read; None: no DICOM."""
    for size in (HEAD, source.size) if isinstance(source, ByteRange) else (0,):
        try:
            with _open(source.head(size) if isinstance(source, ByteRange) else source) as file:
                if format_of(file.read(FIRST)) is not DICOM:
                    return None
                number = dicom.patient(file)
                if number or file.tell() < HEAD:  # else the header is longer
                    return number
        except Exception:  # decoding the image gives the reason
            pass
    return ""


def is_image(path: Path) -> bool:
    """Whether a file in a folder counts as an image: by the ending of one, else by its content.

    PACS write DICOM without an ending or with one of their own. Texts, tables, archives and half or old copies
    (`NOT_IMAGES`) are not opened.
    """
    ending = path.suffix.lower()
    if ending in EXTENSIONS:
        return True
    if ending in NOT_IMAGES or path.name.endswith("~"):
        return False
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would wait for ever
            return False
        with path.open("rb") as file:
            return format_of(file.read(FIRST)) is not None
    except OSError:
        return False


def _known_format(first: bytes) -> ImageFormat:
    if not first:
        raise UnsupportedImage("the file is empty (0 bytes)")
    if (found := format_of(first)) is None:
        looks = next((f" (it looks like {what})" for start, what in _OTHERS.items() if first.startswith(start)), "")
        raise UnsupportedImage(f"its content is neither {kinds('nor')}{looks}")
    return found


def _open(source: Source | bytes) -> BinaryIO:
    if isinstance(source, Path):
        status = source.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UnsupportedImage("it is not a file")
        _check_bytes(status.st_size)
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


def _decode_error(name: str, kind: ImageFormat | None, error: Exception) -> DecodeError:
    """The error with its one line for the user."""
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
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        reason = text.strip().splitlines()[0] if text.strip() else type(error).__name__
    of_kind = f" as {kind.name}" if kind else ""
    cls = DecoderMissing if isinstance(error, NotInstalled) else DecodeError
    return cls(f"{name} cannot be read{of_kind}: {reason}")
