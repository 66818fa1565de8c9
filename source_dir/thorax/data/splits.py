"""Train, validation and test: cut by patient, stratified by label, checked, and written down with a hash."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from thorax.data.samples import SampleSet
from thorax.errors import ThoraxError
from thorax.shown import cell
from thorax.text import are, counted

EXAMPLES = 5


def cut_by_patient(images: SampleSet, fraction: float, seed: int) -> tuple[SampleSet, SampleSet]:
    """(train, validation): whole patients only, each label's share near `fraction` in validation.

    Iterative stratification (Sechidis et al., "On the stratification of multi-label data", 2011) over patients:
    the rarest label first, each of its patients to the part that still needs most of it.

    Args:
        images: the training channel.
        fraction: wanted share of validation, 0..1.
        seed: the same seed gives the same cut for the same images, whatever their order.

    Raises:
        ThoraxError: fewer than two patients.
    """
    counts, row = _by_patient(images.class_targets(), images.patients)
    if len(counts) < 2:
        raise ThoraxError(
            f"the train channel has images of {counted(len(counts), 'patient')} only; a validation part needs"
            " others (give --validation)"
        )
    held_out = _stratify(counts, fraction, np.random.default_rng(seed))
    chosen = held_out[row]
    return (
        images.subset(np.flatnonzero(~chosen).tolist(), "train"),
        images.subset(np.flatnonzero(chosen).tolist(), "validation"),
    )


def patient_folds(targets: np.ndarray, patients: Sequence[str], folds: int, seed: int) -> np.ndarray:
    """(N,) the fold 0..folds-1 of each image: whole patients only, each label's share alike in all folds.

    Fold after fold is cut from the rest as `cut_by_patient` cuts.

    Args:
        targets: (N, K) in {0, 1, NaN}, a column for each class or label.
        patients: (N,) the patient of each image.
        folds: with fewer patients some are empty.
        seed: the same seed gives the same folds for the same images, whatever their order.
    """
    counts, row = _by_patient(targets, patients)
    fold_of = np.zeros(len(counts), int)
    rest = np.arange(len(counts))
    rng = np.random.default_rng(seed)
    for fold in range(folds - 1, 0, -1):
        if len(rest) < 2:
            break
        cut = _stratify(counts[rest], 1 / (fold + 1), rng)
        fold_of[rest[cut]] = fold
        rest = rest[~cut]
    return np.asarray(fold_of[row])


def _by_patient(targets: np.ndarray, patients: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(P, K + 1) images of each patient by label, patients sorted, and (N,) the row of each image's patient.

    The last column counts all images, so that sizes are balanced too.
    """
    index = {patient: k for k, patient in enumerate(sorted(set(patients)))}
    row = np.array([index[p] for p in patients])
    counts = np.zeros((len(index), targets.shape[1] + 1))
    np.add.at(counts, row, np.concatenate([np.nan_to_num(targets), np.ones((len(targets), 1))], axis=1))
    return counts, row


def _stratify(counts: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """(P,) bool: which patients are held out. counts: (P, K) images of each patient by label."""
    total = counts.sum(axis=0)
    wanted = np.stack([total * (1 - fraction), total * fraction])  # (2, K), not yet assigned
    held_out = np.zeros(len(counts), bool)
    free = np.ones(len(counts), bool)
    shuffled = rng.permutation(len(counts))
    for label in np.argsort(np.where(total > 0, total, np.inf), kind="stable"):
        mine = [p for p in shuffled if free[p] and counts[p, label] > 0]
        mine.sort(key=lambda p: -counts[p, label])  # the largest patients first, while there is room to balance them
        for p in mine:
            need = wanted[:, label] / np.maximum([total[label] * (1 - fraction), total[label] * fraction], 1e-9)
            part = int(need[1] > need[0])
            if need[0] == need[1] and len(mine) > 1:  # one patient alone stays in train, where no label may be empty
                part = int(rng.random() < fraction)
            has_some = wanted[1, label] < total[label] * fraction
            if wanted[1, -1] <= 0 and has_some:  # full: patients with many labels must not carry it far past its size
                part = 0
            held_out[p], free[p] = bool(part), False
            wanted[part] -= counts[p]
    if held_out.all() or not held_out.any():
        held_out[shuffled[0]] = not held_out[shuffled[0]]
    return held_out


def check_parts(parts: Sequence[SampleSet], patient_scope: str, cut: bool) -> list[str]:
    """Warnings about parts; an error for parts that share patients or images, and for empty classes.

    Args:
        parts: train, validation and perhaps test.
        patient_scope: "global", or "channel" where ids are counted anew in each channel.
        cut: train and validation come from one channel.

    Raises:
        ThoraxError: a patient or an image in two parts, a class without images in train, or in validation of a task
            with classes.
    """
    warnings = []
    for a, first in enumerate(parts):
        for b, second in enumerate(parts[a + 1 :], a + 1):
            one_channel = cut and (a, b) == (0, 1)
            shared = sorted(set(first.patients) & set(second.patients))
            if shared and (patient_scope == "global" or one_channel):
                raise ThoraxError(
                    f"{counted(len(shared), 'patient')} {are(len(shared))} in both {first.part} and {second.part}, e.g."
                    f" {', '.join(shared[:EXAMPLES])}; move each to one part, or, if ids are counted anew in each"
                    " channel (the Kaggle set's file names), set patient_scope=channel"
                )
            if shared and (same := sorted(_places(first) & _places(second))):
                raise ThoraxError(
                    f"{counted(len(same), 'image')} {are(len(same))} in both {first.part} and {second.part}, e.g."
                    f" {', '.join(same[:EXAMPLES])}; move each to one part"
                )
            if shared:
                warnings.append(
                    f"{counted(len(shared), 'patient id')} {are(len(shared))} in both {first.part} and {second.part};"
                    " taken for different people (patient_scope=channel)"
                )
    for part in parts:
        for name, count in part.class_counts().items():
            if count:
                continue
            if part.part == "train" or (part.part == "validation" and part.space.task != "multilabel"):
                raise ThoraxError(
                    f"class {name} has no images in {part.part} ({counted(len(part), 'image')},"
                    f" {counted(len(set(part.patients)), 'patient')}); add some, or leave the class out"
                )
            warnings.append(f"label {name} has no images in {part.part}: its AUC there is undefined")
    return warnings


def _places(images: SampleSet) -> set[str]:
    """Where each image is; links to folders are followed, links to images are images of their own."""
    real = cache(os.path.realpath)
    return {
        f"{real(source.parent)}/{source.name}" if isinstance(source, Path) else str(source)
        for source in images.table.sources
    }


def split_table(parts: Sequence[SampleSet]) -> tuple[str, str]:
    """(CSV text, sha256 of it): id, patient and part of every image, sorted, for the bundle."""
    rows = ((name, patient, part.part) for part in parts for name, patient in zip(part.ids, part.patients, strict=True))
    text = csv_text(["id", "patient", "part"], sorted(rows))
    return text, hashlib.sha256(text.encode()).hexdigest()


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A CSV with lines that end in one line feed, its texts as `cell` writes them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(cell, header))
    writer.writerows(map(cell, row) for row in rows)
    return text.getvalue()
