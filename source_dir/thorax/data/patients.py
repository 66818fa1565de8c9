"""Patients of images, read from the file names of public sets and from the headers of DICOM images."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path, PurePath

from thorax.data.decoders import EXTENSIONS, dicom_patient, format_of
from thorax.data.decoders.dicom import DICOM
from thorax.data.decoders.limits import FIRST
from thorax.data.formats.names import plain_ids
from thorax.data.recordio import SplitRecord
from thorax.data.source import ByteRange

#: What a column or an attribute with the patient is called, without blanks, "_" and "-"; the first that is there.
PATIENT_NAMES = ("patient", "patientid", "patientno", "patientnumber", "subjectid", "subject", "personid", "pid", "mrn")
#: Folders of one patient each, in the sets that have them: CheXpert, MIMIC-CXR, BIDS (BIMCV), and their kin.
FOLDERS = re.compile(r"(?:patient|subject|person|pat|pid)[ _-]?\d+|sub-[a-z0-9]+|p\d{8}", re.IGNORECASE)
#: Kaggle "Chest X-Ray Images (Pneumonia)", NIH ChestX-ray14, and names that begin as FOLDERS do. The first group is the
#: patient.
PATTERNS = (
    re.compile(r"^(person\d+)_"),
    re.compile(r"^((?:NORMAL2-)?IM-\d+)(?=[-.])"),
    re.compile(r"^(\d{8})_\d{3}(?=\.)"),
    re.compile(r"^(patient\d+|sub-[A-Za-z0-9]+|p\d{8})[_-]"),
)
#: How the line on unknown patients begins.
UNKNOWN = "the patient is not known of"
#: Headers read at once: a folder in S3 (FastFile mode) takes tens of milliseconds for each.
READERS = 16


def patient_of(image: str) -> str:
    """The patient in a folder's or a file's name, else the image's own id: then each image counts as one patient.

    Args:
        image: path or name, such as "PNEUMONIA/person12_bacteria_46.jpeg".
    """
    *folders, name = image.split("/")
    for folder in reversed(folders):
        if FOLDERS.fullmatch(folder):
            return folder
    for pattern in PATTERNS:
        if found := pattern.match(name):
            return found.group(1)
    return image


def patient_column(names: Iterable[str]) -> str:
    """The name that means the patient, whatever its case, blanks, "_" and "-" (`Patient ID`, `patientId`); "" for
    none."""
    plain = {re.sub(r"[\s_-]", "", name).lower(): name for name in reversed(list(dict.fromkeys(names)))}
    return next((plain[known] for known in PATIENT_NAMES if known in plain), "")


def patients_of(images: Sequence[str], places: Sequence[str | ByteRange]) -> list[str]:
    """As `patient_of`; of a DICOM image with no patient in its name, a hash of its PatientID.

    The hash, since bundles travel and the number of a patient should not. A PatientID that is blank, or the same in all
    of several images (no patient then, but a careless anonymiser), is not used.

    Args:
        images: ids.
        places: the path of each, or its stretch of a larger file.
    """
    patients = [patient_of(image) for image in images]
    candidates = _may_be_dicom([k for k, image in enumerate(images) if patients[k] == image], places)
    if not candidates:
        return patients
    with ThreadPoolExecutor(READERS) as pool:
        numbers = dict(zip(candidates, pool.map(lambda k: _header_patient(places[k]), candidates), strict=True))
    dicom = {k: number for k, number in numbers.items() if number is not None}
    if len(dicom) == 1 or len({number for number in dicom.values() if number}) > 1:
        for k, number in dicom.items():
            patients[k] = f"dicom-{hashlib.sha256(number.encode()).hexdigest()[:16]}" if number else images[k]
    return patients


def unknown_patients(images: Sequence[str], patients: Sequence[str]) -> str:
    """One line on the images whose patient nobody knows, which count as patients of their own; "" where there is none.

    Every format gets it from `read_channel`.
    """
    unknown = sum(image == patient for image, patient in zip(images, patients, strict=True))
    if not unknown:
        return ""
    which = f"any of the {len(images):,}" if unknown == len(images) else f"{unknown:,} of the {len(images):,}"
    return (
        f"{UNKNOWN} {which} images (no column, folder, file name or DICOM header tells it): each counts as its own"
        " patient, so images of one person may be in train and in validation; a table with a column patient tells them"
    )


def fill_patients(given: Sequence[str], images: Sequence[str], places: Sequence[str | ByteRange]) -> list[str]:
    """The patients given, as `plain_ids` compares them; where one is blank, that of `patients_of`."""
    given = plain_ids(given)
    if "" not in given:
        return given
    return [patient or found for patient, found in zip(given, patients_of(images, places), strict=True)]


def _header_patient(place: str | ByteRange) -> str | None:
    return dicom_patient(place if isinstance(place, ByteRange) else Path(place))


def _may_be_dicom(images: list[int], places: Sequence[str | ByteRange]) -> list[int]:
    """Those of the images with DICOM's file ending or none that is known; of images in larger files, those with DICOM's
    mark."""
    others = {ending for ending in EXTENSIONS if ending not in DICOM.endings}
    found: list[int] = []
    ranges: list[tuple[int, ByteRange]] = []
    for k in images:
        place = places[k]
        if isinstance(place, ByteRange):
            ranges.append((k, place))
        elif PurePath(place).suffix.lower() not in others:
            found.append(k)
    for path, members in groupby(
        ranges, key=lambda pair: pair[1].path
    ):  # each file is opened once: it may hold millions
        with path.open("rb", buffering=0) as file:
            for k, place in members:
                first = os.pread(file.fileno(), min(FIRST, place.size), place.offset)
                if isinstance(place, SplitRecord) or format_of(first) is DICOM:
                    found.append(k)
    return found
