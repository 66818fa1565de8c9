"""Whose image is it? Patients read from the file names of public sets, and from the headers of DICOM images."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path, PurePath

from thorax.data.decoders import EXTENSIONS, dicom_patient
from thorax.data.recordio import SplitRecord
from thorax.data.source import ByteRange

#: Kaggle "Chest X-Ray Images (Pneumonia)" and NIH ChestX-ray14. The first group is the patient.
PATTERNS = (
    re.compile(r"^(person\d+)_"),
    re.compile(r"^((?:NORMAL2-)?IM-\d+)(?=[-.])"),
    re.compile(r"^(\d{8})_\d{3}(?=\.)"),
)
#: Headers read at once: a folder in S3 (FastFile) answers each in tens of milliseconds.
READERS = 16


def patient_of(image: str) -> str:
    """The patient that a file name tells, else the image's own id: then each image is taken for one patient.

    Args:
        image: path or name, such as "PNEUMONIA/person12_bacteria_46.jpeg".
    """
    name = PurePath(image).name
    for pattern in PATTERNS:
        if found := pattern.match(name):
            return found.group(1)
    return image


def patients_of(images: Sequence[str], places: Sequence[str | ByteRange]) -> list[str]:
    """As `patient_of`; where a name tells nothing and the image is DICOM, a hash of its PatientID.

    The hash, since bundles travel and the number of a patient should not. A PatientID that is blank, or the same in all
    of
    several images (which no patient is, but a careless anonymiser), tells nothing.

    Args:
        images: ids.
        places: the path of each, or its stretch of a larger file.
    """
    patients = [patient_of(image) for image in images]
    asked = _may_be_dicom([k for k, image in enumerate(images) if patients[k] == image], places)
    if not asked:
        return patients
    with ThreadPoolExecutor(READERS) as pool:
        told = dict(zip(asked, pool.map(lambda k: _header_patient(places[k]), asked), strict=True))
    dicom = {k: number for k, number in told.items() if number is not None}
    if len(dicom) == 1 or len({number for number in dicom.values() if number}) > 1:
        for k, number in dicom.items():
            patients[k] = f"dicom-{hashlib.sha256(number.encode()).hexdigest()[:16]}" if number else images[k]
    return patients


def _header_patient(place: str | ByteRange) -> str | None:
    return dicom_patient(place if isinstance(place, ByteRange) else Path(place))


def _may_be_dicom(images: list[int], places: Sequence[str | ByteRange]) -> list[int]:
    """Those of the images that are named as DICOM is, or by no kind.

    Of images in larger files those that begin as DICOM does.
    """
    asked = [
        k
        for k in images
        if isinstance(place := places[k], str) and PurePath(place).suffix.lower() not in EXTENSIONS - {".dcm", ".dicom"}
    ]
    ranges = [(k, place) for k in images if isinstance(place := places[k], ByteRange)]
    for path, mine in groupby(
        ranges, key=lambda image: image[1].path
    ):  # each file is opened once: it may hold millions
        with path.open("rb", buffering=0) as file:
            asked += [
                k
                for k, place in mine
                if isinstance(place, SplitRecord) or os.pread(file.fileno(), 4, place.offset + 128) == b"DICM"
            ]
    return asked
