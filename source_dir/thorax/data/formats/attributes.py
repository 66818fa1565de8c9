"""View, sex and age as tables write them, in one spelling each, so that sets can be compared."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from thorax.data.formats.frame import Frame
from thorax.data.formats.names import key

_VIEWS = {
    "PA": "pa posteroanterior",
    "AP": "ap anteroposterior",
    "AP SUPINE": "aphorizontal apsupine",
    "LATERAL": "l ll rl lateral leftlateral rightlateral lat",
    "FRONTAL": "frontal",
}
_VIEW = {word: view for view, words in _VIEWS.items() for word in words.split()}
_SEX = {"m": "M", "male": "M", "f": "F", "female": "F"}
#: DICOM's age: 057Y, 018M, 003W, 012D.
_AGE = re.compile(r"(\d+)(?:\.\d*)?\s*([YMWD]?)", re.IGNORECASE)
_PER_YEAR = {"": 1, "Y": 1, "M": 12, "W": 52, "D": 365}

#: Attribute -> columns that tell it.
COLUMNS = {
    "view": ("view", "ViewPosition", "View Position", "Projection"),
    "sex": ("sex", "gender", "PatientSex", "Patient Gender", "Patient Sex", "PatientSex_DICOM"),
    "age": ("age", "PatientAge", "Patient Age"),
}


def view(text: str) -> str:
    """PA, AP, AP SUPINE, LATERAL or FRONTAL; another one as it is, in capitals."""
    return _VIEW.get(key(text), text.strip().upper())


def sex(text: str) -> str:
    """M, F, or blank for anything else."""
    return _SEX.get(text.strip().casefold(), "")


def age(text: str) -> str:
    """Whole years; blank where the text is no age."""
    found = _AGE.fullmatch(text.strip())
    return str(int(found[1]) // _PER_YEAR[found[2].upper()]) if found else ""


READ: Mapping[str, Callable[[str], str]] = {"view": view, "sex": sex, "age": age}


def read_as(name: str, column: Sequence[str]) -> list[str]:
    """The attribute `name` (view, sex or age) of each text."""
    known = {text: READ[name](text) for text in set(column)}
    return [known[text] for text in column]


def attributes_of(frame: Frame, columns: Mapping[str, Sequence[str]] = COLUMNS) -> dict[str, list[str]]:
    """The attributes that the table has a column of."""
    found = {name: frame.get(*names) for name, names in columns.items()}
    return {name: read_as(name, column) for name, column in found.items() if column is not None}
