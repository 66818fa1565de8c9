"""Names that the public chest X-ray sets give to one finding, and labels of one set mapped to those of another.

Sources of the names: CheXpert (Irvin et al. 2019, table 1), MIMIC-CXR-JPG (the same 14), NIH ChestX-ray14 (Wang et al.
2017), PadChest (Bustos et al. 2020, labels in lower case), VinDr-CXR (Nguyen et al. 2022, table 1), RSNA Pneumonia
Detection Challenge (2018), Kaggle Chest X-Ray Images (Kermany et al. 2018). Names of one group are used alike by these
papers; groups that only overlap (Lung Opacity and its causes) are not here: a file for --map says them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thorax.data.samples import Listing
from thorax.errors import ThoraxError
from thorax.yaml_reading import read_yaml

SAME = (
    ("Effusion", "Pleural effusion"),  # NIH; CheXpert, MIMIC, PadChest, VinDr
    ("Infiltration", "Infiltrates"),  # NIH, VinDr; PadChest
    ("Mass", "Pulmonary mass"),  # NIH; PadChest
    ("Fibrosis", "Pulmonary fibrosis"),  # NIH; PadChest, VinDr
    ("Hernia", "Hiatal hernia"),  # NIH; PadChest
    ("Edema", "Pulmonary edema"),  # NIH, CheXpert, MIMIC, VinDr; PadChest
    ("Lung Opacity", "Airspace Opacity"),  # CheXpert, VinDr; MIMIC's first release, the 4 findings of NIH's images
    ("Nodule/Mass", "Nodule or mass"),  # VinDr; the 4 findings of NIH's images
    ("No Finding", "Normal"),  # CheXpert, MIMIC, NIH, VinDr; PadChest, RSNA, Kaggle
)
#: The word for SAME alone, instead of a file.
COMMON = "common"


@dataclass(frozen=True)
class LabelMap:
    """How the labels of a bundle are made of those of a set.

    Attributes:
        given: label of the bundle -> names of the set, of which any will do; from the file.
        file: where it is from, for messages.
    """

    given: Mapping[str, tuple[str, ...]]
    file: str = COMMON

    @classmethod
    def read(cls, file: Path) -> LabelMap:
        """The map in a YAML file: `Effusion: Pleural Effusion` or `Lung Opacity: [Infiltration, Consolidation]`.

        Raises:
            ThoraxError: no file, no YAML, or something else in it.
        """
        import yaml

        try:
            stored = read_yaml(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise ThoraxError(f"--map {file} cannot be read: {error.strerror}; or --map {COMMON}") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ThoraxError(f"--map {file} is no YAML: {str(error).splitlines()[0]}") from None
        if not isinstance(stored, dict) or not stored:
            raise ThoraxError(f"--map {file} must hold lines such as `Effusion: Pleural Effusion`")
        found = {}
        for name, value in stored.items():
            names = value if isinstance(value, list) else [value]
            if not names or not all(isinstance(one, str) for one in names):
                raise ThoraxError(f"--map {file}: {name} must be a name or a list of names, found {value!r}")
            found[str(name)] = tuple(names)
        return cls(found, str(file))

    def sources(self, outputs: Sequence[str], names: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """{label of the bundle: names of the set that it is made of}; labels that are made of nothing are left out.

        Raises:
            ThoraxError: the file names a label that the bundle or the set has not.
        """
        for label, wanted in self.given.items():
            self._check(label, outputs, "of the bundle")
            for name in wanted:
                self._check(name, names, "of the images")
        found = {}
        for label in outputs:
            if label in self.given:
                found[label] = self.given[label]
            elif label in names:
                found[label] = (label,)
            elif same := tuple(name for name in names if alike(name, label)):
                found[label] = same
        return found

    def _check(self, name: str, there: Sequence[str], whose: str) -> None:
        if name not in there:
            match = difflib.get_close_matches(name, there, n=1)
            hint = f"; did you mean {match[0]}?" if match else ""
            raise ThoraxError(f"--map {self.file}: {name} is no label {whose}: {', '.join(there)}{hint}")


def any_of(listing: Listing, names: Sequence[str]) -> np.ndarray:
    """(N,) 1 where any of these labels is there, 0 where all are known not to be, else NaN."""
    columns = listing.targets[:, [listing.names.index(name) for name in names]]
    absent = np.where(np.isnan(columns).any(axis=1), np.nan, columns.max(axis=1))
    return np.where((columns == 1).any(axis=1), 1.0, absent)


def alike(one: str, other: str) -> bool:
    """Whether two names are one but for case and separators, or of one group of SAME."""
    a, b = _plain(one), _plain(other)
    return a == b or any({a, b} <= {_plain(name) for name in group} for group in SAME)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name).strip().lower()
