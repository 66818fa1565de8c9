"""Predictions in other forms than a table: arrays of numpy, and the `.out` files of a batch transform."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thorax.errors import ThoraxError
from thorax.evaluation.arrays import Array
from thorax.labels import LabelSpace, decide
from thorax.scoring.compared.saved import SavedPredictions, exclusive_space, narrowed, space_of
from thorax.scoring.compared.table_reading import ReadAs, read_any_table
from thorax.scoring.folder_images import folder_targets
from thorax.scoring.transform_outputs import SUFFIX, fitted, parse
from thorax.text import are, counted
from thorax.unpacking import npz_arrays, read_npy

ARRAYS, TABLES = (".npy", ".npz"), (".csv", ".parquet", ".gz")
_KEYS: Mapping[str, tuple[str, ...]] = {
    "probabilities": ("probabilities", "probs", "predictions", "preds", "y_score", "y_pred", "scores", "p", "arr_0"),
    "ids": ("ids", "id", "images", "names", "files", "paths", "filenames"),
    "labels": ("labels", "classes", "names_of_labels", "label_names", "class_names"),
    "targets": ("targets", "y_true", "truth", "y", "target"),
    "patients": ("patients", "patient", "subjects"),
}


def read_file(file: Path, how: ReadAs, listed: Sequence[str] = ()) -> SavedPredictions:
    """The predictions in a table, an array, or a folder of .out files.

    Args:
        listed: names of images in the order of a listing, for arrays that have none.

    Raises:
        ThoraxError: it is none of these, or see the readers.
    """
    if file.is_dir():
        return read_outs(file, how)
    if file.suffix.lower() in ARRAYS:
        return read_arrays(file, how, listed)
    return read_any_table(file, how)


def has_outs(folder: Path) -> bool:
    """Whether a batch transform's .out files lie somewhere below."""
    return next(folder.rglob(f"*{SUFFIX}"), None) is not None


def read_outs(folder: Path, how: ReadAs) -> SavedPredictions:
    """The answers in FILE.out files, of our endpoint or of the built-in algorithm; images that have none are counted.

    The truth is that of the folders of the images, where they have the names of the classes.

    Raises:
        ThoraxError: answers without the labels' names, while the user gives none.
    """
    files = sorted(folder.rglob(f"*{SUFFIX}"))
    answers = {file: parse(file) for file in files}
    names = list(how.labels or _labels_in(files))
    lengths = {len(answer) for found in answers.values() for answer in found if not isinstance(answer, str)}
    if not names:
        raise ThoraxError(
            f"{folder} holds {' or '.join(map(str, sorted(lengths)))} numbers an image without the names of their"
            " labels: --labels A,B,... gives them, in the order of the numbers"
        )
    space = _space_of_outs(names, answers)
    ids, rows, failed = [], [], 0
    for file, found in answers.items():
        name = file.relative_to(folder).as_posix().removesuffix(SUFFIX)
        for k, answer in enumerate(found):
            if isinstance(answer, str):
                failed += 1
                continue
            ids.append(name if len(found) == 1 else f"{name}#{k}")
            rows.append(fitted(_ordered(answer, names, space), space, file))
    if not rows:
        raise ThoraxError(f"not one of the {counted(failed, 'answer')} in {folder} is a prediction")
    notes = [f"{counted(failed, 'image')} {are(failed)} without an answer and left out"] if failed else []
    notes.append(f"its numbers are those of {', '.join(names)}")
    p = np.array(rows, np.float64).reshape(len(rows), len(space.outputs))
    return SavedPredictions(ids, space, p, decide(p, 0.5, space.task), folder_targets(ids, space), notes=notes)


def _ordered(answer: list[float], names: Sequence[str], space: LabelSpace) -> list[float]:
    """The numbers in the order of the space's labels: those of all classes, or as they are."""
    if len(answer) == len(names) == len(space.classes):
        values = dict(zip(names, answer, strict=True))
        return [values[name] for name in space.classes]
    return answer


