"""The table of predictions that batch writes and evaluate reads: id, patient, probability:L, decision:L, target:L."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thorax.errors import ThoraxError
from thorax.files import write_whole
from thorax.labels import LabelSpace

SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True)
class PredictionTable:
    """Films with their probabilities, and their labels if there are any.

    Attributes:
        space: label names and task; L is the number of its outputs.
        thresholds: (L,) a label is found at and above it; unused for multiclass, where the most probable one is.
        ids, patients: one per film.
        probabilities: (N, L) in 0..1.
        targets: (N, L): 1, 0 or NaN for unknown; None where no film has labels.
    """

    space: LabelSpace
    thresholds: np.ndarray
    ids: Sequence[str]
    patients: Sequence[str]
    probabilities: np.ndarray
    targets: np.ndarray | None = None

    @property
    def decisions(self) -> np.ndarray:
        """(N, L) bool."""
        p = self.probabilities
        if self.space.task == "multiclass":
            return np.asarray(np.arange(p.shape[1]) == p.argmax(axis=1)[:, None])
        return np.asarray(p >= self.thresholds.astype(p.dtype))

    def columns(self) -> dict[str, list[Any]]:
        """Name -> values; None for an unknown target. Patients are left out where no film's is known."""
        found: dict[str, list[Any]] = {"id": list(self.ids)}
        if any(patient != film for patient, film in zip(self.patients, self.ids, strict=True)):
            found["patient"] = list(self.patients)
        names = self.space.outputs
        found |= {f"probability:{name}": self.probabilities[:, k].tolist() for k, name in enumerate(names)}
        found |= {f"decision:{name}": self.decisions[:, k].astype(int).tolist() for k, name in enumerate(names)}
        if self.targets is not None:
            found |= {f"target:{name}": [None if np.isnan(v) else int(v) for v in self.targets[:, k]] for k, name in enumerate(names)}
        return found

    def write(self, file: Path) -> None:
        """Writes it whole or not at all, as CSV (six decimals) or Parquet, by the file's suffix.

        Raises:
            ThoraxError: pyarrow is missing, or the file cannot be written.
        """
        write_whole(self._parquet() if file.suffix.lower() == ".parquet" else self._csv(), file, "table of predictions")

    def _csv(self) -> bytes:
        columns = self.columns()
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([f"{v:.6f}" if isinstance(v, float) else "" if v is None else v for v in row] for row in zip(*columns.values(), strict=True))
        return text.getvalue().encode("utf-8", "surrogateescape")

    def _parquet(self) -> bytes:
        pyarrow, parquet = _pyarrow()
        kinds = {"probability": pyarrow.float32(), "decision": pyarrow.int8(), "target": pyarrow.int8()}
        arrays = {name: pyarrow.array(values, kinds.get(name.split(":")[0], pyarrow.string())) for name, values in self.columns().items()}
        out = io.BytesIO()
        parquet.write_table(pyarrow.table(arrays), out)
        return out.getvalue()

    def scores(self) -> str:
        """How good the predictions are, as text; "" where no label is known."""
        if self.targets is None or np.isnan(self.targets).all():
            return ""
        from thorax.evaluation.metrics import score
        from thorax.evaluation.wording import table

        result = score(self.targets, self.probabilities, self.space, self.thresholds, list(self.patients))
        return table({"films": result}, self.space)


def check_out(file: Path) -> None:
    """Refuses a table that could not be written, before hours are spent.

    Raises:
        ThoraxError: another suffix, no pyarrow, or a folder that cannot be made.
    """
    if file.suffix.lower() not in SUFFIXES:
        raise ThoraxError(f"--out {file} must end in .csv or .parquet")
    if file.suffix.lower() == ".parquet":
        _pyarrow()
    try:
        file.absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ThoraxError(f"--out {file}: its folder cannot be made: {error.strerror}") from None


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet

        return pyarrow, parquet
    except ModuleNotFoundError:
        raise ThoraxError("a .parquet table needs pyarrow: pip install pyarrow, or write .csv") from None
