"""Which column of a table of predictions is what: by the names that people give them, or as the user says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from thorax.errors import ThoraxError

#: Names of columns without case, spaces and signs.
ROLES: Mapping[str, tuple[str, ...]] = {
    "id": (
        *("id", "imageid", "image", "imageindex", "imagename", "imagepath", "filename", "filepath", "file", "path"),
        *("name", "key", "img", "imgid", "imgname", "dicomid", "sopinstanceuid", "s3uri", "ids", "study", "studyid"),
    ),
    "patient": ("patient", "patientid", "subject", "subjectid", "person"),
    "part": ("part", "split", "subset"),
    "truth": (
        *("truth", "true", "target", "targets", "label", "labels", "class", "actual", "groundtruth", "gt", "ytrue"),
        *("truelabel", "truelabels", "trueclass", "actuallabel", "actualclass", "finding", "findings"),
        *("findinglabels", "diagnosis", "y", "reference", "labeltrue", "classname", "labelname", "expected"),
    ),
    "predicted": (
        *("predicted", "prediction", "predictions", "pred", "preds", "predictedlabel", "predictedlabels", "predlabel"),
        *("predictedclass", "predclass", "ypred", "decision", "answer", "called", "output", "yhat", "labelpredicted"),
    ),
    "probability": (
        *("probability", "probabilities", "prob", "probs", "score", "scores", "p", "yscore", "yprob", "yproba"),
        *("confidence", "probabilitypositive", "probpositive", "positiveprobability", "predictedprobability", "proba"),
    ),
}
_BETWEEN = r"[:_\-. /]+"
_OF_PROBABILITY = r"(?:probability|probabilities|prob|proba|p|pred|prediction|predicted|score|output|y_?score|y_?prob)"
_OF_TRUTH = r"(?:target|truth|true|label|actual|gt|y_?true|ground_?truth|reference)"
_OF_DECISION = r"(?:decision|decided|called)"
#: Words that are no label's name.
_NO_LABEL = {"label", "labels", "class", "name", "index", "id", "category", "classname", "true", "pred"}


@dataclass
class Columns:
    """What the columns of a table are.

    Attributes:
        roles: role -> column, of ROLES.
        probability, truth, decision: label -> column.
        rest: columns that are none of it.
    """

    roles: dict[str, str] = field(default_factory=dict)
    probability: dict[str, str] = field(default_factory=dict)
    truth: dict[str, str] = field(default_factory=dict)
    decision: dict[str, str] = field(default_factory=dict)
    rest: list[str] = field(default_factory=list)


def columns_of(file: Path, header: Sequence[str], said: Mapping[str, str]) -> Columns:
    """What the columns of a table are.

    Args:
        file: for messages.
        header: the columns' names.
        said: a role or a label -> the column that holds it (a label's probabilities), as the user says.

    Raises:
        ThoraxError: a column that the user names is not there.
    """
    found = Columns()
    for key, column in said.items():
        if column not in header:
            raise ThoraxError(f"--columns {key}={column}: {file} has no such column; it has {', '.join(header)}")
        (found.roles if key in ROLES else found.probability)[key] = column
    free = [column for column in header if column and column not in said.values()]
    plain = {column: re.sub(r"[^a-z0-9]", "", column.casefold()) for column in free if not _of_letter(column)}
    for role, names in ROLES.items():
        if role not in found.roles and (named := [column for column in plain if plain[column] in names]):
            found.roles[role] = min(named, key=lambda column: names.index(plain[column]))
    for column in free:
        if column in found.roles.values():
            continue
        for kind, words in (("probability", _OF_PROBABILITY), ("truth", _OF_TRUTH), ("decision", _OF_DECISION)):
            if label := _label(column, words):
                getattr(found, kind).setdefault(label, column)
                break
        else:
            found.rest.append(column)
    return found


def _of_letter(column: str) -> bool:
    """Whether a column is of a label of one letter: prob_A is no proba."""
    words = (_OF_PROBABILITY, _OF_TRUTH, _OF_DECISION)
    return any(len(label := _label(column, kind)) == 1 and label not in "yY" for kind in words)


def _label(column: str, words: str) -> str:
    """The label in a column such as prob_Mass, Mass (score) or target:Mass; "" where it is of another kind."""
    for pattern in (rf"{words}{_BETWEEN}(.+)", rf"(.+?){_BETWEEN}\(?{words}\)?"):
        if found := re.fullmatch(pattern, column.strip(), re.IGNORECASE):
            label = found[1].strip()
            return "" if re.sub(r"[^a-z]", "", label.casefold()) in _NO_LABEL else label
    return ""