def _space_of_outs(names: Sequence[str], answers: Mapping[Path, list[list[float] | str]]) -> LabelSpace:
    numbers = [answer for found in answers.values() for answer in found if not isinstance(answer, str)]
    if len(names) == 2 and any(len(answer) == 1 for answer in numbers):
        return exclusive_space(names, ordered=True)
    whole = [answer for answer in numbers if len(answer) == len(names)]
    if len(whole) < len(numbers) or not whole:
        wrong = next((len(answer) for answer in numbers if len(answer) != len(names)), 0)
        raise ThoraxError(f"{wrong} numbers an image, but {len(names)} labels: {', '.join(names)}")
    return space_of(names, np.array(whole), np.full((len(whole), len(names)), np.nan))


def _labels_in(files: Sequence[Path]) -> list[str]:
    """The labels that verbose answers name."""
    for file in files[:1]:
        try:
            stored: Any = json.loads(file.read_text(encoding="utf-8").strip().split("\n")[0])
            return [str(name) for name in stored["labels"]]
        except (OSError, UnicodeDecodeError, ValueError, RecursionError, KeyError, TypeError):
            pass
    return []


def read_arrays(file: Path, how: ReadAs, listed: Sequence[str] = ()) -> SavedPredictions:
    """The probabilities in a .npy of (N, L) or (N,), or in a .npz with probabilities, ids, labels, targets, patients.

    A .npy has no names: its rows are those of the listing, in its order, which a note says.

    Raises:
        ThoraxError: no array, another shape, or no names of images or labels.
    """
    arrays = _load(file)
    p = np.asarray(arrays.get("probabilities"), np.float64)
    p = p[:, None] if p.ndim == 1 else p
    if p.ndim != 2 or not p.size:
        raise ThoraxError(f"{file} holds an array of shape {p.shape}; expected (images, labels)")
    if ((p < 0) | (p > 1)).any():
        raise ThoraxError(f"{file} holds numbers outside 0..1: make logits probabilities first")
    notes = []
    ids = [str(name) for name in arrays["ids"]] if "ids" in arrays else [*listed]
    if not ids:
        raise ThoraxError(
            f"{file} has no names of images: save a .npz with the array ids, or give the listing whose rows these are:"
            " --truth FILE"
        )
    if len(ids) != len(p):
        raise ThoraxError(f"{file} has {len(p)} rows for {len(ids)} names of images")
    if "ids" not in arrays:
        notes.append("its rows are taken for the images of --truth in their order there")
    names = [str(name) for name in arrays["labels"]] if "labels" in arrays else [*how.labels]
    positive_alone = len(names) == 2 and p.shape[1] == 1
    if len(names) != p.shape[1] and not positive_alone:
        raise ThoraxError(f"{file} has {p.shape[1]} columns: --labels A,B,... names them in their order")
    y = _targets(file, arrays.get("targets"), p.shape)
    space = exclusive_space(names, ordered=True) if positive_alone else space_of(names, p, y)
    if not positive_alone:
        p, y = narrowed(names, p, space), narrowed(names, y, space)
    patients = [str(name) for name in arrays.get("patients", ())]
    return SavedPredictions(ids, space, p, decide(p, 0.5, space.task), y, patients, notes=notes)


def _load(file: Path) -> dict[str, Array]:
    try:
        if not zipfile.is_zipfile(file):
            return {"probabilities": read_npy(file.read_bytes(), file.name)}
        arrays = npz_arrays(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ThoraxError(f"{file} is no array of numpy that can be read without pickle: {error}") from None
    found = {
        key: arrays[name] for key, names in _KEYS.items() if (name := next((n for n in names if n in arrays), None))
    }
    if "probabilities" not in found:
        raise ThoraxError(f"{file} has no array probabilities; it has {', '.join(arrays)}")
    return found


def _targets(file: Path, stored: Array | None, shape: tuple[int, ...]) -> Array:
    """(N, L) of an array of the same shape, or of (N,) class indices."""
    if stored is None:
        return np.full(shape, np.nan)
    y = np.asarray(stored, np.float64)
    if y.shape == shape or (y.ndim == 1 and shape[1] == 1):
        return np.where(y < 0, np.nan, y).reshape(shape)
    if y.ndim == 1 and len(y) == shape[0] and y.max() < shape[1]:
        return np.asarray(np.eye(shape[1])[y.astype(int)])
    raise ThoraxError(f"{file}: targets have shape {y.shape}, probabilities {shape}")
