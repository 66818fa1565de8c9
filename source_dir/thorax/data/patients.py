"""Whose film is it? Patients read from the file names of public sets, and from the headers of DICOM films."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath

from thorax.data.decoders import EXTENSIONS, dicom_patient

#: Kaggle "Chest X-Ray Images (Pneumonia)" and NIH ChestX-ray14. The first group is the patient.
PATTERNS = (
    re.compile(r"^(person\d+)_"),
    re.compile(r"^((?:NORMAL2-)?IM-\d+)(?=[-.])"),
    re.compile(r"^(\d{8})_\d{3}(?=\.)"),
)
#: Headers read at once: a folder in S3 (FastFile) answers each in tens of milliseconds.
READERS = 16


def patient_of(film: str) -> str:
    """The patient that a file name tells, else the film's own id: then each film is taken for one patient.

    Args:
        film: path or name, such as "PNEUMONIA/person12_bacteria_46.jpeg".
    """
    name = PurePath(film).name
    for pattern in PATTERNS:
        if found := pattern.match(name):
            return found.group(1)
    return film


def patients_of(films: Sequence[str], paths: Sequence[str]) -> list[str]:
    """As `patient_of`; where a name tells nothing and the film is DICOM, a hash of its PatientID.

    The hash, since bundles travel and the number of a patient should not. A PatientID that is blank, or the same in all of
    several films (which no patient is, but a careless anonymiser), tells nothing.

    Args:
        films: ids.
        paths: where each is.
    """
    patients = [patient_of(film) for film in films]
    asked = [k for k, film in enumerate(films) if patients[k] == film and _may_be_dicom(paths[k])]
    if not asked:
        return patients
    with ThreadPoolExecutor(READERS) as pool:
        told = list(pool.map(lambda k: dicom_patient(Path(paths[k])), asked))
    if len(told) == 1 or len(set(told)) > 1:
        for k, number in zip(asked, told, strict=True):
            patients[k] = f"dicom-{hashlib.sha256(number.encode()).hexdigest()[:16]}" if number else films[k]
    return patients


def _may_be_dicom(path: str) -> bool:
    ending = PurePath(path).suffix.lower()
    return ending in (".dcm", ".dicom") or ending not in EXTENSIONS
