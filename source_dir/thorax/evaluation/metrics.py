"""Scores: a few numbers after each epoch, and the full score at the end.

Unknown targets (NaN) are left out, label by label. A metric that cannot be computed, such as the AUC of a label with
negative images only, is NaN after an epoch and None in a score.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from thorax.errors import ThoraxError
from thorax.evaluation.arrays import Array, check_arrays, ratio
from thorax.evaluation.entries import Entries, confusion
from thorax.evaluation.intervals import bootstrap, interval
from thorax.evaluation.metric_table import METRICS, macro_means
from thorax.labels import LabelSpace, Task, decide

#: What an epoch's numbers are made of.
_EPOCH = ("auc", "f1", "sensitivity", "balanced_accuracy")


def epoch_metrics(targets: Array, probabilities: Array, task: Task, *, top_k: int | None = None) -> dict[str, float]:
    """The numbers logged after each epoch, by the functions of `score`; its thresholds are not known yet.

    Args:
        targets: (N, L) in {0, 1, NaN = unknown}; binary has L = 1, multiclass is one-hot.
        probabilities: (N, L) in [0, 1].
        task: multiclass decides by the largest probability, the others by probability >= 0.5.
        top_k: for multiclass, also the share of images whose class is among the k most probable; else ignored.

    Returns:
        auc: macro over labels with a known positive and a known negative.
        f1: macro, without labels that have no positive, true or predicted.
        accuracy: mean over known entries; of argmax for multiclass.
        balanced_accuracy: macro mean of sensitivity and specificity; mean recall of argmax for multiclass.
        top_k: only if asked for. NaN stands for what cannot be computed.

    Raises:
        ThoraxError: arrays that cannot be scored (see `check_arrays`), or top_k below 1.
    """
    targets, probabilities = _checked(targets, probabilities, task)
    decisions = decide(probabilities, 0.5, task)
    columns = _columns(targets, probabilities, decisions, np.arange(len(targets)))
    points = {name: np.array([METRICS[name].point(entries) for entries in columns]) for name in _EPOCH}
    means = macro_means(points, task)
    correct, counted = _answers(targets, probabilities, decisions, task).sum(axis=0)
    result = {
        "auc": float(means["auc"]),
        "f1": float(means["f1"]),
        "accuracy": float(ratio(correct, counted)),
        "balanced_accuracy": float(means["balanced_accuracy"]),
    }
    if top_k is not None and task == "multiclass":
        if top_k < 1:
            raise ThoraxError(f"top_k={top_k} must be 1 or more")
        known = ~np.isnan(targets[:, 0])
        likeliest = np.argsort(-probabilities[known], axis=1, kind="stable")[:, :top_k]
        hits = np.take_along_axis(targets[known], likeliest, axis=1).sum()
        result["top_k"] = float(ratio(hits, np.asarray(known.sum())))
    return result


def score(
    targets: Array,
    probabilities: Array,
    labels: LabelSpace,
    thresholds: Sequence[float] | Array,
    patients: Sequence[str] | Array,
    *,
    resamples: int = 1000,
    seed: int = 0,
    unit: str = "image",
    decisions: Array | None = None,
) -> dict[str, Any]:
    """The full score of a set of images at given thresholds, with 95 % bootstrap intervals by patient.

    Args:
        targets: (N, L) in {0, 1, NaN = unknown}, one column per `labels.outputs`.
        probabilities: (N, L) in [0, 1].
        labels: names and task.
        thresholds: (L,) an image is called positive where probability >= threshold, compared as float64; unused for
            multiclass.
        patients: (N,) the patient of each image.
        resamples: bootstrap resamples of patients; 0 gives no intervals.
        seed: the same seed gives the same intervals.
        unit: what a row is: an image, or a study.
        decisions: (N, L) bool, where they are not those of the thresholds (or of the most probable class).

    Returns:
        What json.dumps takes, None for what is undefined, and {"value", "low", "high"} for each metric of METRICS:
        {"n": rows, "unit", "patients": distinct, "accuracy": overall, "macro": {metric: ...}, "micro": {metric: ...},
        "labels": {output: {"n": known images, "positives", "prevalence", "threshold", "confusion", metric: ...}}}.
        Overall accuracy is over known entries at the thresholds. Multiclass: all decisions are those of argmax, and
        "threshold" is None; each label's entry is that class against the rest; "matrix" has the (L, L) images of each
        true class (row) by argmax. Macro is the mean over the labels where the metric is defined (balanced accuracy:
        see `macro_means`), in each resample as well; micro pools all known entries.
        Resamples in which a metric is undefined are left out of its interval; one patient alone gives none.

    Raises:
        ThoraxError: arrays that cannot be scored, or counts of labels, thresholds or patients that do not fit.
    """
    targets, probabilities = _checked(targets, probabilities, labels.task)
    cutoffs = np.asarray(thresholds, dtype=np.float64)
    images, columns = targets.shape
    if columns != len(labels.outputs):
        raise ThoraxError(
            f"targets have {columns} columns for {len(labels.outputs)} labels: {', '.join(labels.outputs)}"
        )
    if cutoffs.shape != (columns,) or not np.isfinite(cutoffs).all():
        raise ThoraxError(f"thresholds={list(thresholds)} must be {columns} numbers, one for each label")
    if len(patients) != images:
        raise ThoraxError(f"there are {len(patients)} patients for {images} images; give one for each image")

    names, owner = np.unique([str(patient) for patient in patients], return_inverse=True)
    decisions = decide(probabilities, cutoffs, labels.task) if decisions is None else decisions
    answers = _answers(targets, probabilities, decisions, labels.task)
    drawn = bootstrap(
        targets, probabilities, decisions, answers, owner, resamples=resamples if len(names) > 1 else 0, seed=seed
    )

    entries = [_points(column) for column in _columns(targets, probabilities, decisions, owner)]
    by_label = {}
    for i, (name, entry) in enumerate(zip(labels.outputs, entries, strict=True)):
        resampled = {metric: values[:, i] for metric, values in drawn.labels.items()}
        cut = None if labels.task == "multiclass" else float(cutoffs[i])
        by_label[name] = entry | _intervals(entry, resampled) | {"threshold": cut}
    points = {metric: np.array([entry[metric] for entry in entries], dtype=np.float64) for metric in METRICS}
    macro = {metric: _defined(value) for metric, value in macro_means(points, labels.task).items()}
    micro = _points(Entries.known(targets, probabilities, decisions, owner))
    correct, counted = answers.sum(axis=0)
    accuracy = float(correct / counted) if counted else None
    return {
        "n": images,
        "unit": unit,
        "patients": len(names),
        "accuracy": _with_interval(accuracy, drawn.overall),
        "macro": _intervals(macro, macro_means(drawn.labels, labels.task)),
        "micro": _intervals(micro, drawn.micro),
        "labels": by_label,
        **({"matrix": _matrix(targets, probabilities)} if labels.task == "multiclass" else {}),
    }


def _checked(targets: Array, probabilities: Array, task: Task) -> tuple[Array, Array]:
    """The two if they can be scored; of exclusive classes an image is known as a whole or not at all."""
    targets, probabilities = check_arrays(targets, probabilities, task)
    if task == "multiclass":
        targets = np.where(np.isnan(targets).any(axis=1, keepdims=True), np.nan, targets)
    return targets, probabilities


def _columns(targets: Array, probabilities: Array, decisions: Array, owner: Array) -> list[Entries]:
    """The known entries of each label."""
    return [Entries.known(targets[:, i], probabilities[:, i], decisions[:, i], owner) for i in range(targets.shape[1])]


def _answers(targets: Array, probabilities: Array, decisions: Array, task: Task) -> Array:
    """(N, 2) correct answers and answers counted of each image."""
    if task == "multiclass":
        known = ~np.isnan(targets.sum(axis=1))
        correct = known & (np.where(known[:, None], targets, 0).argmax(axis=1) == probabilities.argmax(axis=1))
        return np.stack([correct, known], axis=1).astype(np.int64)
    tp, fp, tn, fn = confusion(targets, decisions)
    return np.stack([(tp | tn).sum(axis=1), (tp | fp | tn | fn).sum(axis=1)], axis=1)


def _points(entries: Entries) -> dict[str, Any]:
    """Counts and point values of each metric; None where undefined."""
    n, positives = len(entries.positive), int(entries.positive.sum())
    return {
        "n": n,
        "positives": positives,
        "prevalence": positives / n if n else None,
        **{name: _defined(METRICS[name].point(entries)) for name in METRICS},
        "confusion": {name: int(count) for name, count in entries.counts._asdict().items()},
    }


def _defined(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def _matrix(targets: Array, probabilities: Array) -> list[list[int]]:
    """(L, L) images of each true class (row) by the most probable one."""
    classes = targets.shape[1]
    known = ~np.isnan(targets.sum(axis=1))
    cells = targets[known].argmax(axis=1) * classes + probabilities[known].argmax(axis=1)
    counts: list[list[int]] = np.bincount(cells, minlength=classes**2).reshape(classes, classes).tolist()
    return counts


def _intervals(points: dict[str, Any], drawn: dict[str, Array]) -> dict[str, dict[str, float | None]]:
    """{metric: value with interval}."""
    result = {}
    for metric in METRICS:
        values, point = drawn[metric], points[metric]
        if METRICS[metric].centred and point is not None and not np.isnan(values).all():
            values = np.clip(values - np.nanmean(values) + point, 0, 1)
        result[metric] = _with_interval(point, values)
    return result


def _with_interval(value: float | None, resampled: Array) -> dict[str, float | None]:
    low, high = interval(resampled) if value is not None else (None, None)
    return {"value": value, "low": low, "high": high}
