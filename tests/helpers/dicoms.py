"""DICOM images for tests, written by pydicom."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)

NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)


def data_set(
    pixels: np.ndarray,
    bits: int = 0,
    photometric: str = "MONOCHROME2",
    syntax: str = ExplicitVRLittleEndian,
    **elements: Any,
) -> Dataset:
    """An image of (h, w) or (h, w, 3) samples, `bits` of them stored.

    `elements` are set as they are, None removes one.
    """
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = SecondaryCaptureImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid(entropy_srcs=["an image"])
    allocated = 8 * pixels.dtype.itemsize
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = allocated, bits or allocated, (bits or allocated) - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    ds.PhotometricInterpretation = photometric
    if pixels.ndim == 3:
        ds.PlanarConfiguration = 0
    content = pixels.astype(pixels.dtype.newbyteorder(">" if syntax == ExplicitVRBigEndian else "<")).tobytes()
    ds.PixelData = content + b"\0" * (len(content) % 2)
    ds["PixelData"].VR = "OW" if allocated > 8 else "OB"
    for keyword, value in elements.items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)
    return ds


def dicom(
    pixels: np.ndarray,
    bits: int = 0,
    photometric: str = "MONOCHROME2",
    syntax: str = ExplicitVRLittleEndian,
    frame: bytes | None = None,
    **elements: Any,
) -> bytes:
    """The bytes of a file; `frame` is the image as compressed by another hand, else pydicom compresses it."""
    if syntax in NATIVE:
        return written(data_set(pixels, bits, photometric, syntax, **elements))
    ds = data_set(pixels, bits, photometric, **elements)
    if frame is None:
        ds.compress(syntax, generate_instance_uid=False)
    else:
        ds.file_meta.TransferSyntaxUID = syntax
        ds.PixelData = encapsulate([frame])
        ds["PixelData"].is_undefined_length = True
    return written(ds)


def written(ds: Dataset) -> bytes:
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def deflated(ds: Dataset) -> bytes:
    """The bytes of a file whose data set is deflated."""
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return written(ds)


def table(values: np.ndarray, first: int = 0, bits: int = 16, kind: str = "VOI") -> Dataset:
    """An item of a VOI or modality LUT sequence."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(values), first, bits])
    item.add_new("LUTData", "US", [int(v) for v in values])
    if kind == "Modality":
        item.ModalityLUTType = "US"
    return item
