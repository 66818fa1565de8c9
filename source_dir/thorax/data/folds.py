"""The parts of a run in a cross-validation: one fold held out, or all images in the refit at its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from thorax.config import TrainingConfig
from thorax.data.samples import SampleSet
from thorax.data.splits import patient_folds
from thorax.errors import ThoraxError
from thorax.text import are, counted


def check_channels(config: TrainingConfig, channels: Mapping[str, object]) -> None:
    """Raises ThoraxError for channels that do not go with folds."""
    if config.folds and "held_out" in channels:
        raise ThoraxError(f"folds={config.folds} with a channel held_out: the channel is for the refit; leave one out")
    which = f"folds={config.folds}" if config.folds else "the channel held_out" if "held_out" in channels else ""
    if which and "validation" in channels:
        raise ThoraxError(
            f"--validation with {which}: every image of train is validated once, so there is no other validation; add"
            " its images to train, or leave it out"
        )


def pooled(marks: list[str]) -> list[str]:
    """The parts that a channel marks, where folds are cut: what is marked validation is trained on too."""
    return ["train" if mark == "validation" else mark for mark in marks]


def fold_parts(
    images: Mapping[str, SampleSet], config: TrainingConfig, say: Callable[[str], None]
) -> dict[str, SampleSet]:
    """train and validation: the images of the other folds, and of this one. Test is left to the end.

    Raises:
        ThoraxError: fewer patients than folds, of all images or of a class.
    """
    assert config.folds is not None and config.fold is not None
    train = images["train"]
    fold_of = patient_folds(train.class_targets(), train.patients, config.folds, config.seed)
    _check_patients(train, config.folds)
    if "test" in images:
        n = len(images["test"])
        say(f"fold {config.fold} of {config.folds}: {counted(n, 'image')} of test {are(n)} left for the final bundle")
    inside = fold_of == config.fold
    return {
        "train": train.subset(np.flatnonzero(~inside), "train"),
        "validation": train.subset(np.flatnonzero(inside), "validation"),
    }


def _check_patients(images: SampleSet, folds: int) -> None:
    patients = np.array(images.patients)
    fewest, what = len(set(patients)), ""
    if images.space.task != "multilabel":  # a label may be in no image of a part, a class may not
        for name, column in zip(images.space.classes, images.class_targets().T, strict=True):
            if (n := len(set(patients[column == 1]))) < fewest:
                fewest, what = n, f" of class {name}"
    if fewest < folds:
        raise ThoraxError(
            f"folds={folds} but train has images{what} of {counted(fewest, 'patient')} only; set folds to {fewest} or"
            " less"
            if fewest > 1
            else f"folds={folds} but train has images{what} of {counted(fewest, 'patient')} only; add some"
        )
