"""Images of one study taken together: a study with a frontal and a lateral view has one answer."""

from __future__ import annotations

from typing import Literal

import numpy as np

from thorax.evaluation.arrays import Array
from thorax.evaluation.predictions import Predictions
from thorax.labels import LabelSpace

#: How the probabilities of a study's images become one; none: studies are not scored.
StudyRule = Literal["mean", "max", "none"]
STUDY_RULES: tuple[StudyRule, ...] = ("mean", "max", "none")


def by_study(images: Predictions, space: LabelSpace, rule: StudyRule = "mean") -> Predictions | None:
    """The predictions of whole studies, with the studies' names as ids; None where no study has several images.

    A study has a label where one of its images has it, has it not where all known ones have it not, and is unknown
    where all are. Classes of which a study's images name several are unknown. An image without a study is one.

    Args:
        images: with `studies`.
        space: labels and task.
        rule: the mean or the maximum over its images; maxima of exclusive classes are divided by their sum.
    """
    if rule == "none" or not any(images.studies):
        return None
    names = [study or f"image {name}" for study, name in zip(images.studies, images.ids, strict=True)]
    place = {name: k for k, name in enumerate(dict.fromkeys(names))}
    if len(place) == len(names):
        return None
    at = np.array([place[name] for name in names])
    shape = (len(place), images.probabilities.shape[1])
    p = _combined(images.probabilities.astype(np.float64), at, shape, rule)
    if space.task == "multiclass" and rule == "max":
        p /= p.sum(axis=1, keepdims=True)
    positive, known = np.zeros(shape), np.zeros(shape)
    np.add.at(positive, at, images.targets == 1)
    np.add.at(known, at, ~np.isnan(images.targets))
    targets = np.where(known > 0, (positive > 0).astype(float), np.nan)
    if space.task == "multiclass":
        targets[np.nansum(targets, axis=1) > 1] = np.nan
    first = {name: images.patients[k] for k, name in reversed([*enumerate(names)])}
    return Predictions([*place], [first[name] for name in place], targets, p.astype(np.float32), [*place])


def _combined(p: Array, at: Array, shape: tuple[int, int], rule: StudyRule) -> Array:
    result = np.zeros(shape)
    if rule == "max":
        np.maximum.at(result, at, p)
        return result
    np.add.at(result, at, p)
    return np.asarray(result / np.bincount(at, minlength=shape[0])[:, None])


def title(part: str, rule: StudyRule) -> str:
    """The name of a part's scores by study, such as "test by study (mean)"."""
    return f"{part} by study ({rule})"
