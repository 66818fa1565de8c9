"""All folds of a cross-validation together: out-of-fold answers, their scores, thresholds and calibration."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thorax.config import TrainingConfig
from thorax.data.held_out import HeldOut, joined
from thorax.errors import ThoraxError
from thorax.evaluation import calibration_fit, formatting, thresholds
from thorax.evaluation.metrics import score
from thorax.evaluation.predictions import Predictions, columns
from thorax.evaluation.report import Report
from thorax.files import write_whole
from thorax.serving.bundle import Bundle
from thorax.tables import write_table
from thorax.text import counted

#: The table of all out-of-fold answers, and their scores, in the folder of `gather`.
TABLE, SCORES = "out_of_fold.csv", "folds.json"
#: What is told of each fold, of its macro means.
_TOLD = ("auc", "average_precision", "balanced_accuracy", "sensitivity", "specificity", "f1")


@dataclass(frozen=True)
class Gathered:
    """What all folds came to.

    Attributes:
        held_out: the answers on every image, each by the fold that had not seen it.
        scores: `metrics.score` of all answers together, with intervals by patient.
        by_fold: metric -> {"folds": value of each fold, "mean", "low", "high"}, of macro means; the interval is
            Student's over the folds.
        calibrated: the calibration on all of them.
        thresholds: label -> calibrated probability.
        folder: where table, scores, report and held_out.npz are.
    """

    held_out: HeldOut
    scores: dict[str, Any]
    by_fold: dict[str, dict[str, Any]]
    calibrated: calibration_fit.Chosen
    thresholds: dict[str, float]
    folder: Path

    def lines(self) -> list[str]:
        """The scores as a terminal shows them."""
        held_out, space = self.held_out, self.held_out.space
        epochs = ", ".join(str(epoch) for _, epoch in sorted(held_out.best_epochs.items()))
        told = [
            f"  {name.replace('_', ' '):18} {formatting.number(entry['mean'])}"
            f" [{formatting.number(entry['low'])}, {formatting.number(entry['high'])}]  "
            + " ".join(formatting.number(value) for value in entry["folds"])
            for name, entry in self.by_fold.items()
        ]
        before, after = np.nanmean(np.array(self.calibrated.errors, float), axis=0)
        methods = ", ".join(dict.fromkeys(self.calibrated.calibration.methods))
        return [
            f"out-of-fold: {counted(len(held_out.ids), 'image')} of"
            f" {counted(len(set(held_out.patients)), 'patient')} in {held_out.count} folds; best epochs {epochs}",
            f"mean over {held_out.count} folds [95 % interval over folds], and each fold:",
            *told,
            formatting.table({"out-of-fold": self.scores}, space),
            f"calibration: {methods}; mean error {before:.3f} before, {after:.3f} after (cross-fitted)",
            f"a refit takes {counted(held_out.epochs, 'epoch')}, the median of the best",
        ]


def gather(folds: Sequence[Path], folder: Path, say: Callable[[str], None]) -> Gathered:
    """Puts finished folds together, and writes what they came to.

    Args:
        folds: each fold's folder, with model/ and output/data/.
        folder: for held_out.npz, out_of_fold.csv, folds.json and the report.
        say: takes warnings.

    Raises:
        ThoraxError: a fold is not finished, is missing or of another run, or the folder cannot be written.
    """
    bundles = [Bundle.load(fold / "model") for fold in folds]
    _check_same(folds, bundles)
    held_out = joined([HeldOut.read(fold / "output" / "data") for fold in folds])
    unread = np.isnan(held_out.logits).any(axis=1)
    if unread.any():
        say(f"warning: {counted(int(unread.sum()), 'image')} could not be read and have no out-of-fold answer")
    if unread.all():
        raise ThoraxError("no image of any fold could be read")
    config = _configuration(bundles[0])
    space, kept = held_out.space, np.flatnonzero(~unread)
    measured = calibration_fit.Measured(
        held_out.targets, held_out.logits, space.task, held_out.patients, held_out.prior
    )
    calibrated = calibration_fit.choose(config.calibration, measured)
    rule = thresholds.ThresholdRule(config.threshold_rule, config.target_sensitivity, config.cost_ratio)
    views = [held_out.logits, *held_out.augmented]
    cuts = thresholds.choose(held_out.targets, views, space.task, calibrated.calibration, rule)
    p = calibrated.calibration.probabilities(held_out.logits[kept], space.task)
    targets, fold_of = held_out.targets[kept], held_out.folds[kept]
    images = Predictions([held_out.ids[k] for k in kept], [held_out.patients[k] for k in kept], targets, p)
    scores = score(targets, p, space, cuts, images.patients, resamples=config.bootstrap_samples)
    each = []
    for fold in range(held_out.count):
        rows = np.flatnonzero(fold_of == fold)
        people = [images.patients[k] for k in rows]
        each.append(score(targets[rows], p[rows], space, cuts, people, resamples=0)["macro"])
    gathered = Gathered(
        held_out, scores, _over_folds(each), calibrated, dict(zip(space.outputs, map(float, cuts), strict=True)), folder
    )
    _write(gathered, images, fold_of, cuts, str(rule), config)
    return gathered


def _over_folds(each: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean and Student's 95 % interval of K folds, clipped to 0..1; of folds in which the metric is defined."""
    from scipy.stats import t

    found = {}
    for name in _TOLD:
        values = [macro[name]["value"] for macro in each]
        known = np.array([value for value in values if value is not None])
        if not len(known):
            continue
        mean = float(known.mean())
        half = float(t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known))) if len(known) > 1 else None
        low, high = (None, None) if half is None else (max(mean - half, 0.0), min(mean + half, 1.0))
        found[name] = {"folds": values, "mean": mean, "low": low, "high": high}
    return found


