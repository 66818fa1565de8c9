"""Whose film is it? Patient ids read from the file names of public sets."""

from __future__ import annotations

import re
from pathlib import PurePath

#: Kaggle "Chest X-Ray Images (Pneumonia)" and NIH ChestX-ray14. The first group is the patient.
PATTERNS = (
    re.compile(r"^(person\d+)_"),
    re.compile(r"^((?:NORMAL2-)?IM-\d+)(?=[-.])"),
    re.compile(r"^(\d{8})_\d{3}(?=\.)"),
)


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
