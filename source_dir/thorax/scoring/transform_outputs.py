"""The output of a SageMaker batch transform: one FILE.out per image, in any form in which a model answers."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from thorax.errors import ThoraxError
from thorax.labels import LabelSpace

SUFFIX = ".out"
KEYS = ("prediction", "probabilities", "predictions")
#: By how much the probabilities of two exclusive classes may miss 1: a model in float16 rounds them.
SUM_WITHIN = 0.02
UNREADABLE = "the image could not be read"


def read_out_files(folder: Path, space: LabelSpace) -> tuple[list[str], np.ndarray, dict[str, str]]:
    """The probabilities in all `.out` files below a folder.

    Args:
        folder: as copied from S3.
        space: how many numbers are expected; for a binary task both classes in their order, or the positive one alone:
            each file's own count says which.

    Returns:
        ids (the path below the folder, without .out; FILE#0, FILE#1 ... where one file holds several images), (N, L)
        float32 probabilities, and by id why an image has none.

    Raises:
        ThoraxError: no such files, or one that cannot be understood.
    """
    files = sorted(folder.rglob(f"*{SUFFIX}")) if folder.is_dir() else []
    if not files:
        raise ThoraxError(
            f"--outputs {folder} holds no FILE.out files; copy them from the job's output place: aws s3 cp --recursive"
            f" s3://... {folder}"
        )
    ids, rows, failed = [], [], {}
    for file in files:
        name = file.relative_to(folder).as_posix().removesuffix(SUFFIX)
        answers = parse(file)
        for k, answer in enumerate(answers):
            image = name if len(answers) == 1 else f"{name}#{k}"
            if isinstance(answer, str):
                failed[image] = answer
                continue
            ids.append(image)
            rows.append(fitted(answer, space, file))
    return ids, np.array(rows, np.float32).reshape(len(rows), len(space.outputs)), failed


def parse(file: Path) -> list[list[float] | str]:
    """The numbers of each image in one file, or the error in their place.

    Forms: {"prediction": [...]}, {"probabilities": [...]}, {"predictions": [...]}, [...], [[...], ...], {"error": ...},
    a line of JSON per image, or a line of numbers with commas per image.
    """
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ThoraxError(f"{file} cannot be read as text: {error}") from None
    try:
        stored = [json.loads(text)]
    except (ValueError, RecursionError):
        lines = text.splitlines()
        try:
            stored = [json.loads(line) for line in lines]
        except (ValueError, RecursionError):
            stored = list(csv.reader(lines))
    try:
        found = [answer for value in stored for answer in _answers(value)]
    except (TypeError, ValueError, KeyError, RecursionError):
        found = []
    if not found:
        raise ThoraxError(
            f'{file} holds no predictions: {text[:60]!r}; expected JSON such as {{"prediction": [0.1, 0.9]}}, or'
            " numbers with commas"
        )
    return found


def _answers(value: object) -> list[list[float] | str]:
    """The answers in one JSON value or one row of a CSV; raises TypeError or ValueError where it is none."""
    if isinstance(value, dict):
        if "error" in value:
            return [str(value["error"])]
        return _answers(value[next((key for key in KEYS if key in value), KEYS[0])])
    if isinstance(value, int | float) and not isinstance(value, bool):  # one label as CSV
        return [[float(value)]]
    if isinstance(value, list) and value and all(isinstance(row, list | dict) or row is None for row in value):
        return [answer for row in value for answer in ([UNREADABLE] if row is None else _answers(row))]
    if value == "" or (isinstance(value, list) and "" in value):
        return [UNREADABLE]
    if isinstance(value, list) and value:
        return [[float(number) for number in value]]
    raise TypeError


def fitted(numbers: list[float], space: LabelSpace, file: Path) -> list[float]:
    """The numbers as (L,): of a binary task with both classes, in their order, the positive one's.

    Raises:
        ThoraxError: another count, numbers outside 0..1, or two of exclusive classes that do not add to 1.
    """
    if not all(0 <= p <= 1 for p in numbers):
        raise ThoraxError(f"{file} holds {numbers}, which are no probabilities")
    if space.task == "binary" and len(numbers) == 2:
        if abs(sum(numbers) - 1) > SUM_WITHIN:
            raise ThoraxError(
                f"{file} holds {numbers}, which are not of two exclusive classes: they add to {sum(numbers):g}, not 1;"
                " where both labels may hold, give --labels A,B --multi-label"
            )
        numbers = numbers[1:]
    if len(numbers) != len(space.outputs):
        raise ThoraxError(
            f"{file} holds {len(numbers)} numbers for {len(space.outputs)} labels: {', '.join(space.outputs)}"
        )
    return numbers