def _write(
    gathered: Gathered, images: Predictions, fold_of: np.ndarray, cuts: np.ndarray, rule: str, config: TrainingConfig
) -> None:
    folder, held_out, space = gathered.folder, gathered.held_out, gathered.held_out.space
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ThoraxError(f"{folder} cannot be written: {error.strerror}") from None
    held_out.write(folder)
    table = columns({"": images}, space, cuts)
    named: dict[str, Any] = {"fold": fold_of, "id": table.pop("id"), "patient": images.patients}
    table.pop("patient", None)
    write_table({**named, **table}, folder / TABLE, "out-of-fold answers")
    described = gathered.calibrated.described(space)
    stored = {
        "folds": held_out.count,
        "labels": space.to_dict(),
        "best_epochs": [epoch for _, epoch in sorted(held_out.best_epochs.items())],
        "refit_epochs": held_out.epochs,
        "thresholds": gathered.thresholds,
        "calibration": gathered.calibrated.calibration.to_dict(space),
        "calibration_errors": described,
        "by_fold": gathered.by_fold,
        "out_of_fold": gathered.scores,
    }
    write_whole(json.dumps(stored, indent=1).encode(), folder / SCORES, "scores of the folds")
    Report(
        title=f"{config.network}: {held_out.count} folds on {', '.join(space.classes)}",
        labels=space,
        scores={"out-of-fold": gathered.scores},
        curves={"out-of-fold": (images.targets, images.probabilities)},
        calibrator=gathered.calibrated.calibration,
        held_out=described,
        rule=rule,
        facts={"Folds": {name: _told(entry) for name, entry in gathered.by_fold.items()}},
    ).write(folder)


def _told(entry: Mapping[str, Any]) -> str:
    interval = f"[{formatting.number(entry['low'])}, {formatting.number(entry['high'])}] over folds"
    return f"{formatting.number(entry['mean'])} {interval}: {', '.join(map(formatting.number, entry['folds']))}"


def _configuration(bundle: Bundle) -> TrainingConfig:
    try:
        return TrainingConfig.from_dict(bundle.configuration)
    except (TypeError, ThoraxError) as error:
        raise ThoraxError(f"{bundle.folder} was made by another version ({error}); train the folds anew") from None


def _check_same(folds: Sequence[Path], bundles: Sequence[Bundle]) -> None:
    first = {name: value for name, value in _configuration(bundles[0]).identity().items() if name != "fold"}
    for fold, bundle in zip(folds, bundles, strict=True):
        for name, value in _configuration(bundle).identity().items():
            if name != "fold" and first.get(name) != value:
                raise ThoraxError(
                    f"{fold.name} was trained with {name}={value}, {folds[0].name} with {first.get(name)}; folds of one"
                    " run share all settings: train one of them anew"
                )
