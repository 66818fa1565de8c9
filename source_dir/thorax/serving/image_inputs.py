"""Images in every form that a Classifier takes, as a path or as the bytes of a file."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from thorax.data.images import DecodeError
from thorax.errors import ThoraxError

#: The path of an image, the bytes of a file or a file opened in binary, an array as `array_to_png` takes it, a PIL
#: image, a torch.Tensor in the same types and ranges, or a pydicom.Dataset.
ImageInput = Any
#: Modes of PIL images that a PNG holds as they are. Other colours become RGB.
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def as_file(image: ImageInput) -> Path | bytes:
    """The image as a path or as the bytes of a file, so that every form goes the same way from here on.

    Raises:
        DecodeError: nothing that an image can be made of.
    """
    if isinstance(image, str | Path):
        return Path(image)
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, np.ndarray):
        return array_to_png(image)
    if isinstance(image, Image.Image):
        return pil_to_png(image)
    if hasattr(image, "detach") and hasattr(image, "cpu"):
        return array_to_png(_of_tensor(image))
    if hasattr(image, "file_meta") or hasattr(image, "PixelData"):
        return dicom_to_bytes(image)
    if callable(getattr(image, "read", None)) and isinstance(content := image.read(), bytes):
        return content
    raise DecodeError(
        f"{type(image).__name__} is no image; give a path, bytes, an array, a PIL image, a torch.Tensor or a"
        " pydicom.Dataset"
    )


def listed(images: Any) -> list[ImageInput]:
    """The images that a caller gives as a list (any sequence or iterator, or a tensor or array of several), with each
    folder among them replaced by the images below it, sorted; a folder alone is a list too.

    Raises:
        ThoraxError: it is a single image, an array that may be one or several, a set, or a folder holds none.
    """
    if isinstance(images, str | Path) and Path(images).is_dir():
        images = [images]
    if getattr(images, "ndim", 0) == 3 and (images.shape[0] in (1, 3) or images.shape[2] in (1, 3)):
        raise ThoraxError(
            f"an array of shape {tuple(images.shape)} may be one image or several; give [image], or several as"
            " (N, 1, H, W)"
        )
    if not _several(images):
        raise ThoraxError(f"{type(images).__name__} is no list of images; give a list, also of one image")
    found: list[ImageInput] = []
    for image in images:
        if isinstance(image, str | Path) and Path(image).is_dir():
            found += images_below(Path(image))
        else:
            found.append(image)
    return found


def _several(images: Any) -> bool:
    """Whether it is a list, an iterator, or an array of several, and no image by itself; a set has no order."""
    if (dimensions := getattr(images, "ndim", None)) is not None and not hasattr(images, "file_meta"):
        return bool(dimensions in (1, 3, 4))  # one: an array of paths
    single = str, bytes, bytearray, memoryview, Image.Image, Set, Mapping
    marks = "read", "file_meta", "PixelData"
    return (
        isinstance(images, Iterable) and not isinstance(images, single) and not any(hasattr(images, m) for m in marks)
    )


def images_below(folder: Path) -> list[Path]:
    """The images in a folder and below it, sorted by their paths there, as `thorax batch` reads them.

    Raises:
        ThoraxError: there are none.
    """
    from thorax.data.formats.channel import Channel, ReadOptions  # late: servers have no tables to read

    names = sorted(Channel(folder, ReadOptions()).images)
    if not names:
        raise ThoraxError(f"{folder} holds no images")
    return [folder / name for name in names]


def dicom_to_bytes(dataset: Any) -> bytes:
    """A pydicom.Dataset as the bytes of a DICOM file.

    Raises:
        DecodeError: it has no pixels, or cannot be written.
    """
    if not hasattr(dataset, "PixelData"):
        raise DecodeError("a DICOM dataset without PixelData is no image")
    out = io.BytesIO()
    try:
        import pydicom

        if getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None) is None:
            dataset = copy.copy(dataset)
            dataset.file_meta = pydicom.dataset.FileMetaDataset()
            dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        pydicom.dcmwrite(out, dataset, enforce_file_format=False)
    except Exception as error:  # pydicom raises what it likes over a dataset that somebody made
        raise DecodeError(f"the DICOM dataset cannot be written: {' '.join(str(error).split())}") from None
    return out.getvalue()


def _of_tensor(image: Any) -> np.ndarray:
    """A tensor's numbers as an array."""
    array = image.detach().cpu()
    halves = "torch.bfloat16", "torch.float16"
    return np.asarray(array.float().numpy() if str(array.dtype) in halves else array.numpy())


def _channels_last(image: np.ndarray) -> np.ndarray:
    """(H, W) of (H, W), (1, H, W) and (H, W, 1); (H, W, 3) of (H, W, 3) and (3, H, W); any other as it is."""
    if image.ndim == 3 and 1 in (image.shape[0], image.shape[2]):
        return np.asarray(image[0] if image.shape[0] == 1 else image[:, :, 0])
    if image.ndim == 3 and image.shape[0] == 3 and image.shape[2] != 3:
        return np.ascontiguousarray(image.transpose(1, 2, 0))
    return image


def array_to_png(image: np.ndarray) -> bytes:
    """The PNG of one image given as numbers.

    Args:
        image: (H, W), also (1, H, W) or (H, W, 1), or (H, W, 3), also (3, H, W), uint8 in 0..255; or grey uint16, whose
            range its largest value tells as in a file of 16 bits (see decoders.limits.full_scale), or float in 0..1.
            0 is black.

    Raises:
        DecodeError: another shape, type or range, or numbers that are not finite.
    """
    image = _channels_last(image)
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or min(image.shape) < 1:
        raise DecodeError(f"an array of shape {image.shape} is no image; give (H, W), or (H, W, 3) in uint8")
    if image.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            low, high = float(image.min()), float(image.max())
        if not (low >= 0 and high <= 1):  # true for NaN as well
            raise DecodeError(
                f"an array of {image.dtype} must hold numbers in 0..1, found {low:g} to {high:g}; divide by the largest"
                " grey value"
            )
        image = np.rint(image.astype(np.float32) * 255).astype(np.uint8)
    if image.dtype.kind != "u" or image.dtype.itemsize > 2 or (image.ndim == 3 and image.dtype.itemsize > 1):
        raise DecodeError(
            f"an array of {image.dtype} and shape {image.shape} is no image; give uint8, or for grey images uint16 or"
            " float in 0..1"
        )
    return _png(Image.fromarray(np.ascontiguousarray(image, image.dtype.newbyteorder("="))))


def pil_to_png(image: Image.Image) -> bytes:
    """The PNG of a PIL image, turned upright as its EXIF orientation says.

    Raises:
        DecodeError: its pixels are 32-bit numbers, whose white is not known, or its file cannot be read.
    """
    if image.mode in ("F", "I"):
        raise DecodeError(
            f"a PIL image of mode {image.mode} has no fixed range; give an array of uint8, uint16, or float in 0..1"
        )
    try:
        upright = ImageOps.exif_transpose(image)
        return _png(upright if upright.mode in _PNG_MODES else upright.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise DecodeError(f"the PIL image cannot be read: {error}") from None


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=0)
    return out.getvalue()
